"""Theorem M: where minority classes at one point are the optimum of SCL, read off a matrix.

The matrix S of Theorem P is evaluated there from its definition, in balls, and compared with the
eigenvalues that Theorem M writes down.
"""

import random
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.priors.minority import MinorityProblem, cross_similarity, excess, slopes
from theory.priors.programme import (
    CollapsedSCL,
    certificate_matrix,
    loss_and_slopes,
    shares,
)

SEED = 103
HALF = Fraction(1, 2)


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


CLAIMS = (
    Claim(
        name="the certificate at minority collapse",
        statement=r"with minority classes at one point and $z$ the root of "
        r"$A \gamma_x z + B \gamma_z = 0$, or $-1$ where there is none, $S G = 0$; differences of "
        r"minority classes are eigenvectors of $S$ with the eigenvalue "
        r"$A \gamma_z \lvert z \rvert - B \gamma_w$, those of majority classes have an eigenvalue "
        "of at least 0, and vectors that are constant on kinds have 0 and a positive one",
        reference="docs/unequal_priors.md, Theorem M",
        hypotheses=r"SCL, $A \ge 1$ majority and $B \ge 2$ minority classes, InfoNCE",
        evidence=Evidence.PROVED,
        measure=spectrum_of_certificate,
        controls=(
            Control("$z$ of twice the imbalance", "$z$ is the root", wrong_cross_similarity),
        ),
    ),
)
