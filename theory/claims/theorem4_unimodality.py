"""Why the HUCL profile has one minimum, for every k: the lemma behind Theorem 4(d).

For InfoNCE put ``x = e^{-delta / tau}`` and ``a = k alpha / q``, let n be Binomial(k - 1, p), and

    A_n = x / (a + k - 1 - n + (n + 1) x),
    B_n = tau log((a + k - n + n x) / (a + k - 1 - n + (n + 1) x)).

A_n is ``tau d psi_k / d v_1`` at ``v_1 = -delta``, and ``B_n / tau`` is what psi_k gains when v_1
goes up to 0, with n of the others at ``-delta``. Then

    -tau L_k'(delta) = k p E[A] (1 - beta (1 - p) E[B] / E[A]),

p and E[A] decrease in delta, ``1 - p`` and ``E[B] / E[A]`` increase. So ``-L_k'`` decreases while
it is positive and stays non-positive afterwards, which makes L_k unimodal, with its tangent below
it wherever it slopes down. `docs/hucl_optimum.md` has the proof; here it is tried on random
parameters in ball arithmetic.
"""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from math import comb
from typing import NamedTuple

import numpy as np
from flint import arb, ctx

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict, compare
from theory.model.psi_kinds import BadSigmoid, InfoNCE
from theory.model.rationals import ball
from theory.optimum.collapsed_loss import collapsed_taylor

SEED = 20231109
PRECISION = 256
POINTS = 9


class Slope(NamedTuple):
    """The factors of the slope of the profile at one gap.

    Attributes:
        p: the tilted probability of a negative of another class.
        push: ``E[A]``, how much spreading the classes lowers the loss.
        pull: ``E[B]``, how much a collision with the own class raises it.
    """

    p: arb
    push: arb
    pull: arb


class Parameters(NamedTuple):
    """One random problem and an increasing sequence of gaps."""

    num_classes: int
    k: int
    psi: InfoNCE
    beta: arb
    gaps: tuple[arb, ...]


def slope_factors(parameters: Parameters, gap: arb) -> Slope:
    """The numbers p, E[A] and E[B] of the lemma.

    Args:
        parameters: the problem.
        gap: delta.

    Returns:
        The factors, enclosed.

    Example:
        >>> problem = Parameters(2, 1, InfoNCE(), arb(1), ())
        >>> p, push, pull = slope_factors(problem, arb(2))
        >>> round(float(push), 6), round(float(pull), 6)  # sigmoid(-2), log 2 - softplus(-2)
        (0.119203, 0.566219)
    """
    num_classes, k, psi, beta, _ = parameters
    tau = ball(psi.tau)
    p = 1 / ((beta * gap).exp() / (num_classes - 1) + 1)
    x = (-gap / tau).exp()
    a = ball(psi.alpha * k / psi.weight(k))
    push, pull = arb(0), arb(0)
    for n in range(k):
        weight = comb(k - 1, n) * p**n * (1 - p) ** (k - 1 - n)
        low = a + (k - 1 - n) + (n + 1) * x
        push += weight * x / low
        pull += weight * tau * ((low + 1 - x) / low).log()
    return Slope(p, push, pull)


def slope_from_factors(parameters: Parameters, slope: Slope) -> arb:
    """``L_k'`` by the formula of the lemma.

    Example:
        >>> problem = Parameters(2, 1, InfoNCE(), arb(1), ())
        >>> round(float(slope_from_factors(problem, slope_factors(problem, arb(2)))), 6)
        0.04524
    """
    tau = ball(parameters.psi.tau)
    p, push, pull = slope
    brake = parameters.beta * (1 - p) * pull / push
    return -parameters.k * p * push * (1 - brake) / tau


def random_parameters(count: int, *, seed: int = SEED, sign: int = 1) -> list[Parameters]:
    """Random classes, k up to 32, alpha, q, temperature, hardness and gaps; all exact.

    Args:
        count: how many.
        seed: where the random numbers begin.
        sign: of the hardness; -1 for the control.

    Returns:
        The problems.

    Example:
        >>> random_parameters(1)[0].k <= 32
        True
    """
    generator = np.random.default_rng(seed)
    problems = []
    for _ in range(count):
        num_classes = int(generator.choice([2, 3, 4, 6, 10, 100, 1000]))
        k = int(generator.integers(1, 33))
        alpha = Fraction(int(generator.choice([0, 1, 2, 8, 40])), 4)
        q = None if generator.random() < 0.3 else Fraction(int(generator.integers(1, 33)), 8)
        psi = InfoNCE(alpha, q, Fraction(int(generator.integers(1, 9)), 4))
        beta = sign * arb(float(np.exp(generator.uniform(-3, 3))))
        steps = np.cumsum(generator.exponential(0.4, POINTS))
        problems.append(Parameters(num_classes, k, psi, beta, tuple(map(arb, steps.tolist()))))
    return problems


def measure_lemma(effort: Effort) -> Measurement:
    """Checks the formula of the slope and both monotonicities along increasing gaps."""
    return _measure_factors(random_parameters(effort.choose(20, 150, 2000)))


def measure_negative_hardness(effort: Effort) -> Measurement:
    """The same for beta < 0, where p grows with delta."""
    return _measure_factors(random_parameters(effort.choose(20, 40, 200), sign=-1))


def measure_slopes(effort: Effort) -> Measurement:
    """Checks that ``L_k'`` rises while negative, from gap to gap, and stays non-negative after."""
    problems = random_parameters(effort.choose(20, 150, 2000), seed=SEED + 1)

    return _measure_slopes(problems, [problem.psi for problem in problems])


def measure_non_convex(effort: Effort) -> Measurement:
    """The same for a sum of steep sigmoids: non-decreasing, but not convex."""
    problems = random_parameters(effort.choose(20, 40, 200), seed=SEED + 2)

    return _measure_slopes(problems, [BadSigmoid(Fraction(4), Fraction(1))] * len(problems))


def _slope(problem, psi, gap):
    return collapsed_taylor(
        gap, num_classes=problem.num_classes, k=problem.k, psi=psi, beta=problem.beta, terms=2
    )[1]


def _measure_factors(problems):
    verdicts, least = Counter(), float("inf")
    with ctx.workprec(PRECISION):
        for problem in problems:
            slopes = [slope_factors(problem, gap) for gap in problem.gaps]
            for gap, slope in zip(problem.gaps, slopes, strict=True):
                direct = _slope(problem, problem.psi, gap)
                formula = slope_from_factors(problem, slope)
                verdicts[compare(min(formula - direct, direct - formula, key=float), arb(0))] += 1
            for near, far in pairwise(slopes):
                ratios = near.push / near.pull, far.push / far.pull
                for left, right in ((near.p, far.p), (near.push, far.push), ratios):
                    verdict = compare(left, right)
                    verdicts[verdict] += 1
                    if verdict is not Verdict.EQUAL:
                        least = min(least, float(left - right))
    return Measurement(verdicts, len(problems), least, SEED)


def _measure_slopes(problems, losses):
    verdicts, least, falling = Counter(), float("inf"), 0
    with ctx.workprec(PRECISION):
        for problem, psi in zip(problems, losses, strict=True):
            slopes = [_slope(problem, psi, gap) for gap in problem.gaps]
            for near, far in pairwise(slopes):
                bound = near if near < 0 else arb(0)
                verdicts[compare(far, bound)] += 1
                falling += bool(near < 0)
                least = min(least, float(far - bound))
    return Measurement(verdicts, len(problems), least, SEED, {"steps down": falling})


CLAIMS = (
    Claim(
        name="the slope of the HUCL profile",
        statement="-L_k' is k p E[A] / tau times 1 - beta (1 - p) E[B] / E[A], where p, E[A] and "
        "E[A] / E[B] decrease in delta",
        reference="docs/hucl_optimum.md, Lemma 3",
        hypotheses="InfoNCE, any k, alpha >= 0, q > 0, tau > 0, C >= 2, beta > 0",
        evidence=Evidence.PROVED,
        measure=measure_lemma,
        controls=(Control("beta < 0", "beta > 0", measure_negative_hardness),),
    ),
    Claim(
        name="the HUCL profile has one minimum",
        statement="L_k' is non-decreasing while negative and non-negative afterwards: L_k is "
        "unimodal and above its tangents of negative slope",
        reference="docs/hucl_optimum.md, Theorem 4(d)",
        hypotheses="InfoNCE, any k; separable losses; losses of the hardest negative",
        evidence=Evidence.PROVED,
        measure=measure_slopes,
        controls=(Control("steep sigmoids", "psi convex", measure_non_convex),),
    ),
)
