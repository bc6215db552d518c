"""Everything the theory says of one finite model, as JSON with decimal strings."""

from contextlib import suppress
from typing import Any

from flint import arb, ctx
from mpmath import mp

from theory.checking import compare
from theory.exact.balls import Losses, exact_losses
from theory.exact.bounds import applicable_bounds
from theory.model.eta_kinds import EtaKind, WeightedExponential
from theory.model.latent_classes import ROUNDING, LatentClassModel
from theory.optimum.hucl_floor import PrecisionError

MAX_BITS = 20_000

POSITIONS = ("hucl_delta_star", "hucl_delta_ball")
"""Bounds that are not values but places; a minimum says where it is only to half its digits."""

PLACE_DIGITS = 12


def evaluate(model: LatentClassModel, *, digits: int = 25) -> dict[str, Any]:
    """The exact losses, the bounds that apply, the inequalities and their verdicts.

    Args:
        model: the model.
        digits: significant digits of the numbers.

    Returns:
        An object that `json.dumps` accepts. `inequalities` are ``[left, ">=", right, verdict]``,
        where numbers closer than 1e-40 count as equal, since features are decimals.

    Raises:
        ValueError: if `digits` is not between 1 and 1000.
        ArithmeticError: if the precision needed is out of reach.

    Example:
        >>> from theory.model.random_models import neural_collapse
        >>> evaluate(neural_collapse(num_classes=2), digits=8)["SCL"]
        '0.12692801'
    """
    if not 1 <= digits <= 1000:
        raise ValueError(f"digits must be between 1 and 1000, got {digits}")
    bits = int(3.33 * (max(digits, 40) + 10)) + 40
    while bits <= MAX_BITS:
        with ctx.workprec(bits), suppress(PrecisionError):
            losses, bounds = _numbers(model)
            values = _values(losses)
            numbers = [v for key, v in bounds.items() if key not in POSITIONS]
            if all(_is_sharp(value, digits) for value in (*values.values(), *numbers)):
                return _report(model, losses, values, bounds, digits)
        bits *= 2
    raise ArithmeticError(f"{model.name}: {digits} digits need more than {MAX_BITS} bits")


def _numbers(model: LatentClassModel) -> tuple[Losses, dict[str, arb]]:
    try:
        return exact_losses(model), applicable_bounds(model)
    except PrecisionError:
        raise
    except (ArithmeticError, ValueError) as error:
        raise ArithmeticError(f"{model.name}: {error}") from error


def decimal(value: arb, digits: int) -> str:
    """A ball as a decimal string; its midpoint, or "0.0" if it is zero up to its radius.

    Args:
        value: a ball.
        digits: significant digits.

    Returns:
        The string.

    Example:
        >>> decimal(arb("0.125"), 5)
        '0.12500'
    """
    if value.contains(0):
        return "0.0"
    mantissa, exponent = value.mid().man_exp()
    with mp.workdps(digits + 20):
        number = mp.ldexp(mp.mpf(int(mantissa)), int(exponent))
        return str(mp.nstr(number, digits, strip_zeros=False))


def inequalities(
    model: LatentClassModel, values: dict[str, arb], bounds: dict[str, arb]
) -> list[list[str]]:
    """The inequalities that the theorems promise for a model, with verdicts.

    Args:
        model: the model; its hypotheses decide what is promised.
        values: the losses by name.
        bounds: the bounds that apply.

    Returns:
        Lists ``[left, ">=", right, verdict]``. For an eta that decreases, Theorem 1 is promised the
        other way round; for one that rises in some negatives and falls in others, not at all.
    """
    given, promised = model.hypotheses, []
    joint = [("HUCL_joint", "UCL_joint")] if "UCL_joint" in values else []
    if given.psi_legal and not _rises_and_falls(model.eta):
        for hard, plain in [("HSCL", "SCL"), ("HUCL", "UCL"), *joint]:
            promised.append((hard, plain) if given.eta_legal else (plain, hard))
    for left, bound in (("SCL", "scl"), ("UCL", "ucl"), ("HSCL", "scl"), ("HUCL", "ucl")):
        if bound in bounds and (given.eta_legal or not left.startswith("H")):
            promised.append((left, f"bounds.{bound}"))
    for bound in ("hucl_floor_any_norm", "hucl_min_unit_ball_predicted"):
        if bound in bounds:
            promised.append(("HUCL", f"bounds.{bound}"))
    numbers = values | {f"bounds.{key}": value for key, value in bounds.items()}
    rounding = arb(ROUNDING.numerator) / ROUNDING.denominator
    return [
        [left, ">=", right, str(compare(numbers[left], numbers[right], within=rounding))]
        for left, right in promised
    ]


def _rises_and_falls(eta: EtaKind) -> bool:
    return isinstance(eta, WeightedExponential) and min(eta.betas) < 0 < max(eta.betas)


def _report(model, losses, values, bounds, digits):
    return {
        "id": model.name,
        **{key: decimal(value, digits) for key, value in values.items()},
        "bounds": {
            key: decimal(value, PLACE_DIGITS if key in POSITIONS else digits)
            for key, value in bounds.items()
        },
        "inequalities": inequalities(model, values, bounds),
        "hypotheses": model.hypotheses._asdict(),
        "n_anchor_label_pairs_with_E_eta_zero": {
            "HSCL": losses.zero_scl,
            "HUCL": losses.zero_ucl,
        },
    }


def _values(losses: Losses) -> dict[str, arb]:
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
