"""Counting verdicts over many models, and keeping the least slack."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps

from flint import arb, ctx

from theory.checking.claim import Effort, Measurement
from theory.checking.verdicts import EQUALITY, Verdict, compare

BITS = 200
"""Working precision of the claims: balls of radius about 1e-58, well below `EQUALITY`."""


class Tally:
    """Collects comparisons of balls and makes a `Measurement` of them.

    Example:
        >>> tally = Tally()
        >>> tally.at_least(arb(2), arb(1))
        <Verdict.PROVED: 'proved'>
        >>> tally.measurement().least_slack
        1.0
    """

    def __init__(self, *, seed: int | None = None):
        self.verdicts: Counter[Verdict] = Counter()
        self.models = 0
        self.seed = seed
        self.details: dict[str, float | int | str] = {}
        self.least_slack: float | None = None

    def at_least(self, left: arb, right: arb) -> Verdict:
        """Records whether ``left >= right``."""
        verdict = compare(left, right)
        self.verdicts[verdict] += 1
        if verdict is not Verdict.EQUAL:
            slack = float(left - right)
            self.least_slack = slack if self.least_slack is None else min(slack, self.least_slack)
        return verdict

    def above(self, left: arb, right: arb) -> Verdict:
        """Records whether ``left > right``: equality is a violation here."""
        verdict = self.at_least(left, right)
        return self._replace(verdict, Verdict.VIOLATED) if verdict is Verdict.EQUAL else verdict

    def equal(self, left: arb, right: arb, *, within: arb = EQUALITY) -> Verdict:
        """Records whether the two are equal up to `within`: a difference is a violation."""
        verdict = compare(left, right, within=within)
        if verdict is Verdict.PROVED:
            verdict = Verdict.VIOLATED
        self.verdicts[verdict] += 1
        return verdict

    def measurement(self, **details: float | int | str) -> Measurement:
        """What was found so far."""
        found: Mapping[str, float | int | str] = {**self.details, **details}
        return Measurement(self.verdicts, self.models, self.least_slack, self.seed, found)

    def _replace(self, old: Verdict, new: Verdict) -> Verdict:
        self.verdicts[old] -= 1
        self.verdicts[new] += 1
        return new


def in_balls(measure: Callable[[Effort], Measurement]) -> Callable[[Effort], Measurement]:
    """Runs a measurement at the working precision of the claims.

    Example:
        >>> in_balls(lambda effort: Tally().measurement(bits=ctx.prec))(Effort.QUICK).details
        {'bits': 200}
    """

    @wraps(measure)
    def run(effort: Effort) -> Measurement:
        with ctx.workprec(BITS):
            return measure(effort)

    return run
