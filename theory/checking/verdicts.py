"""Three-valued comparison of numbers that are only known to lie in balls.

A ball (`flint.arb`) holds the exact number and a rigorous error bound. ``a >= b`` is *proved* where
the balls say so, *violated* where they say the opposite, *equal* where both agree to within
`EQUALITY`, and otherwise *undecided*, which counts as a failure: nothing is taken on trust.
"""

from collections import Counter
from enum import StrEnum

from flint import arb

EQUALITY = arb("1e-50")
"""Balls whose difference is certainly smaller than this count as equal."""


class Verdict(StrEnum):
    """What the comparison of two balls says of ``left >= right``."""

    PROVED = "proved"
    EQUAL = "equal"
    VIOLATED = "violated"
    UNDECIDED = "undecided"
    AGREES = "agrees"
    """Not a comparison of balls: a statistical test that does not reject."""


def compare(left: arb, right: arb, *, within: arb = EQUALITY) -> Verdict:
    """Decides ``left >= right``.

    Args:
        left: a ball.
        right: a ball.
        within: numbers closer than this count as equal; more than `EQUALITY` only where the data
            themselves are rounded.

    Returns:
        The verdict; `Verdict.EQUAL` where ``|left - right| < within`` for certain.

    Example:
        >>> compare(arb(2).sqrt(), arb("1.41421"))
        <Verdict.PROVED: 'proved'>
        >>> compare(arb(1), arb(1))
        <Verdict.EQUAL: 'equal'>
    """
    difference = left - right
    if abs(difference) < within:
        return Verdict.EQUAL
    if difference > 0:
        return Verdict.PROVED
    if difference < 0:
        return Verdict.VIOLATED
    return Verdict.UNDECIDED


def holds(verdicts: Counter[Verdict]) -> bool:
    """Whether a claim stands: something was compared, nothing was violated or undecided.

    Args:
        verdicts: how often each verdict was found.

    Returns:
        True if all verdicts are proved or equal, and there is at least one.

    Example:
        >>> holds(Counter({Verdict.PROVED: 3}))
        True
        >>> holds(Counter({Verdict.PROVED: 3, Verdict.UNDECIDED: 1}))
        False
    """
    bad = verdicts[Verdict.VIOLATED] + verdicts[Verdict.UNDECIDED]
    return bad == 0 and verdicts.total() > 0
