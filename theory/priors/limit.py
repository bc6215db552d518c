"""Minority collapse at imbalances without bound, in closed form, in balls.

For SCL with averages over anchors, minority classes are one point at all large
imbalances if the ratio here is above 1, and at no large one if it is below (Proposition "no bound"
of `docs/unequal_priors.md`).
"""

import math
from fractions import Fraction

from flint import arb

from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball

HOTTEST = 1e6
"""Temperatures up to here are looked at."""


def limit_ratio(majority: int, psi: InfoNCE) -> arb:
    """``e^{-(A-2)/((A-1) tau)} (A r/(A-1) + 2 + (A-1)/(A r)) / 4`` with r as on the page.

    This is for infinitely many negatives. Raises ValueError for fewer than two majority classes,
    where the ratio has no bound, and for q = k.
    """
    scale, between, apart = _parts(majority, psi, psi.limit_weight)
    grown = majority * between / ((majority - 1) * apart)
    return scale * (grown + 2 + 1 / grown) / 4


def limit_ratio_of_one(majority: int, psi: InfoNCE) -> arb:
    """The same for one negative."""
    scale, between, apart = _parts(majority, psi, psi.weight(1))
    pairs = 4 * majority * (majority - 1)
    together = ball(psi.alpha) + ball(psi.weight(1))
    return arb(pairs + 1) / pairs * scale * together * apart / between**2


def limit_temperature(majority: int) -> float | None:
    """Where `limit_ratio` for alpha = q = 1 reaches 1 from below; None for two majority classes.

    It is above 1 at all temperatures there. It is looked for by bisection, as if the ratio crossed
    1 once. That it does is not proved. Raises ValueError where it is not reached at temperatures up
    to 10^6.
    """
    if majority == 2:
        return None
    low, high = 1e-3, HOTTEST
    if not _at(majority, high) > 1:
        raise ValueError(
            f"the ratio of {majority} majority classes is not above 1 at temperature {HOTTEST:g}, "
            "and hotter ones are not looked at"
        )
    while low < (middle := math.sqrt(low * high)) < high:
        if _at(majority, middle) < 1:
            low = middle
        else:
            high = middle
    return high


def _at(majority: int, temperature: float) -> arb:
    """`limit_ratio` for alpha = q = 1."""
    return limit_ratio(majority, InfoNCE(tau=Fraction(temperature)))


def _parts(majority: int, psi: InfoNCE, weight: Fraction) -> tuple[arb, arb, arb]:
    """``e^{-(A-2)/((A-1) tau)}``, ``alpha + q e^{-1/tau}`` and ``alpha + q e^{-A/((A-1) tau)}``."""
    if majority < 2:
        raise ValueError(f"the ratio needs two majority classes, got {majority}")
    psi.check_legal()
    rate, alpha, q = 1 / ball(psi.tau), ball(psi.alpha), ball(weight)
    scale = (-rate * (majority - 2) / (majority - 1)).exp()
    apart = alpha + q * (-rate * majority / (majority - 1)).exp()
    return scale, alpha + q * (-rate).exp(), apart
