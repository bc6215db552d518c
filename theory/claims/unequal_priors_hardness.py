"""What hardness does to minority classes at one point: from which imbalance on they do not split.

For HSCL the number of Theorem M decides whether the point is stable against splitting, which is
local: where the optimum of HSCL is it does not say.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.priors.minority import MinorityProblem
from theory.priors.thresholds import bracket, record_only_threshold

HARDNESSES = tuple(Fraction(n, 4) for n in (0, 1, 8))


def _order_of_thresholds(
    k: int | None, *, lowered: bool, only: bool = True
) -> Callable[[Effort], Measurement]:
    """Whether a little hardness lowers R_0 (or raises it), and more raises it, detached and full.

    And, if asked, whether each R_0 is the only threshold, but for a relative 1e-3 around it.
    """

    @in_balls(bits=100)
    def measure(effort: Effort) -> Measurement:
        tally, details = Tally(), {}
        for detached in (True, False)[: effort.choose(1, 2, 2)]:
            problems = [
                MinorityProblem(2, 2, k=k, beta=beta, detached=detached) for beta in HARDNESSES
            ]
            find = partial(record_only_threshold, tally) if only else bracket
            plain, little, much = map(find, problems)
            tally.above(*((plain[0], little[1]) if lowered else (little[0], plain[1])))
            tally.above(much[0], plain[1])
            gradient = "detached" if detached else "full gradient"
            found = ", ".join(f"{float(low.mid()):.2f}" for low, _ in (plain, little, much))
            details[gradient] = rf"$R_0 = {found}$ at $\beta = 0, .25, 2$"
        return tally.measurement(**details)

    return measure


CLAIMS = (
    Claim(
        name="hardness lowers the threshold, then raises it",
        statement="minority classes at one point split from $R = 1$ to $R_0 (1 - 10^{-3})$ and at "
        r"no imbalance above $R_0 (1 + 10^{-3})$, where $R_0$, at which the sign of $\sigma$ "
        r"changes to a relative $10^{-8}$, is lower for $\beta = 1/4$ than for 0, and higher for "
        r"$\beta = 2$",
        reference="docs/unequal_priors.md, section 4",
        hypotheses=r"HSCL, $A = B = 2$, $k = \infty$, $\tau = \alpha = q = 1$, averages over "
        "anchors, detached weights and (not in quick runs) full gradient; stability against "
        r"splitting at a root of $A \gamma_x z + B \gamma_z = 0$, which is local",
        evidence=Evidence.CERTIFIED,
        measure=_order_of_thresholds(None, lowered=True),
        controls=(
            Control(
                "$k = 1$",
                "infinitely many negatives",
                _order_of_thresholds(1, lowered=True, only=False),
            ),
        ),
    ),
    Claim(
        name="hardness raises the threshold of one negative",
        statement=r"for $k = 1$ they do so with an $R_0$ that is higher for $\beta = 1/4$ than for "
        r"0, and for $\beta = 2$",
        reference="docs/unequal_priors.md, section 4",
        hypotheses="as before, $k = 1$",
        evidence=Evidence.CERTIFIED,
        measure=_order_of_thresholds(1, lowered=False),
        controls=(
            Control(
                r"$k = \infty$",
                "one negative",
                _order_of_thresholds(None, lowered=False, only=False),
            ),
        ),
    ),
)
