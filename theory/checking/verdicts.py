"""What a single check says of a statement.

A ball (`flint.arb`) holds the exact number and a rigorous error bound. Of two balls ``a >= b`` is
*proved* where the balls say so, *violated* where they say the opposite, *equal* where both agree to
within `EQUALITY`, and otherwise *undecided*, which counts as a failure: nothing is taken on trust.

Where floating point is involved, as in a run of Adam, a loss in float64 or a statistical test,
nothing is proved and nothing is equal: the numbers *agree* with the statement to the tolerance that
the claim names, or *disagree*.
"""

from enum import StrEnum

from flint import arb

EQUALITY = arb("1e-50")
"""Balls whose difference is certainly smaller than this count as equal."""


class Verdict(StrEnum):
    """The outcome of one check: the first four compare balls, the last two observe numbers."""

    PROVED = "proved"
    EQUAL = "equal"
    VIOLATED = "violated"
    UNDECIDED = "undecided"
    AGREES = "agrees"
    DISAGREES = "disagrees"


RIGOROUS = (Verdict.PROVED, Verdict.EQUAL)
"""The verdicts that bear a statement out for certain."""

AGAINST = (Verdict.VIOLATED, Verdict.DISAGREES)
"""The verdicts that contradict a statement."""


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
