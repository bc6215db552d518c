"""Theorem A: zero-sum dimensional collapse is unstable, the more surely the harder the negatives.

    lambda_min(S) <= -B,   B = (1/C) sum_c P_c (E_kappa[t] + 1/(C-1)) > 0 off NC, growing with beta.

An eigenvalue is bounded by the quotient ``z^T S z / |z|^2`` of a vector that float64 finds.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.escape.frames import gram_of, random_frame, random_zero_sum_frame
from theory.escape.matrix import (
    Balls,
    EscapeProblem,
    escape_matrix,
    guaranteed,
    lowest_quotient,
    slope_by_definition,
    slopes,
)
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import Rng
from theory.model.rationals import ball

SEED = 53
BETAS = (Fraction(0), Fraction(1, 2), Fraction(2), Fraction(10))
LOSSES = (
    InfoNCE(),
    InfoNCE(tau=Fraction(1, 4)),
    InfoNCE(alpha=Fraction(0)),
    InfoNCE(Fraction(1, 3), Fraction(2)),
)
MARGIN = arb("1e-30")
"""Room for the eigenvector that float64 found, relative to B."""

FALLS = ((1, 0), (Fraction(-4, 5), Fraction(3, 5)), (Fraction(-20, 29), Fraction(-21, 29)))
"""Three unit vectors without zero sum at which B falls from beta = 15 to 30, at tau = 1/5."""


@in_balls()
def formula_of_the_slopes(effort: Effort) -> Measurement:
    """D by the formula and by a power series, for all four losses and both gradients."""
    return _compare_slopes(effort, lambda problem: problem)


@in_balls()
def formula_of_the_other_gradient(effort: Effort) -> Measurement:
    """Asks the formula of detached weights of the full gradient."""
    return _compare_slopes(effort, lambda problem: replace(problem, detached=True))


@in_balls()
def zero_sum_collapse_is_left(effort: Effort) -> Measurement:
    """``-quotient >= B > 0`` on random zero-sum frames, for SCL, HSCL, UCL and HUCL."""
    return _compare_instability(effort, random_zero_sum_frame)


@in_balls()
def collapse_is_left_without_alpha(effort: Effort) -> Measurement:
    """The same on frames of any sum, for alpha = 0 and supervised pairs."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(10, 60, 400)):
        gram = random_frame(rng, rng.randint(3, 6), rng.choice((2, 3)))
        psi = InfoNCE(alpha=Fraction(0), tau=rng.choice((Fraction(1), Fraction(1, 4))))
        _record_instability(tally, gram, EscapeProblem(True, rng.choice(BETAS), psi))
    return tally.measurement()


@in_balls()
def neural_collapse_is_left(effort: Effort) -> Measurement:
    """Asks the same of NC."""

    def collapsed(rng: Rng, count: int, dim: int) -> list[list[arb]]:
        return [
            [arb(1) if i == j else -1 / arb(count - 1) for j in range(count)] for i in range(count)
        ]

    return _compare_instability(effort, collapsed)


@in_balls()
def linear_loss_is_left(effort: Effort) -> Measurement:
    """Asks the same of the linear loss, whose slopes D are all equal."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(3, 20, 100)):
        gram = random_zero_sum_frame(rng, rng.randint(4, 6), 2)
        even = [[arb(int(i != j)) for j in range(len(gram))] for i in range(len(gram))]
        tally.above(guaranteed(gram, even), arb(0))
        tally.models += 1
    return tally.measurement()


@in_balls()
def guarantee_grows(effort: Effort) -> Measurement:
    """B at growing hardness on random zero-sum frames, SCL and HSCL."""
    rng = random.Random(SEED)
    frames = [_zero_sum(rng) for _ in range(effort.choose(8, 50, 300))]
    problems = [EscapeProblem(True, Fraction(0), rng.choice(LOSSES)) for _ in frames]
    return _compare_growth(list(zip(frames, problems, strict=True)), BETAS)


@in_balls()
def guarantee_grows_with_collisions(effort: Effort) -> Measurement:
    """Asks the same of UCL and HUCL."""
    rng = random.Random(SEED)
    frames = [_zero_sum(rng) for _ in range(effort.choose(8, 50, 300))]
    return _compare_growth([(frame, EscapeProblem(False, Fraction(0))) for frame in frames], BETAS)


@in_balls()
def guarantee_grows_without_zero_sum(effort: Effort) -> Measurement:
    """Asks the same of three vectors whose sum is not zero."""
    gram = gram_of([[ball(Fraction(x)) for x in row] for row in FALLS])
    problem = EscapeProblem(True, Fraction(0), InfoNCE(tau=Fraction(1, 5)))
    return _compare_growth([(gram, problem)], (Fraction(15), Fraction(30)))


def _compare_slopes(effort: Effort, asked: Callable[[EscapeProblem], EscapeProblem]) -> Measurement:
    """Records whether the formula is the derivative of the definition, on random frames."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for number in range(effort.choose(8, 40, 200)):
        gram = random_frame(rng, rng.randint(2, 5), rng.choice((1, 2, 3)))
        beta, psi, own = rng.choice(BETAS[1:]), rng.choice(LOSSES), Fraction(rng.choice((1, 2)), 2)
        problem = EscapeProblem(number % 2 == 0, beta, psi, number % 4 < 2, own)
        formula = slopes(gram, asked(problem))
        for c, row in enumerate(gram):
            for other in range(len(gram)):
                if other != c:
                    exact = slope_by_definition(row, c, other, problem)
                    tally.equal(exact, formula[c][other])
        tally.models += 1
    return tally.measurement()


def _compare_instability(
    effort: Effort, frame: Callable[[Rng, int, int], list[list[arb]]]
) -> Measurement:
    """Records instability on frames, for random losses with detached weights."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for number in range(effort.choose(16, 120, 800)):
        gram = frame(rng, rng.randint(4, 7), rng.choice((2, 3)))
        problem = EscapeProblem(number % 4 > 0, rng.choice(BETAS), rng.choice(LOSSES))
        if number % 4 == 1:
            problem = replace(problem, detached=False)
        _record_instability(tally, gram, problem)
    return tally.measurement()


def _record_instability(tally: Tally, gram: Balls, problem: EscapeProblem) -> None:
    """Records ``-quotient >= B`` up to the rounding of the eigenvector, and ``B > 0``."""
    weights = slopes(gram, problem)
    least = guaranteed(gram, weights)
    tally.above(least, arb(0))
    tally.at_least(-lowest_quotient(escape_matrix(gram, weights)), least * (1 - MARGIN))
    tally.models += 1


def _compare_growth(
    cases: list[tuple[list[list[arb]], EscapeProblem]], betas: tuple[Fraction, ...]
) -> Measurement:
    """Records whether B does not fall from one hardness to the next."""
    tally = Tally(seed=SEED)
    for gram, problem in cases:
        found = [guaranteed(gram, slopes(gram, replace(problem, beta=beta))) for beta in betas]
        for before, after in itertools.pairwise(found):
            tally.at_least(after, before)
        tally.models += 1
    return tally.measurement()


def _zero_sum(rng: Rng) -> list[list[arb]]:
    """A zero-sum frame of four to seven vectors in two or three dimensions."""
    return random_zero_sum_frame(rng, rng.randint(4, 7), rng.choice((2, 3)))


CLAIMS = (
    Claim(
        name="the slopes of the losses of collapsed classes",
        statement=r"$D_{cc'} = P_c \pi_c(c')$ for detached weights, and "
        r"$\tau P_c (\kappa \pi_c(c') - \beta \omega_c(c'))$ for the full gradient, is the "
        "derivative of $L_c$ in $t_{cc'}$",
        reference="docs/escape.md, section 1",
        hypotheses=r"InfoNCE, exponential tilting, $k = \infty$, one unit vector for every class",
        evidence=Evidence.PROVED,
        measure=formula_of_the_slopes,
        controls=(Control("the full gradient", "detached weights", formula_of_the_other_gradient),),
    ),
    Claim(
        name="zero-sum dimensional collapse is unstable",
        statement=r"$\lambda_{\min}(S) \le -B < 0$: along an unused dimension class means leave "
        "every zero-sum frame but NC at a rate of at least $2B/C$",
        reference="docs/escape.md, Theorem A (i) and (ii)",
        hypotheses=r"unit vectors with zero sum, InfoNCE, exponential tilting, $k = \infty$; SCL "
        "and HSCL with either gradient, UCL and HUCL with detached weights",
        evidence=Evidence.PROVED,
        measure=zero_sum_collapse_is_left,
        controls=(
            Control("NC", "not NC", neural_collapse_is_left),
            Control(r"linear $\psi$", "InfoNCE", linear_loss_is_left),
        ),
    ),
    Claim(
        name="without the constant all collapse is unstable",
        statement=r"for $\alpha = 0$, $\lambda_{\min}(S) \le -B < 0$ at all unit vectors but NC",
        reference="docs/escape.md, Theorem A (iv)",
        hypotheses=r"SCL and HSCL, InfoNCE with $\alpha = 0$, detached weights",
        evidence=Evidence.PROVED,
        measure=collapse_is_left_without_alpha,
        controls=(Control("NC", "not NC", neural_collapse_is_left),),
    ),
    Claim(
        name="hardness raises the guaranteed rate of escape",
        statement=r"$B$ does not decrease with $\beta$",
        reference="docs/escape.md, Theorem A (ii)",
        hypotheses="SCL and HSCL, unit vectors with zero sum, detached weights",
        evidence=Evidence.PROVED,
        measure=guarantee_grows,
        controls=(
            Control("UCL and HUCL", "negatives of other classes", guarantee_grows_with_collisions),
            Control("another sum", "zero sum", guarantee_grows_without_zero_sum),
        ),
    ),
)
