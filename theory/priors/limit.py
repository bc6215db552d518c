"""Minority collapse at imbalances without bound, in closed form, in float64.

For SCL with averages over anchors, minority classes are one point at all large
imbalances if the ratio here is above 1, and at no large one if it is below (Proposition "no bound"
of `docs/unequal_priors.md`).
"""

import math

HOTTEST = 1e6
"""Temperatures up to here are looked at."""


def limit_ratio(majority: int, temperature: float, *, alpha: float = 1.0, q: float = 1.0) -> float:
    """``e^{-(A-2)/((A-1) tau)} (A r/(A-1) + 2 + (A-1)/(A r)) / 4`` with r as on the page.

    This is for infinitely many negatives. Raises ValueError for fewer than two majority classes,
    where the ratio has no bound.
    """
    if majority < 2:
        raise ValueError(f"the ratio needs two majority classes, got {majority}")
    rate = 1 / temperature
    apart = alpha + q * math.exp(-majority / (majority - 1) * rate)
    ratio = (alpha + q * math.exp(-rate)) / apart
    share = majority / (majority - 1)
    scale = math.exp(-(majority - 2) / (majority - 1) * rate)
    return scale * (share * ratio + 2 + 1 / (share * ratio)) / 4


def limit_ratio_of_one(
    majority: int, temperature: float, *, alpha: float = 1.0, q: float = 1.0
) -> float:
    """The same for one negative, from two majority classes on."""
    rate, pairs = 1 / temperature, 4 * majority * (majority - 1)
    apart = alpha + q * math.exp(-majority / (majority - 1) * rate)
    between = alpha + q * math.exp(-rate)
    scale = math.exp(-(majority - 2) / (majority - 1) * rate)
    return (1 + 1 / pairs) * scale * (alpha + q) * apart / between**2


def limit_temperature(majority: int, *, alpha: float = 1.0, q: float = 1.0) -> float | None:
    """Where the ratio reaches 1 from below; None where it is above 1 at all temperatures.

    It is looked for by bisection, as if the ratio crossed 1 once. That it does is not proved.
    """
    if majority == 2:
        return None
    low, high = 1e-3, HOTTEST
    while low < (middle := math.sqrt(low * high)) < high:
        if limit_ratio(majority, middle, alpha=alpha, q=q) < 1:
            low = middle
        else:
            high = middle
    return high
