"""The least HUCL of two classes in one dimension, found without any theory.

Class-collapsed representations with C = 2 and d = 1 are two numbers ``f_1, f_2`` in [-1, 1]. The
square is split until, in ball arithmetic, no box can hold a value below the best one found minus
the wanted gap. Only the definition enters: k negatives of either class, the tilt e^{beta sum t}.
Mean-value forms with the partial derivatives, also from the definition, make the boxes few.
"""

from collections import Counter
from fractions import Fraction
from heapq import heappop, heappush
from itertools import count
from math import comb
from typing import Any, NamedTuple

from flint import arb, ctx

from theory.checking import Claim, Control, Effort, Evidence, Measurement, compare
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.optimum.floor import floor

PRECISION = 64
GAP = Fraction(1, 10**6)
MAX_BOXES = 200_000

Pair = tuple[arb, arb]


class Enclosure(NamedTuple):
    """The minimum lies between `low` and `high`; `at` has the value `high`."""

    low: arb
    high: arb
    at: tuple[float, float]
    boxes: int


class _Dual(NamedTuple):
    """A value and its two partial derivatives."""

    value: arb
    slopes: Pair


def least_hucl(
    *, k: int, beta: Fraction, gap: Fraction = GAP, norm: Fraction = Fraction(1)
) -> Enclosure:
    """Encloses the minimum of HUCL over the square ``[-norm, norm]^2``.

    Args:
        k: the number of negatives.
        beta: the hardness.
        gap: how far apart the ends of the enclosure may be.
        norm: the largest norm of a feature.

    Returns:
        The enclosure.

    Raises:
        ArithmeticError: if `MAX_BOXES` do not suffice.

    Example:
        >>> found = least_hucl(k=1, beta=Fraction(1), gap=Fraction(1, 100))
        >>> bool(found.low < arb("0.590958") < found.high)
        True
    """
    with ctx.workprec(PRECISION):
        hardness, wanted, ties = ball(beta), ball(gap), count()
        side = ball(norm)
        best, at = hucl((side, -side), k, hardness).value.upper(), (float(norm), -float(norm))
        boxes: list[Any] = [(0.0, next(ties), (arb(-1) * side, side), (arb(-1) * side, side))]
        for looked_at in range(1, MAX_BOXES):
            bound, _, *box = heappop(boxes)
            if best - arb(bound) < wanted:
                return Enclosure(arb(bound), best, at, looked_at)
            for part in _halves(box):
                middle = _middle(part[0]), _middle(part[1])
                here = hucl(middle, k, hardness).value.upper()
                if here < best:
                    best, at = here, (float(middle[0]), float(middle[1]))
                lower = _lower_bound(part, middle, k, hardness)
                heappush(boxes, (float(lower), next(ties), *part))
        raise ArithmeticError(f"{MAX_BOXES} boxes did not close the gap {gap}")


def hucl(features: Pair, k: int, beta: arb) -> _Dual:
    """HUCL of two class-collapsed features, InfoNCE, with partial derivatives.

    Args:
        features: the two features; wide balls give enclosures over a box.
        k: the number of negatives.
        beta: the hardness.

    Returns:
        The value and its slopes.

    Example:
        >>> round(float(hucl((arb(1), arb(-1)), 1, arb(1)).value), 6)
        0.625652
    """
    first = _given_anchor(features[0], features[1], k, beta)
    second = _given_anchor(features[1], features[0], k, beta)
    own, other = first.slopes[0] + second.slopes[1], first.slopes[1] + second.slopes[0]
    return _Dual((first.value + second.value) / 2, (own / 2, other / 2))


def measure_minimum(effort: Effort) -> Measurement:
    """Compares the enclosure with the floor of Theorem 4: they have to overlap."""
    return _measure(effort, Fraction(1))


def measure_interval(effort: Effort) -> Measurement:
    """The same on [-1/4, 1/4]^2, which leaves the minimiser out."""
    return _measure(effort, Fraction(1, 4))


def _given_anchor(own, other, k, beta):
    """The loss of the anchor with feature `own`; slopes are in `own` and `other`.

    Of the two similarities ``own^2`` and ``own other`` only the difference u matters: weights are
    proportional to 1 and e^{-beta u}, and v is 0 or -u.
    """
    u = own * (own - other)
    p = 1 / ((beta * u).exp() + 1)
    value, slope = arb(0), arb(0)
    for j in range(k + 1):
        weight = comb(k, j) * p**j * (1 - p) ** (k - j)
        total = 1 + (arb(k - j) + j * (-u).exp()) / k
        loss = total.log()
        value += weight * loss
        slope -= weight * j * (-u).exp() / (k * total)
        slope -= beta * weight * (j - k * p) * loss
    return _Dual(value, (slope * (2 * own - other), -slope * own))


def _lower_bound(box, middle, k, beta):
    """The better of the plain and the mean-value lower bound on a box."""
    sides = box[0][0].union(box[0][1]), box[1][0].union(box[1][1])
    plain = hucl(sides, k, beta)
    centre = hucl(middle, k, beta).value
    moved = [slope * (side - m) for slope, side, m in zip(plain.slopes, sides, middle, strict=True)]
    expanded = centre + moved[0] + moved[1]
    return max(float(plain.value.lower()), float(expanded.lower())) - 1e-15  # outward rounding


def _halves(box):
    widths = [float(high - low) for low, high in box]
    split = widths.index(max(widths))
    low, high = box[split]
    middle = _middle(box[split])
    for part in ((low, middle), (middle, high)):
        yield (part, box[1]) if split == 0 else (box[0], part)


def _middle(side):
    return ((side[0] + side[1]) / 2).mid()


def _measure(effort, norm):
    verdicts, boxes, details = Counter(), 0, {}
    cases = [(1, 1), (1, 5), (2, 1)][: effort.choose(1, 3, 3)]
    gap = Fraction(1, effort.choose(10**3, 10**5, 10**7))
    for k, beta in cases:
        found = least_hucl(k=k, beta=Fraction(beta), gap=gap, norm=norm)
        predicted = floor(num_classes=2, k=k, psi=InfoNCE(), beta=arb(beta)).value
        verdicts[compare(found.high, predicted)] += 1
        verdicts[compare(predicted, found.low)] += 1
        boxes += found.boxes
        details[f"k={k} beta={beta}"] = f"[{float(found.low):.8f}, {float(found.high):.8f}]"
    return Measurement(verdicts, len(cases), float(gap), details={**details, "boxes": boxes})


CLAIMS = (
    Claim(
        name="branch and bound without theory",
        statement="the least HUCL of two classes in one dimension, found by splitting boxes, is "
        "the floor of Theorem 4",
        reference="docs/hucl_optimum.md, Theorem 4",
        hypotheses="C = 2, d = 1, class-collapsed, InfoNCE, (k, beta) in {(1, 1), (1, 5), (2, 1)}",
        evidence=Evidence.CERTIFIED,
        measure=measure_minimum,
        controls=(Control("norm 1/4", "delta* within reach", measure_interval),),
    ),
)
