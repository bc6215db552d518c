"""The floor of HUCL for InfoNCE with many negatives, by the sign of the slope of the profile.

By Theorem 4(d) of `docs/hucl_optimum.md` the slope of ``L_k`` is non-decreasing while it is
negative and non-negative from there on. So the minimum lies where the sign changes, and where the
slope is still negative, at `low`, it is at least ``L_k(low) + L_k'(low) (high - low)``. The search
of `theory.optimum.hucl_floor` takes nothing from the theorem, but splits boxes of the order of k
squared.
"""

from flint import arb, ctx

from theory.model.psi_kinds import InfoNCE
from theory.optimum.hucl_floor import Floor, collapsed_taylor


def floor_by_slope(
    *, num_classes: int, k: int, psi: InfoNCE, beta: arb, within: arb | None = None
) -> Floor:
    """The minimum of ``L_k`` over ``delta >= 0``, or over ``0 <= delta <= within``.

    Args:
        num_classes: C, at least 2.
        k: the number of negatives.
        psi: InfoNCE with a positive temperature.
        beta: the hardness, positive.
        within: an upper limit for delta.

    Returns:
        The minimiser and the enclosed minimum.

    Raises:
        ValueError: if psi or beta do not qualify.

    Example:
        >>> delta, value = floor_by_slope(num_classes=2, k=1, psi=InfoNCE(), beta=arb(1))
        >>> round(float(delta), 4), round(float(value), 8)
        (0.9813, 0.59095804)
    """
    if not psi.legal or not beta > 0:
        raise ValueError(f"the theorem needs tau > 0 and beta > 0, got {psi}, beta={beta}")

    def at(delta: arb) -> tuple[arb, ...]:
        return collapsed_taylor(delta, num_classes=num_classes, k=k, psi=psi, beta=beta, terms=2)

    if within is not None:
        value, slope = at(within)
        if slope <= 0:
            return Floor(within, value)
    return _between(at, *_bracket(at, 1 / beta, within))


def _bracket(at, step, within):
    """Two gaps, with a negative slope at the first and none at the second."""
    low, high = arb(0), step.mid()
    while within is None or high < within:
        if at(high)[1] > 0:
            return low, high
        low, high = high, 2 * high
    return low, within


def _between(at, low, high):
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
    return Floor(((low + high) / 2).mid(), (value - abs(drop).upper()).union(value))
