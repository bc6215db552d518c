"""Where neural collapse stops being the optimum of HUCL, and the frame that takes its place.

For HUCL with InfoNCE, k = infinity and exponential tilting, a representation of least loss in the
unit ball, dim >= C - 1, is a simplex ETF whose norm is 1 up to a hardness beta_c and smaller beyond
(`docs/hucl_optimum.md`, Theorems 4 and C). With similarities larger by delta within classes than
between them the loss is

    log(alpha + q a(delta)),   a = (1 + rho e^{-(b + 1) d}) / (1 + rho e^{-b d}),

where ``d = delta / temperature``, ``b = beta temperature`` and rho is the number of negatives of
other classes for one of the own: C - 1 for the population, m (C - 1) / (m - 1) for an anchor that
has m - 1 others of its class beside it in a balanced batch. Its minimum over d is the root of

    (b + 1) e^{-d} + rho e^{-(b + 1) d} = b,

and beta_c is the b with this root at ``D = C / ((C - 1) temperature)``, neural collapse. With
``y = b D`` and ``A = (e^D - 1) / D`` it reads ``y A = 1 + rho e^{-y}``, which W, the function of
Lambert, solves: ``y = 1 / A + W(rho e^{-1 / A} / A)``.

All of this is arithmetic of Python, in float64 whatever JAX computes in.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from hcl_jax.geometry._checks import known_number
from hcl_jax.validation.numbers import check_count

LARGEST = 2**53
"""Numbers of classes up to here are exact in float64."""


class HUCLOptimum(NamedTuple):
    """A representation of least HUCL in the unit ball, dim >= C - 1.

    Attributes:
        gap: how much larger similarities are within classes than between them; C / (C - 1) at
            neural collapse.
        norm: the norm of the class means, a simplex ETF; 1 at neural collapse.
        loss: the least HUCL.
    """

    gap: float
    norm: float
    loss: float


def hucl_threshold(num_classes: int, temperature: float, *, per_class: int | None = None) -> float:
    """beta_c: neural collapse minimises HUCL in the unit ball up to this hardness, and not beyond.

    The unit ball is of C - 1 dimensions or more, and HUCL that of InfoNCE with k = infinity and
    exponential tilting. Source: `docs/hucl_optimum.md`, Theorem 4 for the population and Theorem C
    for batches.

    Args:
        num_classes: the number C of classes, at least 2, of equal size.
        temperature: the positive temperature of InfoNCE. Neither its alpha nor its q matters.
        per_class: the number of members of every class in a balanced batch whose anchors are not
            their own negatives, the default of `hcl_jax.hucl`; None for the population, and for
            batches whose anchors are among both their positives and their negatives, as with
            ``reference_conventions=True``.

    Returns:
        The hardness, a number of Python that multiplies similarities before the temperature. It
        falls with the temperature, in the end like ``(1 + rho) e^{-D} / temperature`` with
        ``D = C / ((C - 1) temperature)``, and is 0 where that leaves float64; rho is C - 1, or
        ``m (C - 1) / (m - 1)`` for m members of every class.

    Raises:
        ValueError, TypeError: for fewer than two classes or members, and a temperature that is not
            a positive number.

    Example:
        >>> round(hucl_threshold(100, 1.0), 5), round(hucl_threshold(100, 1.0, per_class=2), 5)
        (3.08538, 3.59031)
    """
    rho = _ratio(num_classes, per_class)
    temperature = known_number("temperature", temperature, positive=True)
    depth = num_classes / (num_classes - 1) / temperature
    inverse = -depth * math.exp(-depth) / math.expm1(-depth)  # 1 / A, which does not overflow
    return (inverse + _lambert_w(rho * inverse * math.exp(-inverse))) / (depth * temperature)


def hucl_optimum(
    num_classes: int,
    beta: float,
    temperature: float,
    *,
    alpha: float = 1.0,
    q: float = 1.0,
    per_class: int | None = None,
) -> HUCLOptimum:
    """The least HUCL over all representations in the unit ball, and a frame that attains it.

    Source: `docs/hucl_optimum.md`, Theorem 4 for the population and Theorem C for batches. The loss
    is that of `hcl_jax.hucl` with the weights estimator; the optimum is the one of its full
    gradient, ``stop_gradient_hardening=False``.

    Args:
        num_classes: as `hucl_threshold`.
        beta: the hardness, not negative.
        temperature: as `hucl_threshold`.
        alpha: the non-negative weight of the positive in InfoNCE.
        q: the positive weight of the negatives in InfoNCE.
        per_class: as `hucl_threshold`.

    Returns:
        Gap, norm and loss, numbers of Python. Neural collapse up to `hucl_threshold`. On the unit
        sphere the loss is attained where dim >= C, by the same frame with a common offset.

    Raises:
        ValueError, TypeError: as `hucl_threshold`, and for other numbers out of their range.

    Example:
        >>> gap, norm, loss = hucl_optimum(100, 5.0, 1.0)
        >>> round(gap, 4), round(norm, 4), round(loss, 4)
        (0.6592, 0.8078, 0.4829)
    """
    rho = _ratio(num_classes, per_class)
    beta = known_number("beta", beta)
    temperature = known_number("temperature", temperature, positive=True)
    alpha, q = known_number("alpha", alpha), known_number("q", q, positive=True)
    collapsed = num_classes / (num_classes - 1)
    scaled = beta * temperature
    gap = collapsed
    if scaled > 0:
        gap = min(collapsed, temperature * _scaled_gap(rho, scaled))
    others = rho * math.exp(-scaled * (gap / temperature))  # their weight, the own class's being 1
    mean = q * (1 + others * math.exp(-gap / temperature)) / (1 + others)
    loss = math.log1p(alpha - 1 + mean) if alpha > 0.5 else math.log(alpha + mean)
    return HUCLOptimum(gap, math.sqrt(gap / collapsed), loss)


def _scaled_gap(rho: float, scaled: float) -> float:
    """The root d of ``(b + 1) e^{-d} + rho e^{-(b + 1) d} = b`` for b = `scaled`.

    That is ``d = log(1 + (1 + rho e^{-b d}) / b)``. The right side is convex and decreasing.
    """

    def newton(d: float) -> float:
        others = rho * math.exp(-scaled * d)
        excess = d - math.log1p((1 + others) / scaled)
        return d - excess / (1 + scaled * others / (scaled + 1 + others))

    return _increasing_to_limit(newton, math.log1p(1 / scaled))


def _lambert_w(x: float) -> float:
    """W(x), the root of ``w = x e^{-w}``, for x >= 0."""

    def newton(w: float) -> float:
        decayed = x * math.exp(-w)
        return w + (decayed - w) / (1 + decayed)

    return _increasing_to_limit(newton, 0.0)


def _increasing_to_limit(newton: Callable[[float], float], start: float) -> float:
    """The limit of Newton's method from the left of the root of a concave increasing function.

    There every step is to the right and none beyond the root, until rounding stops them.
    """
    while (following := newton(start)) > start:
        start = following
    return start


def _ratio(num_classes: int, per_class: int | None) -> float:
    """rho: how many negatives are of other classes for one of the anchor's own."""
    num_classes = check_count("num_classes", num_classes, minimum=2)
    if num_classes > LARGEST:
        raise ValueError(f"num_classes must be at most {LARGEST}, to be exact in float64")
    if per_class is None:
        return num_classes - 1.0
    per_class = check_count("per_class", per_class, minimum=2)
    return (num_classes - 1) * (per_class / (per_class - 1))
