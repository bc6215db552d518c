"""A claim as a value: what is said, where, under which hypotheses, and how it is measured.

Every claim carries controls: measurements in which one hypothesis is dropped and the statement must
break. A claim whose control does not break is not believed, however well it holds.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from theory.checking.verdicts import AGAINST, RIGOROUS, Verdict


class Effort(StrEnum):
    """How many models a measurement tries: few, a hundred, or thousands."""

    QUICK = "quick"
    DEFAULT = "default"
    FULL = "full"

    def choose(self, quick: int, default: int, full: int) -> int:
        """The number that goes with this effort.

        Example:
            >>> Effort.QUICK.choose(10, 100, 1000)
            10
        """
        return {"quick": quick, "default": default, "full": full}[self.value]


class Evidence(StrEnum):
    """What "verified" means for a claim."""

    PROVED = "proved by hand, checked on models"
    CERTIFIED = "certified by ball arithmetic for the listed parameters"
    OBSERVED = "observed numerically"


class Measurement(NamedTuple):
    """What was found.

    Attributes:
        verdicts: how often each verdict was found.
        models: how many models were tried.
        least_slack: a number below ``left - right`` in every comparison of balls that was not an
            equality, as close to the smallest of them as float64 allows; None if there was none.
        seed: the seed of the random models; None for deterministic measurements.
        details: further numbers and short texts for the report; formulas in TeX between dollars.
    """

    verdicts: Counter[Verdict]
    models: int
    least_slack: float | None = None
    seed: int | None = None
    details: Mapping[str, float | int | str] = {}


Measure = Callable[[Effort], Measurement]
"""How a claim or a control is measured."""


class Control(NamedTuple):
    """A measurement that must contradict the claim, since a hypothesis is dropped.

    Attributes:
        name: what is done; formulas in TeX between dollars.
        dropped: the hypothesis that no longer holds, with formulas alike.
        measure: the measurement.
    """

    name: str
    dropped: str
    measure: Measure

    def fails(self, found: Measurement) -> bool:
        """Whether a measurement contradicts the claim, as a control must.

        Example:
            >>> control = Control("norm 2", "unit ball", lambda effort: Measurement(Counter(), 0))
            >>> control.fails(Measurement(Counter([Verdict.PROVED, Verdict.VIOLATED]), models=2))
            True
        """
        return any(found.verdicts[verdict] for verdict in AGAINST)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement, and how it is measured.

    Attributes:
        name: a few words without a formula, unique.
        statement: the mathematics, a sentence without its full stop; formulas in TeX between
            dollars, here and in the hypotheses, as on the pages of the theory.
        reference: where the statement or its proof is, as "docs/escape.md, Theorem A (i)": a page
            of the theory, and the beginning of a heading, "section 2", or a statement's name.
        hypotheses: under which it holds, or the parameters for which it is certified.
        evidence: what "verified" means.
        measure: the measurement.
        controls: measurements that must contradict the statement; at least one.
    """

    name: str
    statement: str
    reference: str
    hypotheses: str
    evidence: Evidence
    measure: Measure
    controls: tuple[Control, ...]

    def holds(self, found: Measurement) -> bool:
        r"""Whether a measurement bears the statement out.

        Nothing may be violated, undecided or in disagreement, and something must have been
        checked. Observed agreement suffices for an observed claim; one that is called proved or
        certified needs at least one rigorous comparison of balls besides.

        Example:
            >>> claim = Claim(
            ...     name="squares are not negative",
            ...     statement=r"$x^2 \ge 0$",
            ...     reference="docs/theory.md, the model",
            ...     hypotheses="$x$ real",
            ...     evidence=Evidence.PROVED,
            ...     measure=lambda effort: Measurement(Counter([Verdict.PROVED]), models=1),
            ...     controls=(),
            ... )
            >>> claim.holds(claim.measure(Effort.QUICK))
            True
            >>> claim.holds(Measurement(Counter([Verdict.AGREES]), models=1))
            False
        """
        verdicts = found.verdicts
        if any(verdicts[bad] for bad in (*AGAINST, Verdict.UNDECIDED)):
            return False
        rigorous = sum(verdicts[verdict] for verdict in RIGOROUS)
        if self.evidence is Evidence.OBSERVED:
            return rigorous + verdicts[Verdict.AGREES] > 0
        return rigorous > 0
