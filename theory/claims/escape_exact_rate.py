"""The exact rate of escape of HSCL at zero-sum frames: it grows for four classes, not for six.

Theorem A says that the guaranteed part of the rate does not fall with hardness. That the rate at
one hardness is below that at another is decided by the leading minors of S of the first plus the
rate of the second, as lambda, times the identity.
"""

import itertools
import random
from collections.abc import Iterable
from fractions import Fraction

from flint import arb, arb_mat

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.escape.frames import gram_of, random_zero_sum_frame
from theory.escape.matrix import Balls, EscapeProblem, escape_matrix, lowest_quotient, slopes
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball

SEED = 71
BETAS = (Fraction(0), Fraction(1), Fraction(4), Fraction(16), Fraction(32))
LOSSES = (
    InfoNCE(),
    InfoNCE(tau=Fraction(1, 4)),
    InfoNCE(alpha=Fraction(0)),
    InfoNCE(Fraction(1, 3), Fraction(2)),
)


@in_balls()
def falls_for_six_classes(effort: Effort) -> Measurement:
    """The rate at the six vectors is smaller at beta = 32 than at 16."""
    return _compare_falls([six_vectors()])


@in_balls()
def falls_for_four_classes(effort: Effort) -> Measurement:
    """Asks the same of four vectors."""
    return _compare_falls(_fours(effort))


@in_balls()
def grows_for_four_classes(effort: Effort) -> Measurement:
    """The rate at random zero-sum frames of four vectors, at growing hardness."""
    return _compare_growth(_fours(effort))


@in_balls()
def grows_for_six_classes(effort: Effort) -> Measurement:
    """Asks the same of the six vectors."""
    return _compare_growth([six_vectors()])


def six_vectors() -> list[list[arb]]:
    """The similarities of six unit vectors in the plane that sum to zero."""
    root = arb(14).sqrt() / 10
    low, fifth = -ball(Fraction(3, 5)), ball(Fraction(1, 5))
    rational = ([5, 0], [0, 5], [4, -3], [-3, 4])
    rows = [[fifth * x for x in row] for row in rational]
    return gram_of([*rows, [low + root, low - root], [low - root, low + root]])


def _fours(effort: Effort) -> list[list[list[arb]]]:
    """Random zero-sum frames of four vectors in two or three dimensions."""
    rng = random.Random(SEED)
    count = effort.choose(6, 40, 300)
    return [random_zero_sum_frame(rng, 4, rng.choice((2, 3))) for _ in range(count)]


def _compare_falls(frames: Iterable[Balls]) -> Measurement:
    """Records whether the rate at beta = 32 is below that at 16."""
    tally, details = Tally(seed=SEED), {}
    for gram in frames:
        slow, fast = (EscapeProblem(True, beta) for beta in reversed(BETAS[-2:]))
        _record_order(tally, gram, slow, fast)
        for problem in (fast, slow):
            least = lowest_quotient(escape_matrix(gram, slopes(gram, problem)))
            details[rf"$\beta = {problem.beta}$"] = f"rate {-2 * float(least) / len(gram):.6f}"
        tally.models += 1
    return tally.measurement(**details)


def _compare_growth(frames: Iterable[Balls]) -> Measurement:
    """Records whether the rate is below that at the next hardness."""
    tally = Tally(seed=SEED)
    for number, gram in enumerate(frames):
        problems = [EscapeProblem(True, beta, LOSSES[number % len(LOSSES)]) for beta in BETAS]
        for slow, fast in itertools.pairwise(problems):
            _record_order(tally, gram, slow, fast)
        tally.models += 1
    return tally.measurement()


def _record_order(tally: Tally, gram: Balls, slow: EscapeProblem, fast: EscapeProblem) -> None:
    """Records ``-lambda_min`` of one problem to be below that of another.

    It is where S of the first minus a quotient of S of the second, which is at least its least
    eigenvalue, is positive definite: where all leading minors are positive.
    """
    least = lowest_quotient(escape_matrix(gram, slopes(gram, fast)))
    matrix = escape_matrix(gram, slopes(gram, slow))
    shifted = [[x - least * int(i == j) for j, x in enumerate(r)] for i, r in enumerate(matrix)]
    for size in range(1, len(matrix) + 1):
        tally.above(arb_mat([row[:size] for row in shifted[:size]]).det(), arb(0))


CLAIMS = (
    Claim(
        name="hardening can lower the exact rate of escape",
        statement=r"the rate $2 \lvert\lambda_{\min}(S)\rvert / C$ of HSCL at the unit vectors "
        r"$(1, 0)$, $(0, 1)$, $(4/5, -3/5)$, $(-3/5, 4/5)$ and "
        r"$(-3/5 \pm \sqrt{14}/10, -3/5 \mp \sqrt{14}/10)$, which sum to zero, is smaller at "
        r"$\beta = 32$ than at $16$",
        reference="docs/escape.md, section 2",
        hypotheses=r"InfoNCE, $\alpha = q = \tau = 1$, detached weights",
        evidence=Evidence.CERTIFIED,
        measure=falls_for_six_classes,
        controls=(Control("four vectors", "six classes", falls_for_four_classes),),
    ),
    Claim(
        name="hardening raises the exact rate for four classes",
        statement=r"the rate $2 \lvert\lambda_{\min}(S)\rvert / C$ of HSCL grows with $\beta$ at "
        "every zero-sum frame of four unit vectors but NC",
        reference="docs/escape.md, section 2",
        hypotheses=r"InfoNCE, exponential tilting, $k = \infty$, detached weights",
        evidence=Evidence.PROVED,
        measure=grows_for_four_classes,
        controls=(Control("six vectors", "four classes", grows_for_six_classes),),
    ),
)
