"""What a claim is, how it is measured, and what a measurement may say."""

from theory.checking.claim import Claim, Control, Effort, Evidence, Measure, Measurement
from theory.checking.tally import BITS, Tally, in_balls
from theory.checking.verdicts import EQUALITY, Verdict, compare

__all__ = [
    "BITS",
    "EQUALITY",
    "Claim",
    "Control",
    "Effort",
    "Evidence",
    "Measure",
    "Measurement",
    "Tally",
    "Verdict",
    "compare",
    "in_balls",
]
