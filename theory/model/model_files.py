"""Finite latent-class models as JSON, with every number kept exact.

One model is an object with the keys ``id, C, N, d, k, psi, eta, prior, class_pmf, joint,
features``; numbers are JSON numbers or strings such as "0.25" or "1/3". A file holds one model, a
list of models, or an object with a list under ``cases``. The kinds of psi and eta and their
parameters are those of `PSI_PARAMETERS` and `ETA_PARAMETERS`. What is not known is an error.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from theory.model import eta_kinds, psi_kinds
from theory.model.latent_classes import LatentClassModel
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

PSI_PARAMETERS: dict[type, tuple[str, ...]] = {
    psi_kinds.InfoNCE: ("alpha", "q", "tau"),
    psi_kinds.TripletSum: ("margin",),
    psi_kinds.TripletMax: ("margin",),
    psi_kinds.LogisticSum: ("a", "w"),
    psi_kinds.SquaredHinge: ("margin",),
    psi_kinds.Linear: (),
    psi_kinds.BadSquare: ("shift",),
    psi_kinds.BadSigmoid: ("a", "c"),
}
ETA_PARAMETERS: dict[type, tuple[str, ...]] = {
    eta_kinds.Exponential: ("beta",),
    eta_kinds.WeightedExponential: ("betas",),
    eta_kinds.ReluPower: ("c", "p"),
    eta_kinds.SumReluPower: ("c", "p"),
    eta_kinds.Threshold: ("th",),
    eta_kinds.ThresholdAny: ("th",),
    eta_kinds.Sigmoid: ("beta", "c"),
    eta_kinds.DecreasingExponential: ("beta",),
}
MAX_K = 10_000
SYNONYMS = {
    "exp_weighted": {"beta": "betas", "beta_i": "betas"},
    "logistic_sum": {"w_i": "w"},
}


def read_models(path: Path) -> list[LatentClassModel]:
    """Reads all models of a file.

    Args:
        path: a JSON file.

    Returns:
        The models, in order.

    Raises:
        ValueError: naming the case, what was found and what was expected.
        OSError: if the file cannot be read.
    """
    models = parse_models(path.read_text(encoding="utf-8-sig"), name=path.stem)
    return models if isinstance(models, list) else [models]


def parse_models(text: str, *, name: str) -> LatentClassModel | list[LatentClassModel]:
    """Reads one model, or the list of models, from JSON text.

    Args:
        text: the JSON.
        name: the name of a single model without `id`.

    Returns:
        A model if the text describes one, a list if it describes a list.

    Raises:
        ValueError: as `read_models`.

    Example:
        >>> parse_models('{"k": 1}', name="toy")
        Traceback (most recent call last):
        ...
        ValueError: toy: missing eta, prior, psi, class_pmf, features
    """
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
    """Makes a model from a parsed JSON object.

    Args:
        case: the object.
        name: the name of a model without `id`.

    Returns:
        The checked model.

    Raises:
        ValueError: naming the model, what was found and what was expected.
    """
    if not isinstance(case, dict):
        raise ValueError(f"{name}: a model must be a JSON object, got {_short(case)}")
    name = str(case.get("id", name))
    try:
        return _model(case, name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def model_to_json(model: LatentClassModel) -> dict[str, Any]:
    """The JSON object of a model, with numbers as exact strings; inverse of `model_from_json`.

    Args:
        model: the model.

    Returns:
        An object that `json.dumps` accepts.

    Example:
        >>> from theory.model.random_models import neural_collapse
        >>> model = neural_collapse(num_classes=2)
        >>> model_from_json(model_to_json(model)) == model
        True
    """
    return {
        "id": model.name,
        "C": model.num_classes,
        "N": model.num_points,
        "d": len(model.features[0]),
        "k": model.k,
        "psi": _kind_to_json(model.psi, PSI_PARAMETERS),
        "eta": _kind_to_json(model.eta, ETA_PARAMETERS),
        "prior": _texts(model.prior),
        "class_pmf": _texts(model.class_laws),
        "joint": None if model.joint is None else _texts(model.joint),
        "features": _texts(model.features),
    }


def _model(case: Mapping[str, Any], name: str) -> LatentClassModel:
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
        psi=_psi(case["psi"], k),
        eta=_eta(case["eta"], k),
        joint=None if joint is None else _tables("joint", joint),
        name=name,
    )
    found = (model.num_classes, model.num_points, len(model.features[0]))
    for key, size in zip(SIZES, found, strict=True):
        if key in case and _count(key, case[key]) != size:
            raise ValueError(f"{key} is {case[key]} but the arrays say {size}")
    return model


def _psi(spec: object, k: int) -> psi_kinds.PsiKind:
    kind, found = _kind("psi", spec, PSI_PARAMETERS)
    numbers: dict[str, Any] = {}
    for key, value in found.items():
        if key == "q" and value == "k":
            numbers[key] = None
        elif key == "w":
            numbers[key] = _one_per_place("psi.w", value, k)
        else:
            numbers[key] = exact(f"psi.{key}", value)
    return kind(**numbers)


def _eta(spec: object, k: int) -> eta_kinds.EtaKind:
    kind, found = _kind("eta", spec, ETA_PARAMETERS)
    numbers = {
        key: _one_per_place("eta.betas", value, k) if key == "betas" else exact(f"eta.{key}", value)
        for key, value in found.items()
    }
    try:
        return kind(**numbers)
    except TypeError:
        needed = ", ".join(ETA_PARAMETERS[kind])
        raise ValueError(
            f"eta '{kind.kind}' needs {needed}, got {', '.join(found) or 'nothing'}"
        ) from None


def _kind(
    what: str, spec: object, parameters: Mapping[type, tuple[str, ...]]
) -> tuple[Any, dict[str, object]]:
    """The class of a psi or eta and the parameters that are given."""
    known: dict[str, Any] = {getattr(kind, "kind", ""): kind for kind in parameters}
    if not isinstance(spec, dict) or "type" not in spec:
        raise ValueError(f"{what} must be an object with a 'type', got {_short(spec)}")
    name = spec["type"]
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"unknown {what} {name!r}; known are {', '.join(known)}")
    synonyms = SYNONYMS.get(name, {})
    given: dict[str, object] = {str(key): value for key, value in spec.items()}
    for meant in sorted(set(synonyms.values())):
        twice = [key for key in given if synonyms.get(key, key) == meant]
        if len(twice) > 1:
            raise ValueError(f"{what} '{name}' has both {' and '.join(twice)}, which mean the same")
    found = {synonyms.get(key, key): value for key, value in given.items() if key != "type"}
    unknown = set(found) - set(parameters[known[name]])
    if unknown:
        accepted = ", ".join(parameters[known[name]]) or "no parameters"
        raise ValueError(
            f"{what} '{name}' has no parameter {', '.join(sorted(unknown))}; it takes {accepted}"
        )
    return known[name], {key: value for key, value in found.items() if value is not None}


def _one_per_place(name: str, value: object, k: int) -> tuple[Fraction, ...]:
    if isinstance(value, (list, tuple)):
        return exact_vector(name, value)
    return (exact(name, value),) * k


def _matrix(name: str, rows: object) -> tuple[tuple[Fraction, ...], ...]:
    return tuple(exact_vector(f"{name}[{i}]", row) for i, row in enumerate(sequence(name, rows)))


def _tables(name: str, tables: object) -> tuple[tuple[tuple[Fraction, ...], ...], ...]:
    return tuple(_matrix(f"{name}[{i}]", t) for i, t in enumerate(sequence(name, tables)))


def _count(name: str, value: object) -> int:
    number = exact(name, value)
    if number.denominator != 1 or number < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value}")
    return int(number)


def _kind_to_json(kind: Any, parameters: Mapping[type, tuple[str, ...]]) -> dict[str, Any]:
    values = {key: getattr(kind, key) for key in parameters[type(kind)]}
    if "q" in values and values["q"] is None:
        values["q"] = "k"
    return {"type": kind.kind} | {k: _texts(v) for k, v in values.items() if v is not None}


def _texts(value: Any) -> Any:
    return [_texts(v) for v in value] if isinstance(value, tuple) else str(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _reject_constant(name: str) -> Callable:
    raise ValueError(f"numbers must be finite, got {name}")
