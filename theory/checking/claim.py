"""A claim as a value: what is said, where, under which hypotheses, and how it is measured.

Every claim carries controls: measurements in which one hypothesis is dropped and the statement must
break. A claim whose control does not break is not believed, however well it holds.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from theory.checking.verdicts import Verdict, holds


class Effort(StrEnum):
    """How many models a measurement tries: seconds, a couple of minutes, or the thousands."""

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
        least_slack: the smallest difference ``left - right`` over all comparisons that were not
            equalities; None where there is no such number.
        seed: where random models began; None for deterministic measurements.
        details: further numbers and short texts for the report.
    """

    verdicts: Counter[Verdict]
    models: int
    least_slack: float | None = None
    seed: int | None = None
    details: Mapping[str, float | int | str] = {}


class Control(NamedTuple):
    """A measurement that must find a violation, since a hypothesis is dropped."""

    name: str
    dropped: str
    measure: Callable[[Effort], Measurement]

    def fails_as_it_must(self, found: Measurement) -> bool:
        """Whether a violation was certified."""
        return found.verdicts[Verdict.VIOLATED] > 0


class Claim(NamedTuple):
    """A statement and the ways to measure it; `holds` tells whether a measurement bears it out."""

    name: str
    statement: str
    reference: str
    hypotheses: str
    evidence: Evidence
    measure: Callable[[Effort], Measurement]
    controls: tuple[Control, ...]

    def holds(self, found: Measurement) -> bool:
        """Whether everything was proved or equal."""
        return holds(found.verdicts)
