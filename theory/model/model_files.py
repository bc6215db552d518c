"""Finite latent-class models as JSON, with every number kept exact.

One model is an object with the keys ``id, C, N, d, k, psi, eta, prior, class_pmf, joint,
features``; numbers are JSON numbers or strings such as "0.25" or "1/3". A file holds one model, a
list of models, or an object with a list under ``cases``. The kinds of psi and eta are those of
`psi_kinds.PSI_KINDS` and `eta_kinds.ETA_KINDS`, and their parameters the fields of those classes,
written as their `Notation` says. What is not known is an error.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from theory.model.eta_kinds import ETA_KINDS
from theory.model.kinds import EtaKind, Notation, PsiKind
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import PSI_KINDS
from theory.model.rationals import exact, exact_vector, sequence

REQUIRED = ("k", "psi", "eta", "prior", "class_pmf", "features")
SIZES = ("C", "N", "d")
IGNORED = (
    "format",
    "conventions",
    "digits",
    "comment",
    "notes",
    "description",
    "tags",
    "expected",
    "bounds",
    "hypotheses",
    "inequalities",
    "n_anchor_label_pairs_with_E_eta_zero",
)
OPTIONAL = ("id", "joint")

MAX_K = 10_000

Kind = TypeVar("Kind", PsiKind, EtaKind)


def read_models(path: Path) -> list[LatentClassModel]:
    """All models of a JSON file, in order.

    Raises ValueError naming the case, what was found and what was expected.
    """
    models = parse_models(path.read_text(encoding="utf-8-sig"), name=path.stem)
    return models if isinstance(models, list) else [models]


def parse_models(text: str, *, name: str) -> LatentClassModel | list[LatentClassModel]:
    """The model, or the list of models, that JSON text describes; `name` is for one without id."""
    try:
        found = json.loads(text, parse_float=Decimal, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if isinstance(found, dict) and "cases" in found:
        found = found["cases"]
    if isinstance(found, list):
        if not found:
            raise ValueError("the list of cases is empty")
        return [model_from_json(case, name=f"case {i}") for i, case in enumerate(found)]
    return model_from_json(found, name=name)


def model_from_json(case: object, *, name: str = "model") -> LatentClassModel:
    """The checked model of a parsed JSON object; errors name the model."""
    if not isinstance(case, dict):
        raise ValueError(f"{name}: a model must be a JSON object, got {_short(case)}")
    name = str(case.get("id", name))
    try:
        return _model(case, name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def model_to_json(model: LatentClassModel) -> dict[str, Any]:
    """The JSON object of a model, with numbers as exact strings; inverse of `model_from_json`."""
    return {
        "id": model.name,
        "C": model.num_classes,
        "N": model.num_points,
        "d": len(model.features[0]),
        "k": model.k,
        "psi": _kind_to_json(model.psi),
        "eta": _kind_to_json(model.eta),
        "prior": _texts(model.prior),
        "class_pmf": _texts(model.class_laws),
        "joint": None if model.joint is None else _texts(model.joint),
        "features": _texts(model.features),
    }


def _model(case: Mapping[str, Any], name: str) -> LatentClassModel:
    """The model of an object whose name is known."""
    missing = [key for key in REQUIRED if key not in case]
    if missing:
        order = sorted(missing, key=("eta", "prior", "psi", "k", "class_pmf", "features").index)
        raise ValueError(f"missing {', '.join(order)}")
    unknown = set(case) - {*REQUIRED, *SIZES, *IGNORED, *OPTIONAL}
    if unknown:
        known = ", ".join((*OPTIONAL, *SIZES, *REQUIRED))
        raise ValueError(f"unknown keys {', '.join(sorted(unknown))}; known are {known}")
    k = _count("k", case["k"])
    if k > MAX_K:
        raise ValueError(f"k must be at most {MAX_K}, got {k}")
    joint = case.get("joint")
    model = LatentClassModel(
        prior=exact_vector("prior", case["prior"]),
        class_laws=_matrix("class_pmf", case["class_pmf"]),
        features=_matrix("features", case["features"]),
        k=k,
        psi=_kind("psi", case["psi"], PSI_KINDS, k),
        eta=_kind("eta", case["eta"], ETA_KINDS, k),
        joint=None if joint is None else _tables("joint", joint),
        name=name,
    )
    found = (model.num_classes, model.num_points, len(model.features[0]))
    for key, size in zip(SIZES, found, strict=True):
        if key in case and _count(key, case[key]) != size:
            raise ValueError(f"{key} is {case[key]} but the arrays say {size}")
    return model


def _kind(what: str, spec: object, kinds: Sequence[type[Kind]], k: int) -> Kind:
    """The psi or eta of a JSON object."""
    known = {kind.kind: kind for kind in kinds}
    if not isinstance(spec, dict) or "type" not in spec:
        raise ValueError(f"{what} must be an object with a 'type', got {_short(spec)}")
    name = spec["type"]
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"unknown {what} {name!r}; known are {', '.join(known)}")
    kind, label = known[name], f"{what} '{name}'"
    given = {str(key): value for key, value in spec.items() if key != "type"}
    notations = kind.notations()
    found = _by_parameter(label, given, notations)
    numbers = {
        key: _parameter(f"{what}.{key}", value, notations[key], k) for key, value in found.items()
    }
    missing = {f.name for f in fields(kind) if f.default is MISSING} - set(numbers)
    if missing:
        got = ", ".join(found) or "nothing"
        raise ValueError(f"{label} needs {', '.join(notations)}, got {got}")
    return kind(**numbers)


def _by_parameter(
    label: str, given: Mapping[str, object], notations: Mapping[str, Notation]
) -> dict[str, object]:
    """What is given, under the names of the parameters; null is as good as nothing."""
    meant = {other: name for name, notation in notations.items() for other in notation.synonyms}
    for name in sorted(set(meant.values())):
        twice = [key for key in given if meant.get(key, key) == name]
        if len(twice) > 1:
            raise ValueError(f"{label} has both {' and '.join(twice)}, which mean the same")
    found = {meant.get(key, key): value for key, value in given.items()}
    if unknown := set(found) - set(notations):
        accepted = ", ".join(notations) or "no parameters"
        raise ValueError(
            f"{label} has no parameter {', '.join(sorted(unknown))}; it takes {accepted}"
        )
    return {key: value for key, value in found.items() if value is not None}


def _parameter(name: str, value: object, notation: Notation, k: int) -> Any:
    """The exact number, or one for each place, that a parameter is set to."""
    if notation.none is not None and value == notation.none:
        return None
    if notation.places is None:
        return exact(name, value)
    if isinstance(value, (list, tuple)):
        return exact_vector(name, value)
    return (exact(name, value),) * k


def _matrix(name: str, rows: object) -> tuple[tuple[Fraction, ...], ...]:
    """A list of exact vectors."""
    return tuple(exact_vector(f"{name}[{i}]", row) for i, row in enumerate(sequence(name, rows)))


def _tables(name: str, tables: object) -> tuple[tuple[tuple[Fraction, ...], ...], ...]:
    """A list of exact matrices."""
    return tuple(_matrix(f"{name}[{i}]", t) for i, t in enumerate(sequence(name, tables)))


def _count(name: str, value: object) -> int:
    """A positive integer."""
    number = exact(name, value)
    if number.denominator != 1 or number < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value}")
    return int(number)


def _kind_to_json(kind: PsiKind | EtaKind) -> dict[str, Any]:
    """The JSON object of a psi or eta; inverse of `_kind`."""
    found: dict[str, Any] = {"type": kind.kind}
    for name, notation in kind.notations().items():
        value = getattr(kind, name)
        if value is None and notation.none is not None:
            found[name] = notation.none
        elif value is not None:
            found[name] = _texts(value)
    return found


def _texts(value: Any) -> Any:
    """Exact strings, in lists where there are tuples."""
    return [_texts(v) for v in value] if isinstance(value, tuple) else str(value)


def _short(value: object) -> str:
    """What was found, in at most sixty characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _reject_constant(name: str) -> NoReturn:
    """Refuses NaN and infinities."""
    raise ValueError(f"numbers must be finite, got {name}")
