"""The hardness beta_c up to which neural collapse (NC) minimises HUCL in the unit ball.

NC is optimal iff ``L_k'(C / (C - 1)) <= 0`` (Theorem 4 of `docs/hucl_optimum.md`), and this slope
changes sign exactly once as beta grows. The sign change is found by bisection in ball arithmetic:
at the lower end of a `Bracket` the slope is certified negative, at the upper end positive.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from flint import arb, ctx

from theory.model.psi_kinds import InfoNCE
from theory.optimum.profile import ProfileParameters, slope_at_nc

WIDTH = Fraction(1, 10**8)
"""How narrow the brackets are: absolutely, and relative to their upper ends."""


class Bracket(NamedTuple):
    """Two exact numbers between which beta_c lies."""

    low: arb
    high: arb

    @property
    def middle(self) -> float:
        """The midpoint, rounded to float64."""
        return float((self.low + self.high) / 2)


def threshold(profile: ProfileParameters, *, width: Fraction = WIDTH, bits: int = 160) -> Bracket:
    """Encloses beta_c, the multiplier of similarities before the temperature, by slopes in balls.

    Raises ArithmeticError if the sign of a slope cannot be decided with so many bits.
    """
    narrow = arb(width.numerator) / width.denominator
    with ctx.workprec(bits):
        low, high = arb(0), arb(1)
        while not _is_positive(slope_at_nc(profile, high)):
            low, high = high, 2 * high
        while high - low > narrow * min(arb(1), high):
            middle = (low + high) / 2
            if _is_positive(slope_at_nc(profile, middle)):
                high = middle
            else:
                low = middle
        return Bracket(low, high)


def infonce_profiles(
    classes: Sequence[int], negatives: Sequence[int | None]
) -> list[ProfileParameters]:
    """For every C, InfoNCE with q = 1 and each k, then with q = k for each finite k above 1."""
    sums = [k for k in negatives if k is not None and k > 1]
    columns = [(k, InfoNCE()) for k in negatives] + [(k, InfoNCE(q=None)) for k in sums]
    return [ProfileParameters(c, k, psi) for c in classes for k, psi in columns]


def _is_positive(slope: arb) -> bool:
    """The sign of a slope, if it is certain."""
    if slope > 0:
        return True
    if slope < 0:
        return False
    raise ArithmeticError(f"the sign of the slope {slope} is not decided; raise the bits")
