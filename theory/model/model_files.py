"""Finite latent-class models as JSON, with every number kept exact.

One model is an object with the keys ``id, C, N, d, k, psi, eta, prior, class_pmf, joint,
features``; numbers are JSON numbers or strings such as "0.25" or "1/3". A file holds one model, a
list of models, or an object with a list under ``cases``. The kinds of psi and eta are those of
`psi_kinds.PSI_KINDS` and `eta_kinds.ETA_KINDS`, and their parameters the fields of those classes,
written as their `Notation` says. What is not known is an error, and so are laws of rounded
decimals, whose sum is not exactly 1, unless they are to be normalised.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from theory.model.eta_kinds import ETA_KINDS
from theory.model.kinds import EtaKind, Notation, PsiKind
from theory.model.latent_classes import LatentClassModel, Matrix
from theory.model.psi_kinds import PSI_KINDS
from theory.model.rationals import MAX_LENGTH, exact, exact_vector, sequence, shown

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

NEARLY = Fraction(1, 10**6)
"""A law of rounded decimals may leave the sum 1 by this much, to be normalised."""

Kind = TypeVar("Kind", PsiKind, EtaKind)


def read_models(path: Path) -> list[LatentClassModel]:
    """All models of a JSON file, in order.

    Raises ValueError naming the case, what was found and what was expected.
    """
    models = parse_models(path.read_text(encoding="utf-8-sig"), name=path.stem)
    return models if isinstance(models, list) else [models]


def parse_models(
    text: str, *, name: str, normalize: bool = False
) -> LatentClassModel | list[LatentClassModel]:
    """The model, or the list of models, that JSON text describes; `name` is for one without id.

    With `normalize`, laws of rounded decimals are divided by their sum.
    """
    try:
        found = json.loads(
            text,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_reject_constant,
            object_pairs_hook=_without_repetition,
        )
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if isinstance(found, dict) and "cases" in found:
        found = found["cases"]
    if isinstance(found, list):
        if not found:
            raise ValueError("the list of cases is empty")
        return [
            model_from_json(case, name=f"case {i}", normalize=normalize)
            for i, case in enumerate(found)
        ]
    return model_from_json(found, name=name, normalize=normalize)


def model_from_json(
    case: object, *, name: str = "model", normalize: bool = False
) -> LatentClassModel:
    """The checked model of a parsed JSON object; errors name the model."""
    if not isinstance(case, dict):
        raise ValueError(f"{name}: a model must be a JSON object, got {shown(case)}")
    name = str(case.get("id", name))
    try:
        return _model(case, name, normalize)
    except ValueError as error:
        raise ValueError(f"{name:.60}: {error}") from None


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


def _model(case: Mapping[str, Any], name: str, normalize: bool) -> LatentClassModel:
    """The model of an object whose name is known."""
    missing = [key for key in REQUIRED if key not in case]
    if missing:
        order = sorted(missing, key=("eta", "prior", "psi", "k", "class_pmf", "features").index)
        raise ValueError(f"missing {', '.join(order)}")
    unknown = set(case) - {*REQUIRED, *SIZES, *IGNORED, *OPTIONAL}
    if unknown:
        known = ", ".join((*OPTIONAL, *SIZES, *REQUIRED))
        raise ValueError(f"unknown keys {_listed(unknown)}; known are {known}")
    k = _count("k", case["k"])
    if k > MAX_K:
        raise ValueError(f"k must be at most {MAX_K}, got {shown(k)}")
    (prior,) = _law("prior", (exact_vector("prior", case["prior"]),), normalize)
    laws = _matrix("class_pmf", case["class_pmf"])
    tables = None if case.get("joint") is None else _tables("joint", case["joint"])
    model = LatentClassModel(
        prior=prior,
        class_laws=tuple(
            _law(f"class_pmf[{c}]", (law,), normalize)[0] for c, law in enumerate(laws)
        ),
        features=_matrix("features", case["features"]),
        k=k,
        psi=_kind("psi", case["psi"], PSI_KINDS, k),
        eta=_kind("eta", case["eta"], ETA_KINDS, k),
        joint=tables
        and tuple(_law(f"joint[{c}]", table, normalize) for c, table in enumerate(tables)),
        name=name,
    )
    found = (model.num_classes, model.num_points, len(model.features[0]))
    for key, size in zip(SIZES, found, strict=True):
        if key in case and _count(key, case[key]) != size:
            raise ValueError(f"{key} is {shown(case[key])} but the arrays say {size}")
    return model


def _kind(what: str, spec: object, kinds: Sequence[type[Kind]], k: int) -> Kind:
    """The psi or eta of a JSON object."""
    known = {kind.kind: kind for kind in kinds}
    if not isinstance(spec, dict) or "type" not in spec:
        raise ValueError(f"{what} must be an object with a 'type', got {shown(spec)}")
    name = spec["type"]
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"unknown {what} {shown(name)}; known are {', '.join(known)}")
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
        raise ValueError(f"{label} has no parameter {_listed(unknown)}; it takes {accepted}")
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


def _matrix(name: str, rows: object) -> Matrix:
    """A list of exact vectors."""
    return tuple(exact_vector(f"{name}[{i}]", row) for i, row in enumerate(sequence(name, rows)))


def _tables(name: str, tables: object) -> tuple[Matrix, ...]:
    """A list of exact matrices."""
    return tuple(_matrix(f"{name}[{i}]", t) for i, t in enumerate(sequence(name, tables)))


def _law(name: str, rows: Matrix, normalize: bool) -> Matrix:
    """A law on one or two points, divided by its sum if that is nearly 1 and it may be."""
    total = sum((p for row in rows for p in row), Fraction(0))
    if total == 1 or abs(total - 1) > NEARLY or min(map(min, rows)) < 0:
        return rows
    if not normalize:
        raise ValueError(
            f"{name} must sum to 1, but is off by {shown(total - 1)}; write rounded decimals as "
            'exact numbers, such as "1/3", or give --normalize to divide them by their sum'
        )
    return tuple(tuple(p / total for p in row) for row in rows)


def _count(name: str, value: object) -> int:
    """A positive integer."""
    number = exact(name, value)
    if number.denominator != 1 or number < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {shown(number)}")
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


def _listed(names: Iterable[str]) -> str:
    """The first few of some names, shortened, in order."""
    first, *rest = [f"{name:.60}" for name in sorted(names)]
    return ", ".join([first, *rest[:4], *(["..."] if rest[4:] else [])])


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text:.60} is no number within reach") from None


def _integer(text: str) -> int:
    """An integer of no more digits than Python reads."""
    if len(text) > MAX_LENGTH:
        raise ValueError(
            f"numbers must have at most {MAX_LENGTH} characters, got {len(text)}: {text:.57}..."
        )
    return int(text)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values; JSON keeps the last of a key that is given twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} is given twice in one object")
        found[key] = value
    return found


def _reject_constant(name: str) -> NoReturn:
    """Refuses NaN and infinities."""
    raise ValueError(f"numbers must be finite, got {name}")
