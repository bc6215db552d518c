"""Theorem M: at which imbalances minority classes are one point at the optimum of SCL.

The sign of one number decides; its zero R* is enclosed, and on both sides its sign is certified for
all imbalances, by boxes, up to an imbalance without bound. For HSCL the same number decides whether
the point is stable against splitting, which is local. The number may change its sign again.
"""

import random
from collections.abc import Callable
from fractions import Fraction
from functools import partial

from flint import arb

from hcl_jax.geometry import minority_collapse_threshold
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.priors.minority import MinorityProblem, cross_similarity, excess, keeps_sign, slopes
from theory.priors.programme import (
    CollapsedSCL,
    certificate_matrix,
    loss_and_slopes,
    shares,
)

SEED = 103
WIDTH = arb("1e-8")
"""Of the brackets of R*, relative to it."""

NEAR = arb("1e-3")
"""So close to R* signs are not asked for by boxes."""

HALF, FIFTH = Fraction(1, 2), Fraction(1, 5)
PROBLEMS = (
    MinorityProblem(2, 2),
    MinorityProblem(2, 5),
    MinorityProblem(1, 2),
    MinorityProblem(1, 9),
    MinorityProblem(2, 2, k=1),
    MinorityProblem(2, 2, k=4),
    MinorityProblem(2, 2, InfoNCE(tau=HALF)),
    MinorityProblem(2, 2, pairs=True),
    MinorityProblem(3, 3, pairs=True),
    MinorityProblem(10, 10, pairs=True),
    MinorityProblem(10, 90, pairs=True),
)
"""Those at which there is a threshold."""

APART = tuple(MinorityProblem(a, b) for a, b in ((3, 2), (3, 7), (5, 5), (10, 10), (10, 90)))
"""Those at which minority classes stay apart, however rare."""

HARDNESSES = tuple(Fraction(n, 4) for n in (0, 1, 8))
TENTH, QUARTER = Fraction(1, 10), Fraction(1, 4)
COLD_SCL = MinorityProblem(3, 3, InfoNCE(alpha=Fraction(0), tau=TENTH))
HARD_HSCL = MinorityProblem(3, 2, InfoNCE(alpha=Fraction(0), tau=QUARTER), beta=Fraction(6))
FULL_HSCL = MinorityProblem(3, 2, InfoNCE(tau=HALF), beta=Fraction(10), detached=False)
WINDOWS = (
    (COLD_SCL, (40, 100, 10**4)),
    (HARD_HSCL, (60, 500, 10**5)),
    (FULL_HSCL, (1000, 2000, 10**5)),
)
"""Losses and imbalances below, in and above a window in which the point does not split."""


def threshold(problem: MinorityProblem) -> float:
    """R* in floating point."""
    return minority_collapse_threshold(
        problem.majority,
        problem.minority,
        float(problem.psi.tau),
        num_negatives=problem.k,
        beta=float(problem.beta),
        stop_gradient_hardening=problem.detached,
        average="pairs" if problem.pairs else "anchors",
    )


def bracket(problem: MinorityProblem) -> tuple[arb, arb]:
    """Two imbalances around it."""
    found = arb(threshold(problem))
    return found * (1 - WIDTH), found * (1 + WIDTH)


@in_balls()
def spectrum_of_certificate(effort: Effort) -> Measurement:
    """S of Theorem P at minority classes at one point, against the eigenvalues of Theorem M."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    _compare_spectrum(tally, MinorityProblem(2, 6, InfoNCE(tau=Fraction(20))), Fraction(11, 10))
    for _ in range(effort.choose(10, 60, 400)):
        problem = MinorityProblem(
            rng.randint(1, 3),
            rng.randint(2, 3),
            rng.choice((InfoNCE(), InfoNCE(Fraction(1, 3), Fraction(2), HALF))),
            rng.choice((None, 1, 2)),
            pairs=rng.random() < 0.5,
        )
        _compare_spectrum(tally, problem, Fraction(rng.randint(11, 500), 10))
    return tally.measurement()


def _compare_spectrum(tally: Tally, problem: MinorityProblem, imbalance: Fraction) -> None:
    """Records that S G = 0, the eigenvalue of splitting, and the signs of the others."""
    a, b = problem.majority, problem.minority
    z = cross_similarity(problem, 1 / ball(imbalance))
    x = (a * z * z - 1) / (a - 1) if a > 1 else arb(1)
    kinds = [0] * a + [1] * b
    table = ((x, z), (z, arb(1)))
    gram = [
        [arb(1) if i == j else table[k][m] for j, m in enumerate(kinds)]
        for i, k in enumerate(kinds)
    ]
    sizes = [imbalance] * a + [Fraction(1)] * b
    anchors = shares([size**2 for size in sizes]) if problem.pairs else None
    whole = CollapsedSCL(shares(sizes), problem.psi, problem.k, anchors)
    matrix = certificate_matrix(gram, weights := loss_and_slopes(whole, gram)[1])
    for row in matrix:
        for column in gram:
            product = sum((s * g for s, g in zip(row, column, strict=True)), arb(0))
            tally.equal(product, arb(0))
    splitting = matrix[-1][-1] - matrix[-1][-2]
    tally.equal(splitting, -a * weights[0][-1] * z - b * weights[-1][-2])
    majority, minority = matrix[0], matrix[-1]
    if a > 1:
        tally.at_least(majority[0] - majority[1], arb(0))
    of_kinds = sum(majority[:a], arb(0)) + sum(minority[a:], arb(0))
    tally.above(of_kinds, arb(0))  # the trace on vectors that are constant on kinds
    decided = excess(problem, 1 / ball(imbalance))
    tally.above(decided * splitting, arb(0))
    tally.models += 1


@in_balls()
def wrong_cross_similarity(effort: Effort) -> Measurement:
    """Asks S G = 0 where the cross similarity is that of twice the imbalance."""
    tally = Tally()
    problem, s = MinorityProblem(2, 2), arb(1) / 10
    z = cross_similarity(problem, s / 2)
    at = slopes(problem, s, z)
    tally.equal(2 * at.majority * z / s + 2 * at.between, arb(0))
    tally.models += 1
    return tally.measurement()


@in_balls(bits=100)
def thresholds(effort: Effort) -> Measurement:
    """The sign on both sides of R*, at once and by boxes from 1 to infinity."""
    tally, details = Tally(), {}
    for problem in PROBLEMS[: effort.choose(5, 11, 11)]:
        low, _ = _only_threshold(tally, problem)
        details[_name(problem)] = f"R* = {float(low.mid()):.4f}"
    return tally.measurement(**details)


def _only_threshold(tally: Tally, problem: MinorityProblem) -> tuple[arb, arb]:
    """The bracket of R*; records the signs at its ends and, by boxes, at all other imbalances."""
    low, high = bracket(problem)
    tally.above(-excess(problem, 1 / low), arb(0))
    tally.above(excess(problem, 1 / high), arb(0))
    below, beyond = 1 / (low * (1 - NEAR)), 1 / (high * (1 + NEAR))
    first = arb("1e-9") if problem.majority == 1 else arb(0)
    for start, end, splits in ((below, arb(1), True), (first, beyond, False)):
        kept = keeps_sign(problem, start, end, splits=splits)
        tally.above(arb(int(kept)), arb(0))
    tally.models += 1
    return low, high


@in_balls(bits=100)
def thresholds_of_one_negative(effort: Effort) -> Measurement:
    """Asks the point to split up to the R* of infinitely many negatives where there is one."""
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


def _order_of_thresholds(
    k: int | None, *, lowered: bool, only: bool = True
) -> Callable[[Effort], Measurement]:
    """Whether a little hardness lowers R* (or raises it), and more raises it, detached and full.

    And, if asked, whether each R* is the only threshold.
    """

    @in_balls(bits=100)
    def measure(effort: Effort) -> Measurement:
        tally, details = Tally(), {}
        for detached in (True, False)[: effort.choose(1, 2, 2)]:
            problems = [
                MinorityProblem(2, 2, k=k, beta=beta, detached=detached) for beta in HARDNESSES
            ]
            find = partial(_only_threshold, tally) if only else bracket
            plain, little, much = map(find, problems)
            tally.above(*((plain[0], little[1]) if lowered else (little[0], plain[1])))
            tally.above(much[0], plain[1])
            gradient = "detached" if detached else "full gradient"
            found = ", ".join(f"{float(low.mid()):.2f}" for low, _ in (plain, little, much))
            details[gradient] = f"R* = {found} at beta = 0, .25, 2"
        return tally.measurement(**details)

    return measure


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


def _name(problem: MinorityProblem) -> str:
    """The problem in the report."""
    negatives = "oo" if problem.k is None else str(problem.k)
    average = "pairs" if problem.pairs else "anchors"
    kinds = f"A={problem.majority} B={problem.minority}"
    return f"{kinds} tau={float(problem.psi.tau):g} k={negatives} {average}"


CLAIMS = (
    Claim(
        name="the certificate at minority collapse",
        statement="with minority classes at one point and z the root of A a_x z + B a_z = 0, or -1 "
        "where there is none, S G = 0; differences of minority classes are eigenvectors of S with "
        "the eigenvalue A a_z |z| - B a_w, those of majority classes have an eigenvalue of at "
        "least 0, and vectors that are constant on kinds have 0 and a positive one",
        reference="docs/unequal_priors.md, Theorem M",
        hypotheses="SCL, A >= 1 majority and B >= 2 minority classes, InfoNCE",
        evidence=Evidence.PROVED,
        measure=spectrum_of_certificate,
        controls=(Control("z of twice the imbalance", "z is the root", wrong_cross_similarity),),
    ),
    Claim(
        name="thresholds of minority collapse",
        statement="minority classes are one point at the optimum of SCL for every imbalance above "
        "R* (1 + 1e-3) and for none from 1 to R* (1 - 1e-3); R* is known to 1e-8",
        reference="docs/unequal_priors.md, section 3",
        hypotheses="the A, B, tau, k and averages of the table, alpha = q = 1; for A = 1 "
        "imbalances up to 1e9",
        evidence=Evidence.CERTIFIED,
        measure=thresholds,
        controls=(Control("k = 1", "infinitely many negatives", thresholds_of_one_negative),),
    ),
    Claim(
        name="three majority classes hold minorities apart",
        statement="at no imbalance minority classes are one point at the optimum of SCL",
        reference="docs/unequal_priors.md, section 3",
        hypotheses="(A, B) = (3, 2), (3, 7), (5, 5), (10, 10), (10, 90); tau = alpha = q = 1, "
        "k = oo, averages over anchors",
        evidence=Evidence.CERTIFIED,
        measure=minorities_apart,
        controls=(
            Control("two majority classes", "three majority classes", minorities_apart_of_two),
            Control("averages over pairs", "averages over anchors", minorities_apart_of_pairs),
            Control("k = 1, alpha = 0", "k = oo, alpha = 1", minorities_apart_of_one_negative),
        ),
    ),
    Claim(
        name="hardness lowers R*, then raises it",
        statement="minority classes at one point split from R = 1 to R* (1 - 1e-3) and at no "
        "imbalance above R* (1 + 1e-3), where R* is lower for beta = 1/4 than for 0, and higher "
        "for beta = 2",
        reference="docs/unequal_priors.md, section 4",
        hypotheses="HSCL, A = B = 2, k = oo, tau = alpha = q = 1, averages over anchors, detached "
        "weights and (not in quick runs) full gradient; stability against splitting at a root of "
        "A a_x z + B a_z = 0, which is local",
        evidence=Evidence.CERTIFIED,
        measure=_order_of_thresholds(None, lowered=True),
        controls=(
            Control(
                "k = 1",
                "infinitely many negatives",
                _order_of_thresholds(1, lowered=True, only=False),
            ),
        ),
    ),
    Claim(
        name="hardness raises R* of one negative",
        statement="for k = 1 they do so with an R* that is higher for beta = 1/4 than for 0, and "
        "for beta = 2",
        reference="docs/unequal_priors.md, section 4",
        hypotheses="as before",
        evidence=Evidence.CERTIFIED,
        measure=_order_of_thresholds(1, lowered=False),
        controls=(
            Control(
                "k = oo", "one negative", _order_of_thresholds(None, lowered=False, only=False)
            ),
        ),
    ),
    Claim(
        name="windows of minority collapse",
        statement="minority classes at one point split at R = 40 and 10^4 and are the optimum of "
        "SCL at 100 (A = B = 3, alpha = 0, tau = 1/10); those of HSCL split at 60 and 10^5 and are "
        "stable at 500 (A = 3, B = 2, alpha = 0, tau = 1/4, beta = 6, detached weights), and split "
        "at 1000 and 10^5 and are stable at 2000 (alpha = 1, tau = 1/2, beta = 10, full gradient)",
        reference="docs/unequal_priors.md, section 3",
        hypotheses="k = oo, q = 1, averages over anchors; HSCL at a root of A a_x z + B a_z = 0",
        evidence=Evidence.CERTIFIED,
        measure=_windows(*WINDOWS),
        controls=(
            Control(
                "SCL with alpha = 1",
                "alpha = 0",
                _windows((COLD_SCL._replace(psi=InfoNCE(tau=TENTH)), WINDOWS[0][1])),
            ),
            Control(
                "beta = 0",
                "beta = 6",
                _windows((HARD_HSCL._replace(beta=Fraction(0)), WINDOWS[1][1])),
            ),
        ),
    ),
)
