"""At which imbalances minority classes are one point at the optimum of SCL (Theorem M).

The sign of one number decides; a zero R_0 of it is enclosed, and on both sides, a relative 1e-3
away, its sign is certified for all imbalances, by boxes, up to an imbalance without bound.
"""

from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.model.psi_kinds import InfoNCE
from theory.priors.minority import MinorityProblem, excess, keeps_sign
from theory.priors.thresholds import bracket, record_only_threshold

PROBLEMS = (
    MinorityProblem(2, 2),
    MinorityProblem(2, 5),
    MinorityProblem(1, 2),
    MinorityProblem(1, 9),
    MinorityProblem(2, 2, k=1),
    MinorityProblem(2, 2, k=4),
    MinorityProblem(2, 2, InfoNCE(tau=Fraction(1, 2))),
    MinorityProblem(2, 2, pairs=True),
    MinorityProblem(3, 3, pairs=True),
    MinorityProblem(10, 10, pairs=True),
    MinorityProblem(10, 90, pairs=True),
)
"""Those at which there is a threshold."""

APART = tuple(MinorityProblem(a, b) for a, b in ((3, 2), (3, 7), (5, 5), (10, 10), (10, 90)))
"""Those at which minority classes stay apart, however rare."""


@in_balls(bits=100)
def thresholds(effort: Effort) -> Measurement:
    """The sign on both sides of R_0, at once and by boxes from 1 to infinity."""
    tally, details = Tally(), {}
    for problem in PROBLEMS[: effort.choose(5, 11, 11)]:
        low, _ = record_only_threshold(tally, problem)
        details[_name(problem)] = f"$R_0 = {float(low.mid()):.4f}$"
    return tally.measurement(**details)


@in_balls(bits=100)
def thresholds_of_one_negative(effort: Effort) -> Measurement:
    """Asks the point to split at the R_0 of infinitely many negatives where there is one."""
    tally = Tally()
    for majority, minority in ((2, 2), (2, 5)):
        low, _ = bracket(MinorityProblem(majority, minority))
        tally.above(-excess(MinorityProblem(majority, minority, k=1), 1 / low), arb(0))
        tally.models += 1
    return tally.measurement()


@in_balls(bits=100)
def minorities_apart(effort: Effort) -> Measurement:
    """The point splits for every imbalance from 1 to infinity."""
    return _compare_apart(APART)


@in_balls(bits=100)
def minorities_apart_of_two(effort: Effort) -> Measurement:
    """Asks the same of two majority classes."""
    return _compare_apart((MinorityProblem(2, 2),))


@in_balls(bits=100)
def minorities_apart_of_pairs(effort: Effort) -> Measurement:
    """Asks the same of averages over pairs, to which rare classes matter less."""
    return _compare_apart((MinorityProblem(3, 2, pairs=True),))


@in_balls(bits=100)
def minorities_apart_of_one_negative(effort: Effort) -> Measurement:
    """Asks the same of one negative and alpha = 0."""
    return _compare_apart((MinorityProblem(3, 2, InfoNCE(alpha=Fraction(0)), k=1),))


def _compare_apart(problems: tuple[MinorityProblem, ...]) -> Measurement:
    """Records whether the point splits throughout."""
    tally = Tally()
    for problem in problems:
        kept = keeps_sign(problem, arb(0), arb(1), splits=True)
        tally.above(arb(int(kept)), arb(0))
        tally.models += 1
    return tally.measurement()


def _name(problem: MinorityProblem) -> str:
    """The problem in the report."""
    negatives = r"\infty" if problem.k is None else str(problem.k)
    average = "pairs" if problem.pairs else "anchors"
    kinds = f"$A = {problem.majority}$, $B = {problem.minority}$"
    return rf"{kinds}, $\tau = {float(problem.psi.tau):g}$, $k = {negatives}$, {average}"


CLAIMS = (
    Claim(
        name="thresholds of minority collapse",
        statement="minority classes are one point at the optimum of SCL for every imbalance above "
        "$R_0 (1 + 10^{-3})$ and for none from 1 to $R_0 (1 - 10^{-3})$, where $R_0$ is a zero of "
        r"$\sigma$ and known to a relative $10^{-8}$; so the smallest such imbalance, $R^*$, is "
        "known to $10^{-3}$",
        reference="docs/unequal_priors.md, section 3",
        hypotheses=r"$\alpha = q = 1$, and $(A, B) = (2, 2)$, $(2, 5)$, $(1, 2)$, $(1, 9)$ and, "
        r"for $k = 1$, $(2, 2)$ with averages over anchors, elsewhere $k = \infty$, $\tau = 1$; "
        r"not in quick runs $(2, 2)$ for $k = 4$ and for $\tau = 1/2$, and with averages over "
        "pairs $(2, 2)$, $(3, 3)$, $(10, 10)$, $(10, 90)$; for $A = 1$ imbalances up to $10^9$",
        evidence=Evidence.CERTIFIED,
        measure=thresholds,
        controls=(Control("$k = 1$", "infinitely many negatives", thresholds_of_one_negative),),
    ),
    Claim(
        name="three majority classes hold minorities apart",
        statement="at no imbalance minority classes are one point at the optimum of SCL",
        reference="docs/unequal_priors.md, section 3",
        hypotheses="$(A, B) = (3, 2)$, $(3, 7)$, $(5, 5)$, $(10, 10)$, $(10, 90)$; "
        r"$\tau = \alpha = q = 1$, $k = \infty$, averages over anchors",
        evidence=Evidence.CERTIFIED,
        measure=minorities_apart,
        controls=(
            Control("two majority classes", "three majority classes", minorities_apart_of_two),
            Control("averages over pairs", "averages over anchors", minorities_apart_of_pairs),
            Control(
                r"$k = 1$, $\alpha = 0$",
                r"$k = \infty$, $\alpha = 1$",
                minorities_apart_of_one_negative,
            ),
        ),
    ),
)
