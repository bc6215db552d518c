"""The floor of HUCL for InfoNCE with many negatives, by the sign of the slope of the profile.

By Theorem 4(d) of `docs/hucl_optimum.md` the slope of ``L_k`` is non-decreasing while it is
negative and non-negative from there on. So the minimum lies where the sign changes, and where the
slope is still negative, at `low`, it is at least ``L_k(low) + L_k'(low) (high - low)``. The search
of `theory.optimum.floor` takes nothing from the theorem, but splits boxes of the order of k
squared.
"""

from collections.abc import Callable

from flint import arb, ctx

from theory.model.psi_kinds import InfoNCE
from theory.optimum.collapsed_loss import Minimum, check_floor, collapsed_taylor

ValueAndSlope = Callable[[arb], tuple[arb, ...]]


def floor_by_slope(
    *, num_classes: int, k: int, psi: InfoNCE, beta: arb, within: arb | None = None
) -> Minimum:
    """The minimum of ``L_k`` over ``delta >= 0``, or over ``0 <= delta <= within``.

    Raises ValueError as `theory.optimum.floor.floor`.
    """
    check_floor(psi, beta, within)

    def at(delta: arb) -> tuple[arb, ...]:
        return collapsed_taylor(delta, num_classes=num_classes, k=k, psi=psi, beta=beta, terms=2)

    if within is not None:
        value, slope = at(within)
        if slope <= 0:
            return Minimum(within, value)
    return _between(at, *_bracket(at, 1 / beta, within))


def _bracket(at: ValueAndSlope, step: arb, within: arb | None) -> tuple[arb, arb]:
    """Two gaps, with a negative slope at the first and none at the second."""
    low, high = arb(0), step.mid()
    while within is None or high < within:
        if at(high)[1] > 0:
            return low, high
        low, high = high, 2 * high
    return low, within


def _between(at: ValueAndSlope, low: arb, high: arb) -> Minimum:
    """Halves the interval until the minimum is enclosed to three quarters of the precision."""
    value, slope = at(low)
    while True:
        drop = -slope * (high - low)
        if drop < arb(2) ** (-ctx.prec * 3 // 4):
            break
        middle = ((low + high) / 2).mid()
        here, turn = at(middle)
        if turn < 0:
            low, value, slope = middle, here, turn
        elif turn > 0:
            high = middle
        else:
            break
    return Minimum(low.union(high), (value - abs(drop).upper()).union(value))
