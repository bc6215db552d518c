"""Windows of minority collapse: beyond R* the point of minority classes may split again."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.model.psi_kinds import InfoNCE
from theory.priors.minority import MinorityProblem, excess

TENTH, QUARTER, HALF = Fraction(1, 10), Fraction(1, 4), Fraction(1, 2)
COLD_SCL = MinorityProblem(3, 3, InfoNCE(alpha=Fraction(0), tau=TENTH))
HARD_HSCL = MinorityProblem(3, 2, InfoNCE(alpha=Fraction(0), tau=QUARTER), beta=Fraction(6))
FULL_HSCL = MinorityProblem(3, 2, InfoNCE(tau=HALF), beta=Fraction(10), detached=False)
WINDOWS = (
    (COLD_SCL, (40, 100, 10**4)),
    (HARD_HSCL, (60, 500, 10**5)),
    (FULL_HSCL, (1000, 2000, 10**5)),
)
"""Losses and imbalances below, in and above a window in which the point does not split."""


def _windows(*cases: tuple[MinorityProblem, tuple[int, ...]]) -> Callable[[Effort], Measurement]:
    """Asks the point to split at the first and the last imbalance, and not at that in between."""

    @in_balls(bits=100)
    def measure(effort: Effort) -> Measurement:
        tally = Tally()
        for problem, imbalances in cases:
            for imbalance, sign in zip(imbalances, (-1, 1, -1), strict=True):
                tally.above(sign * excess(problem, 1 / arb(imbalance)), arb(0))
            tally.models += 1
        return tally.measurement()

    return measure


CLAIMS = (
    Claim(
        name="windows of minority collapse",
        statement="minority classes at one point split at $R = 40$ and $10^4$ and are the optimum "
        r"of SCL at 100 ($A = B = 3$, $\alpha = 0$, $\tau = 1/10$); those of HSCL split at 60 and "
        r"$10^5$ and are stable at 500 ($A = 3$, $B = 2$, $\alpha = 0$, $\tau = 1/4$, $\beta = 6$, "
        r"detached weights), and split at 1000 and $10^5$ and are stable at 2000 ($A = 3$, "
        r"$B = 2$, $\alpha = 1$, $\tau = 1/2$, $\beta = 10$, full gradient)",
        reference="docs/unequal_priors.md, section 3",
        hypotheses=r"$k = \infty$, $q = 1$, averages over anchors; HSCL at a root of "
        r"$A \gamma_x z + B \gamma_z = 0$",
        evidence=Evidence.CERTIFIED,
        measure=_windows(*WINDOWS),
        controls=(
            Control(
                r"SCL with $\alpha = 1$",
                r"$\alpha = 0$",
                _windows((replace(COLD_SCL, psi=InfoNCE(tau=TENTH)), WINDOWS[0][1])),
            ),
            Control(
                r"$\beta = 0$",
                r"$\beta = 6$",
                _windows((replace(HARD_HSCL, beta=Fraction(0)), WINDOWS[1][1])),
            ),
        ),
    ),
)
