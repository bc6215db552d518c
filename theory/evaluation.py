"""Everything the theory says of one finite model, as JSON with decimal strings."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from flint import arb, ctx
from mpmath import mp

from hcl_jax.validation.numbers import check_count
from theory.checking import compare
from theory.exact.balls import Losses, exact_losses
from theory.exact.bounds import hucl_at_collapse, supervised_bound, unsupervised_bound
from theory.limit_values import limit_values
from theory.model.eta_kinds import Exponential
from theory.model.kinds import PsiKind
from theory.model.latent_classes import ROUNDING, LatentClassModel
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.collapsed_loss import Minimum
from theory.optimum.floor import PrecisionError, floor
from theory.optimum.floor_by_slope import floor_by_slope

MAX_BITS = 20_000

POSITIONS = ("hucl_delta_star", "hucl_delta_ball")
"""Bounds that are not values but places; where a minimum is is known to half as many digits."""

PLACE_DIGITS = 12
"""At most so many digits of places and of what is known in float64 are given."""

MANY = 24
"""From so many negatives on the floor of InfoNCE is found by Theorem 4(d), not without it."""


def evaluate(model: LatentClassModel, *, digits: int = 25) -> dict[str, Any]:
    """The exact losses, the bounds that apply, the inequalities and their verdicts.

    Where its hypotheses hold, `limit` has what the theory says for infinitely many negatives, see
    `theory.limit_values`.

    Numbers are strings of so many significant digits, as the object is for `json.dumps`. Raises
    TypeError unless `digits` is an integer, ValueError unless it lies between 1 and 1000, and
    ArithmeticError if the precision that the numbers need is out of reach.
    """
    if not 1 <= check_count("digits", digits, minimum=0) <= 1000:
        raise ValueError(f"digits must be between 1 and 1000, got {digits}")
    bits = int(3.33 * (max(digits, 40) + 10)) + 40
    while bits <= MAX_BITS:
        with ctx.workprec(bits), suppress(PrecisionError):
            losses, bounds = _numbers(model)
            values, limit = _values(losses), limit_values(model)
            numbers = [(value, digits) for value in (*values.values(), *_balls(limit))]
            numbers += [(value, _digits_of(key, digits)) for key, value in bounds.items()]
            if all(_is_sharp(value, wanted) for value, wanted in numbers):
                found = _report(model, losses, values, bounds, digits)
                return found | ({"limit": _decimals(limit, digits)} if limit else {})
        bits *= 2
    raise ArithmeticError(f"{model.name}: {digits} digits need more than {MAX_BITS} bits")


def _numbers(model: LatentClassModel) -> tuple[Losses, dict[str, arb]]:
    """Losses and bounds at the current precision; errors name the model."""
    try:
        return exact_losses(model), applicable_bounds(model)
    except PrecisionError:
        raise
    except (ArithmeticError, ValueError) as error:
        raise ArithmeticError(f"{model.name}: {error}") from error


def applicable_bounds(model: LatentClassModel) -> dict[str, arb]:
    """The bounds whose hypotheses a model satisfies, and where they are met.

    `scl` and `ucl` in the unit ball with balanced classes and a legal psi; `hucl_floor_any_norm`,
    with the minimiser `hucl_delta_star`, for balanced classes, a legal psi and
    ``eta = exp(beta sum t)`` with beta > 0; and in the unit ball also the minimum over
    ``delta <= C / (C - 1)`` with its minimiser, and the value at NC.
    """
    classes, k, psi, eta = model.num_classes, model.k, model.psi, model.eta
    given, found = model.hypotheses, {}
    if not (given.balanced and given.psi_legal):
        return found
    if given.unit_ball:
        found["scl"] = supervised_bound(classes, k, psi)
        found["ucl"] = unsupervised_bound(classes, k, psi)
    if isinstance(eta, Exponential) and eta.beta > 0:
        beta = ball(eta.beta)
        lowest = _lowest(classes, k, psi, beta)
        found |= {"hucl_floor_any_norm": lowest.value, "hucl_delta_star": lowest.delta}
        if given.unit_ball:
            inside = _lowest(classes, k, psi, beta, within=ball(nc_gap(classes)))
            found |= {
                "hucl_min_unit_ball_predicted": inside.value,
                "hucl_delta_ball": inside.delta,
                "hucl_at_nc": hucl_at_collapse(classes, k, psi, eta),
            }
    return found


def _lowest(
    num_classes: int, k: int, psi: PsiKind, beta: arb, within: arb | None = None
) -> Minimum:
    """The floor, by branch and bound or, for InfoNCE with many negatives, by Theorem 4(d)."""
    if isinstance(psi, InfoNCE) and k >= MANY:
        return floor_by_slope(num_classes=num_classes, k=k, psi=psi, beta=beta, within=within)
    try:
        return floor(num_classes=num_classes, k=k, psi=psi, beta=beta, within=within)
    except ArithmeticError:
        if not isinstance(psi, InfoNCE):
            raise
    # A temperature so low that there would be too many boxes.
    return floor_by_slope(num_classes=num_classes, k=k, psi=psi, beta=beta, within=within)


def decimal(value: arb, digits: int) -> str:
    """A ball as a decimal string; its midpoint, or "0.0" if it is zero up to its radius."""
    if value.contains(0):
        return "0.0"
    mantissa, exponent = value.mid().man_exp()
    with mp.workdps(digits + 20):
        number = mp.ldexp(mp.mpf(int(mantissa)), int(exponent))
        return str(mp.nstr(number, digits, strip_zeros=False))


def _digits_of(bound: str, digits: int) -> int:
    """How many digits of a bound are given."""
    return min(digits, PLACE_DIGITS) if bound in POSITIONS else digits


def _balls(nested: dict[str, Any]) -> Iterator[arb]:
    """The balls in nested values."""
    for value in nested.values():
        if isinstance(value, dict):
            yield from _balls(value)
        elif isinstance(value, arb):
            yield value


def _decimals(nested: dict[str, Any], digits: int) -> dict[str, Any]:
    """Nested values with the balls, and numbers of float64, as decimals."""

    def shown(value: object) -> object:
        if isinstance(value, dict):
            return _decimals(value, digits)
        if isinstance(value, float):
            return f"{value:.{min(digits, PLACE_DIGITS)}g}"
        return decimal(value, digits) if isinstance(value, arb) else value

    return {key: shown(value) for key, value in nested.items()}


def inequalities(
    model: LatentClassModel, values: dict[str, arb], bounds: dict[str, arb]
) -> list[list[str]]:
    """What the theorems promise of a model: lists ``[left, ">=", right, verdict]``.

    Numbers closer than `ROUNDING` count as equal, since features are decimals. For an eta that
    decreases Theorem 1 is promised the other way round; for one that rises in some negatives and
    falls in others, not at all.
    """
    given, promised = model.hypotheses, []
    joint = [("HUCL_joint", "UCL_joint")] if "UCL_joint" in values else []
    if given.psi_legal and not model.eta.rises_and_falls:
        for hard, plain in [("HSCL", "SCL"), ("HUCL", "UCL"), *joint]:
            promised.append((hard, plain) if given.eta_legal else (plain, hard))
    for left, bound in (("SCL", "scl"), ("UCL", "ucl"), ("HSCL", "scl"), ("HUCL", "ucl")):
        if bound in bounds and (given.eta_legal or not left.startswith("H")):
            promised.append((left, f"bounds.{bound}"))
    for bound in ("hucl_floor_any_norm", "hucl_min_unit_ball_predicted"):
        if bound in bounds:
            promised.append(("HUCL", f"bounds.{bound}"))
    numbers = values | {f"bounds.{key}": value for key, value in bounds.items()}
    return [
        [left, ">=", right, str(compare(numbers[left], numbers[right], within=ball(ROUNDING)))]
        for left, right in promised
    ]


def _report(
    model: LatentClassModel,
    losses: Losses,
    values: dict[str, arb],
    bounds: dict[str, arb],
    digits: int,
) -> dict[str, Any]:
    """The JSON object of `evaluate`."""
    return {
        "id": model.name,
        **{key: decimal(value, digits) for key, value in values.items()},
        "bounds": {key: decimal(value, _digits_of(key, digits)) for key, value in bounds.items()},
        "inequalities": inequalities(model, values, bounds),
        "hypotheses": model.hypotheses._asdict(),
        "n_anchor_label_pairs_with_E_eta_zero": {
            "HSCL": losses.zero_scl,
            "HUCL": losses.zero_ucl,
        },
    }


def _values(losses: Losses) -> dict[str, arb]:
    """The losses that there are, by their names in JSON."""
    named = {
        "SCL": losses.scl,
        "HSCL": losses.hscl,
        "UCL": losses.ucl,
        "HUCL": losses.hucl,
        "UCL_joint": losses.ucl_joint,
        "HUCL_joint": losses.hucl_joint,
    }
    return {key: value for key, value in named.items() if value is not None}


def _is_sharp(value: arb, digits: int) -> bool:
    """Whether the midpoint has the digits, or the value is zero to ``1e-(digits + 100)``."""
    if not value.is_finite():
        return False
    radius = value.rad()
    if value.contains(0):
        return radius * 10 ** (digits + 100) < 1
    return radius * 10 ** (digits + 2) < abs(value)
