"""The floor of HUCL under exponential tilting: ``min over delta >= 0 of L_k(delta)``.

No representation of any norm has a HUCL below the minimum of the profile ``L_k`` of
`theory.optimum.collapsed_loss` over ``delta >= 0`` (Theorem 4(a) of `docs/hucl_optimum.md`;
balanced classes, conditionally independent positives, beta > 0). The minimum is found here by
branch and bound in ball arithmetic, so the value is an enclosure.
"""

from typing import cast

from flint import arb, arb_series, ctx

from theory.model.kinds import PsiKind
from theory.model.rationals import ball
from theory.optimum.collapsed_loss import CollapsedLoss, Minimum, check_floor

MAX_BOXES = 10_000


class PrecisionError(ArithmeticError):
    """More bits are needed to decide."""


def floor(
    *, num_classes: int, k: int, psi: PsiKind, beta: arb, within: arb | None = None
) -> Minimum:
    """The minimum of ``L_k`` over ``delta >= 0``, or over ``0 <= delta <= within``.

    Raise `flint.ctx.prec` for more digits. Raises ValueError as `check_floor` and for numbers of
    classes and negatives, PrecisionError if the precision does not suffice to decide, and
    ArithmeticError if there are too many boxes.
    """
    check_floor(psi, beta, within)
    loss = CollapsedLoss(num_classes, k, psi, beta)
    live_at_zero = _is_live_at_zero(psi)
    at_equal = cast(arb_series, psi.collapsed(arb_series([0, 1], 3), k, k, live=live_at_zero))
    slope = -at_equal[1]
    if slope == 0:
        return Minimum(arb(0), loss.value(arb(0), live=live_at_zero))
    upper = _scan(loss, within)
    end = within if within is not None else _tail(loss, slope, upper)
    candidates = [
        found
        for left, right, live in _pieces(psi, end)
        for found in _branch_and_bound(loss, left, right, upper, live=live)
    ]
    best = min(candidates, key=lambda found: found.value.upper())
    lowest = min((found.value for found in candidates), key=lambda value: value.lower())
    return Minimum(best.delta, lowest.lower().union(best.value.upper()))


def _is_live_at_zero(psi: PsiKind) -> bool:
    """Whether v = 0 lies above the kink."""
    return psi.kink is None or psi.kink < 0


def _pieces(psi: PsiKind, end: arb) -> list[tuple[arb, arb, bool]]:
    """Intervals of delta on which L_k is smooth: left, right, and whether -delta is live."""
    if psi.kink is None:
        return [(arb(0), end, True)]
    turn = -ball(psi.kink)
    if not turn > 0:
        return [(arb(0), end, False)]
    return [(arb(0), turn, True), (turn, end, False)] if turn < end else [(arb(0), end, True)]


def _scan(loss: CollapsedLoss, within: arb | None) -> arb:
    """An upper bound of the minimum: the least value on a geometric grid."""
    end = arb(64) / loss.beta if within is None else within
    points = [end * arb(2) ** (arb(-step) / 4) for step in range(80)]
    values = (loss.enclosed(x) for x in points)
    return min(value.upper() for value in values)


def _tail(loss: CollapsedLoss, slope: arb, upper: arb) -> arb:
    """A delta beyond which L_k > upper.

    By convexity ``psi_k(-delta b) >= psi_k(0) - slope delta`` where some b_i is 1, which has
    probability at most ``k p(delta) <= k (C - 1) exp(-beta delta)``; delta times that decreases
    once ``delta >= 1/beta``.
    """
    at_zero = loss.value(arb(0), live=_is_live_at_zero(loss.psi))
    for doubling in range(40):
        end = arb(2) ** doubling / loss.beta
        lost = slope * loss.k * (loss.num_classes - 1) * end * (-loss.beta * end).exp()
        if at_zero - lost > upper:
            return end
    raise PrecisionError("no end of the search found; raise the precision")


def _branch_and_bound(
    loss: CollapsedLoss, left: arb, right: arb, upper: arb, *, live: bool
) -> list[Minimum]:
    """Enclosures of local minima of one smooth piece, among them the global one if it is below."""
    found, boxes = [], [(left, right)]
    for _ in range(MAX_BOXES):
        if not boxes:
            return found
        low, high = boxes.pop()
        if _lower_bound(loss, low, high, live=live) > upper:
            continue
        ends = (low is left, high is right)
        settled = _settle(loss, low, high, ends, live=live)
        if settled is None:
            middle = (low.mid() + high.mid()) / 2
            boxes += [(low, middle), (middle, high)]
        else:
            found += settled
    raise ArithmeticError(f"the floor was not enclosed with {MAX_BOXES} boxes")


def _lower_bound(loss: CollapsedLoss, low: arb, high: arb, *, live: bool) -> arb:
    """At most L_k on a box: E psi falls in delta and in p, and p falls in delta."""
    return cast(arb, loss.mixture(loss.different(low), high, live=live))


def _settle(
    loss: CollapsedLoss, low: arb, high: arb, ends: tuple[bool, bool], *, live: bool
) -> list[Minimum] | None:
    """The minima in a box, or None if it has to be split.

    A minimum at an end shared with another box is left to that box.
    """
    if (high - low) * loss.beta > 1:
        return None  # the exponential of so wide a ball says nothing
    slope, curvature = _derivatives(loss, low.union(high), live=live)
    convex = curvature > 0
    slope_low = _derivatives(loss, low, live=live)[0] if convex else slope
    slope_high = _derivatives(loss, high, live=live)[0] if convex else slope
    if slope_low >= 0:
        return [Minimum(low, loss.value(low, live=live))] if ends[0] else []
    if slope_high <= 0:
        return [Minimum(high, loss.value(high, live=live))] if ends[1] else []
    return [_newton(loss, low, high, curvature.lower(), live=live)] if convex else None


def _newton(loss: CollapsedLoss, low: arb, high: arb, curvature: arb, *, live: bool) -> Minimum:
    """The minimum of a strongly convex box, from the slope at a point x near it.

    It lies at most ``|L'(x)| / curvature`` from x, between ``L(x) - L'(x)^2 / (2 curvature)`` and
    ``L(x)``.
    """
    x = ((low + high) / 2).mid()
    slope, second = _derivatives(loss, x, live=live)
    for _ in range(60):
        if abs(slope) < arb(2) ** (-ctx.prec * 3 // 4):
            break
        low, high = (x, high) if slope < 0 else (low, x)
        step = (x - slope / second).mid()
        x = step if low < step < high else ((low + high) / 2).mid()
        slope, second = _derivatives(loss, x, live=live)
    value = loss.value(x, live=live)
    error = slope * slope / (2 * curvature)
    distance = (slope / curvature).abs_upper()
    return Minimum(x + arb(0, distance), (value - error.abs_upper()).union(value))


def _derivatives(loss: CollapsedLoss, delta: arb, *, live: bool) -> tuple[arb, arb]:
    """The first and the second derivative of L_k, enclosed over the ball."""
    series = loss.taylor(delta, 3, live=live)
    return series[1], 2 * series[2]
