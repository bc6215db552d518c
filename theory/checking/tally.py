"""Counting verdicts over many models, and keeping the least slack."""

import math
from collections import Counter
from collections.abc import Callable
from functools import wraps

from flint import arb, ctx

from theory.checking.claim import Effort, Measure, Measurement
from theory.checking.verdicts import EQUALITY, Verdict, compare

BITS = 200
"""Usual working precision of the claims: balls of radius about 1e-58, well below `EQUALITY`."""


class Tally:
    """Collects checks and makes a `Measurement` of them.

    Attributes:
        verdicts: how often each verdict was found.
        models: how many models were tried; whoever measures counts them.
        seed: the seed of the random models, or None.
        least_slack: see `Measurement`.

    Example:
        >>> tally = Tally()
        >>> tally.at_least(arb(2), arb(1))
        <Verdict.PROVED: 'proved'>
        >>> tally.observe_below(abs(0.1 + 0.2 - 0.3), 1e-15)
        <Verdict.AGREES: 'agrees'>
        >>> tally.measurement().least_slack
        1.0
    """

    def __init__(self, *, seed: int | None = None):
        self.verdicts: Counter[Verdict] = Counter()
        self.models = 0
        self.seed = seed
        self.least_slack: float | None = None

    def at_least(self, left: arb, right: arb) -> Verdict:
        """Records whether ``left >= right``."""
        verdict = self.record(compare(left, right))
        if verdict is not Verdict.EQUAL:
            self.keep_slack(left - right)
        return verdict

    def above(self, left: arb, right: arb) -> Verdict:
        """Records whether ``left > right``: equality is a violation here."""
        verdict = self.at_least(left, right)
        return self._replace(verdict, Verdict.VIOLATED) if verdict is Verdict.EQUAL else verdict

    def equal(self, left: arb, right: arb) -> Verdict:
        """Records whether the two differ by less than `EQUALITY`: a difference is a violation."""
        verdict = compare(left, right, within=EQUALITY)
        return self.record(Verdict.VIOLATED if verdict is Verdict.PROVED else verdict)

    def observe(self, agrees: bool) -> Verdict:
        """Records whether floating-point numbers, or a statistical test, agree with the claim."""
        return self.record(Verdict.AGREES if agrees else Verdict.DISAGREES)

    def observe_below(self, left: float | arb, right: float | arb) -> Verdict:
        """Records whether ``left < right`` as observed: equality disagrees, and so does NaN."""
        return self.observe(bool(left < right))

    def record(self, verdict: Verdict) -> Verdict:
        """Records a verdict that was reached elsewhere."""
        self.verdicts[verdict] += 1
        return verdict

    def keep_slack(self, slack: arb) -> None:
        """Keeps the lower end of a slack if it is the least so far."""
        lower = lower_end(slack)
        self.least_slack = lower if self.least_slack is None else min(lower, self.least_slack)

    def measurement(self, **details: float | int | str) -> Measurement:
        """What was found so far."""
        return Measurement(self.verdicts, self.models, self.least_slack, self.seed, details)

    def _replace(self, old: Verdict, new: Verdict) -> Verdict:
        self.verdicts[old] -= 1
        self.verdicts[new] += 1
        return new


def lower_end(ball: arb) -> float:
    """The largest float64 that is certainly not above the number in a ball."""
    if not ball.is_finite():
        return -math.inf
    lower = ball.lower()
    nearest = float(lower)
    return nearest if arb(nearest) <= lower else math.nextafter(nearest, -math.inf)


def in_balls(*, bits: int = BITS) -> Callable[[Measure], Measure]:
    """Runs a measurement in ball arithmetic at a working precision of its own.

    Args:
        bits: the precision in bits.

    Returns:
        A decorator of measurements.

    Example:
        >>> measure = in_balls(bits=160)(lambda effort: Tally().measurement(bits=ctx.prec))
        >>> measure(Effort.QUICK).details
        {'bits': 160}
    """

    def decorate(measure: Measure) -> Measure:
        @wraps(measure)
        def run(effort: Effort) -> Measurement:
            with ctx.workprec(bits):
                return measure(effort)

        return run

    return decorate
