"""The floor of HUCL under exponential tilting: ``min over delta >= 0 of L_k(delta)``.

A class-collapsed representation whose similarities are larger by ``delta`` within a class than
between classes has the HUCL value

    L_k(delta) = E psi_k(-delta b_1, .., -delta b_k),   b_i iid Bernoulli(p(delta)),
    p(delta) = (C - 1) / (C - 1 + exp(beta delta)),

and no representation of any norm goes below its minimum over ``delta >= 0`` (Theorem 4(a) of
`docs/hucl_optimum.md`; balanced classes, conditionally independent positives, beta > 0). The
minimum is found here by branch and bound in ball arithmetic, so the value is an enclosure.
"""

from math import comb
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flint import arb, arb_series, ctx
from jaxtyping import Array, Float

from theory.model.psi_kinds import Ball, PsiKind
from theory.model.rationals import rational

MAX_BOXES = 10_000


class PrecisionError(ArithmeticError):
    """More bits are needed to decide."""


class Floor(NamedTuple):
    """A minimum: where (the midpoint is a minimiser up to rounding) and an enclosure of it."""

    delta: arb
    value: arb


class _Problem(NamedTuple):
    num_classes: int
    k: int
    psi: PsiKind
    beta: arb


def collapsed_loss(delta: arb, *, num_classes: int, k: int, psi: PsiKind, beta: arb) -> arb:
    """``L_k(delta)`` in balls.

    Args:
        delta: the gap of similarities, a ball.
        num_classes: C, at least 2.
        k: the number of negatives.
        psi: the loss function; where it weights its places, only their mean matters.
        beta: the hardness, any sign.

    Returns:
        A ball that contains the value.

    Example:
        >>> from theory.model.psi_kinds import InfoNCE
        >>> at_nc = collapsed_loss(arb(2), num_classes=2, k=1, psi=InfoNCE(), beta=arb(1))
        >>> at_nc.str(8, radius=False)
        '0.62565220'
    """
    problem = _Problem(num_classes, k, psi, beta)
    if psi.kink is None or -delta > rational(psi.kink):
        return _arb(_loss(problem, delta, live=True))
    if -delta <= rational(psi.kink):
        return _arb(_loss(problem, delta, live=False))
    live, dead = (_arb(_loss(problem, delta, live=side)) for side in (True, False))
    return live.union(dead)


def collapsed_loss_float64(
    deltas: Float[Array, " n"], *, num_classes: int, k: int, psi: PsiKind, beta: float
) -> Float[Array, " n"]:
    """``L_k`` on an array, with the shipped loss functions; run it under x64.

    Args:
        deltas: gaps of similarities.
        num_classes: C.
        k: the number of negatives.
        psi: the loss function.
        beta: the hardness.

    Returns:
        The values.

    Example:
        >>> import jax
        >>> from theory.model.psi_kinds import InfoNCE
        >>> with jax.enable_x64(True):
        ...     value = collapsed_loss_float64(
        ...         jnp.array([2.0]), num_classes=2, k=1, psi=InfoNCE(), beta=1.0
        ...     )
        >>> round(float(value[0]), 8)
        0.6256522
    """
    shift, shipped = psi.float64()
    share = float(sum(psi.place_weights(k)) / k)
    different = jnp.arange(k + 1)
    moved = (jnp.arange(k) < different[:, None]).astype(deltas.dtype)
    log_same = -jnp.logaddexp(0.0, jnp.log(num_classes - 1.0) - beta * deltas)
    log_different = -jnp.logaddexp(0.0, beta * deltas - jnp.log(num_classes - 1.0))
    ways = jnp.log(jnp.array([comb(k, j) for j in range(k + 1)], deltas.dtype))
    log_weights = ways + different * log_different[:, None] + (k - different) * log_same[:, None]
    losses = jax.vmap(lambda delta: shipped.of_differences(float(shift) - delta * moved))(deltas)
    return share * jnp.sum(jnp.exp(log_weights) * losses, axis=1)


def collapsed_taylor(
    delta: arb, *, num_classes: int, k: int, psi: PsiKind, beta: arb, terms: int = 3
) -> tuple[arb, ...]:
    """The Taylor coefficients of ``L_k`` at `delta`, for a psi without a kink.

    Args:
        delta: where; a wide ball gives enclosures of the coefficients over all of it.
        num_classes: C.
        k: the number of negatives.
        psi: a smooth loss function.
        beta: the hardness, any sign.
        terms: how many coefficients.

    Returns:
        ``L_k(delta), L_k'(delta), L_k''(delta) / 2, ..``.

    Raises:
        ValueError: if psi has a kink.

    Example:
        >>> from theory.model.psi_kinds import InfoNCE
        >>> at_nc = collapsed_taylor(arb(2), num_classes=2, k=1, psi=InfoNCE(), beta=arb(1))
        >>> [round(float(coefficient), 6) for coefficient in at_nc]
        [0.625652, 0.04524, -0.003865]
    """
    if psi.kink is not None:
        raise ValueError(f"a Taylor series needs a smooth psi, got {psi}")
    problem = _Problem(num_classes, k, psi, beta)
    series = _series(_loss(problem, arb_series([delta, 1], terms), live=True))
    return tuple(series[i] for i in range(terms))


def floor(*, num_classes: int, k: int, psi: PsiKind, beta: arb, within: arb | None = None) -> Floor:
    """The minimum of ``L_k`` over ``delta >= 0``, or over ``0 <= delta <= within``.

    Args:
        num_classes: C, at least 2.
        k: the number of negatives.
        psi: a convex, argument-wise non-decreasing loss function.
        beta: the hardness, positive.
        within: an upper limit for delta, such as ``C / (C - 1)`` for the unit ball.

    Returns:
        The minimiser and the enclosed minimum. Raise `flint.ctx.prec` for more digits.

    Raises:
        ValueError: if psi or beta do not qualify.
        PrecisionError: if the precision does not suffice to decide.
        ArithmeticError: if there are too many boxes.

    Example:
        >>> from theory.model.psi_kinds import InfoNCE
        >>> delta, value = floor(num_classes=2, k=1, psi=InfoNCE(), beta=arb(1))
        >>> round(float(delta), 4), round(float(value), 8)
        (0.9813, 0.59095804)
    """
    if not psi.legal or not beta > 0 or num_classes < 2:
        raise ValueError(
            "the floor needs a convex non-decreasing psi, beta > 0 and at least 2 classes, "
            f"got {psi}, beta={beta}, {num_classes} classes"
        )
    problem = _Problem(num_classes, k, psi, beta)
    start_live = psi.kink is None or psi.kink < 0
    slope = -_series(psi.collapsed(arb_series([0, 1], 3), k, k, live=start_live))[1]
    if slope == 0:
        return Floor(arb(0), _arb(_loss(problem, arb(0), live=start_live)))
    upper = _scan(problem, within)
    end = within if within is not None else _tail(problem, slope, upper)
    candidates = [
        found
        for left, right, live in _pieces(psi, end)
        for found in _branch_and_bound(problem, left, right, upper, live=live)
    ]
    best = min(candidates, key=lambda found: found.value.upper())
    lowest = min((found.value for found in candidates), key=lambda value: value.lower())
    return Floor(best.delta, lowest.lower().union(best.value.upper()))


def _pieces(psi, end):
    """Intervals of delta on which L_k is smooth: left, right, and whether -delta is live."""
    if psi.kink is None:
        return [(arb(0), end, True)]
    turn = -arb(rational(psi.kink))
    if not turn > 0:
        return [(arb(0), end, False)]
    return [(arb(0), turn, True), (turn, end, False)] if turn < end else [(arb(0), end, True)]


def _loss(problem, delta, *, live):
    """L_k(delta) on one side of the kink; delta is a ball or a power series."""
    odds = (delta * problem.beta).exp()
    return _mixture(problem, 1 / (odds / (problem.num_classes - 1) + 1), delta, live=live)


def _mixture(problem, probability, delta, *, live):
    """E psi_k(-delta b) with b_i iid Bernoulli(probability)."""
    k, psi = problem.k, problem.psi
    if psi.separable:
        same = psi.collapsed(delta, 0, k, live=live)
        return same + (psi.collapsed(delta, k, k, live=live) - same) * probability
    at_zero = psi.collapsed(delta, 0, k, live=live)
    total = at_zero  # plus gains: the weights sum to one, which balls would not see
    for j in range(1, k + 1):
        weight = probability**j * (1 - probability) ** (k - j) * comb(k, j)
        total = total + (psi.collapsed(delta, j, k, live=live) - at_zero) * weight
    return total


def _scan(problem, within):
    """An upper bound of the minimum: the least value on a geometric grid."""
    end = arb(64) / problem.beta if within is None else within
    points = [end * arb(2) ** (arb(-step) / 4) for step in range(80)]
    k, psi, beta = problem.k, problem.psi, problem.beta
    values = (
        collapsed_loss(x, num_classes=problem.num_classes, k=k, psi=psi, beta=beta) for x in points
    )
    return min(value.upper() for value in values)


def _tail(problem, slope, upper):
    """A delta beyond which L_k > upper.

    By convexity ``psi_k(-delta b) >= psi_k(0) - slope delta`` where some b_i is 1, which has
    probability at most ``k p(delta) <= k (C - 1) exp(-beta delta)``; delta times that decreases
    once ``delta >= 1/beta``.
    """
    at_zero = _arb(_loss(problem, arb(0), live=problem.psi.kink is None or problem.psi.kink < 0))
    for doubling in range(40):
        end = arb(2) ** doubling / problem.beta
        loss = slope * problem.k * (problem.num_classes - 1) * end * (-problem.beta * end).exp()
        if at_zero - loss > upper:
            return end
    raise PrecisionError("no end of the search found; raise the precision")


def _branch_and_bound(problem, left, right, upper, *, live):
    """Enclosures of local minima of one smooth piece, among them the global one if it is below."""
    found, boxes = [], [(left, right)]
    for _ in range(MAX_BOXES):
        if not boxes:
            return found
        low, high = boxes.pop()
        probability = 1 / ((low * problem.beta).exp() / (problem.num_classes - 1) + 1)
        if _arb(_mixture(problem, probability, high, live=live)) > upper:
            continue  # psi falls in delta and in p, p falls in delta: the value at the best of both
        ends = (low is left, high is right)
        settled = _settle(problem, low, high, ends, live=live)
        if settled is None:
            middle = (low.mid() + high.mid()) / 2
            boxes += [(low, middle), (middle, high)]
        else:
            found += settled
    raise ArithmeticError(f"the floor was not enclosed with {MAX_BOXES} boxes")


def _settle(problem, low, high, ends, *, live):
    """The minima in a box, or None if it has to be split.

    A minimum at an end shared with another box is left to that box.
    """
    if (high - low) * problem.beta > 1:
        return None  # the exponential of so wide a ball says nothing
    box = _series(_loss(problem, arb_series([low.union(high), 1], 3), live=live))
    slope, curvature = box[1], 2 * box[2]
    convex = curvature > 0
    slope_low = _derivatives(problem, low, live=live)[0] if convex else slope
    slope_high = _derivatives(problem, high, live=live)[0] if convex else slope
    if slope_low >= 0:
        return [_at(problem, low, live=live)] if ends[0] else []
    if slope_high <= 0:
        return [_at(problem, high, live=live)] if ends[1] else []
    return [_newton(problem, low, high, curvature.lower(), live=live)] if convex else None


def _newton(problem, low, high, curvature, *, live):
    """The minimum of a strongly convex box: ``L(x) - L'(x)^2 / (2 curvature) <= min <= L(x)``."""
    x = ((low + high) / 2).mid()
    slope, second = _derivatives(problem, x, live=live)
    for _ in range(60):
        if abs(slope) < arb(2) ** (-ctx.prec * 3 // 4):
            break
        low, high = (x, high) if slope < 0 else (low, x)
        step = (x - slope / second).mid()
        x = step if low < step < high else ((low + high) / 2).mid()
        slope, second = _derivatives(problem, x, live=live)
    value = _at(problem, x, live=live).value
    error = slope * slope / (2 * curvature)
    return Floor(x, (value - error.abs_upper()).union(value))


def _at(problem, delta, *, live):
    return Floor(delta, _arb(_loss(problem, delta, live=live)))


def _derivatives(problem, delta, *, live):
    series = _series(_loss(problem, arb_series([delta, 1], 3), live=live))
    return series[1], 2 * series[2]


def _arb(value: Ball) -> arb:
    assert isinstance(value, arb)
    return value


def _series(value: Ball) -> arb_series:
    assert isinstance(value, arb_series)
    return value
