"""Why the HUCL profile has one minimum, for every k: the lemma behind Theorem 4(d).

For InfoNCE put ``omega = e^{-delta / tau}`` and ``a = k alpha / q``, let n be binomial(k - 1, p),
and put

    A_n = omega / (a + k - 1 - n + (n + 1) omega),
    B_n = tau log((a + k - n + n omega) / (a + k - 1 - n + (n + 1) omega)).

A_n is ``tau d psi_k / d v_1`` at ``v_1 = -delta``, and ``B_n / tau`` is what psi_k gains when v_1
goes up to 0, with n of the others at ``-delta``. Then

    -tau L_k'(delta) = k p E[A] (1 - beta (1 - p) E[B] / E[A]),

p and E[A] decrease in delta, ``1 - p`` and ``E[B] / E[A]`` increase. So ``-L_k'`` decreases while
it is positive and stays non-positive afterwards, which makes L_k unimodal, with its tangent below
it wherever it slopes down. `docs/hucl_optimum.md` has the proof; here it is tried on random
parameters in ball arithmetic.
"""

from collections.abc import Iterable
from fractions import Fraction
from itertools import cycle, pairwise
from math import comb
from typing import NamedTuple

import numpy as np
from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.model.kinds import PsiKind
from theory.model.psi_kinds import (
    BadSigmoid,
    InfoNCE,
    LogisticSum,
    SquaredHinge,
    TripletMax,
    TripletSum,
)
from theory.model.rationals import ball, rational
from theory.optimum.collapsed_loss import CollapsedLoss

SEED = 20231109
GAPS = 9
OTHERS: tuple[PsiKind, ...] = (
    LogisticSum(Fraction(2)),
    SquaredHinge(Fraction(3, 2)),
    TripletSum(),
    TripletMax(Fraction(3, 2)),
)
"""Separable losses, and one of the hardest negative."""


class SlopeFactors(NamedTuple):
    """The factors of the slope of the profile at one gap.

    Attributes:
        p: the tilted probability of a negative of another class.
        mean_a: ``E[A]``: how much a larger gap lowers the loss.
        mean_b: ``E[B]``: how much a collision with the own class raises it.
    """

    p: arb
    mean_a: arb
    mean_b: arb


class ProfileAlongGaps(NamedTuple):
    """One random profile and an increasing sequence of gaps."""

    num_classes: int
    k: int
    psi: InfoNCE
    beta: arb
    gaps: tuple[arb, ...]


def slope_factors(profile: ProfileAlongGaps, gap: arb) -> SlopeFactors:
    """The numbers p, E[A] and E[B] of the lemma at one gap, enclosed."""
    num_classes, k, psi, beta, _ = profile
    tau = ball(psi.tau)
    p = 1 / ((beta * gap).exp() / (num_classes - 1) + 1)
    x = (-gap / tau).exp()
    a = ball(psi.alpha * k / psi.weight(k))
    mean_a, mean_b = arb(0), arb(0)
    for n in range(k):
        weight = comb(k - 1, n) * p**n * (1 - p) ** (k - 1 - n)
        denominator = a + (k - 1 - n) + (n + 1) * x
        mean_a += weight * x / denominator
        mean_b += weight * tau * ((denominator + 1 - x) / denominator).log()
    return SlopeFactors(p, mean_a, mean_b)


def slope_from_factors(profile: ProfileAlongGaps, factors: SlopeFactors) -> arb:
    """``L_k'`` by the formula of the lemma."""
    tau = ball(profile.psi.tau)
    p, mean_a, mean_b = factors
    return -profile.k * p * mean_a * (1 - profile.beta * (1 - p) * mean_b / mean_a) / tau


def random_profiles(count: int, *, seed: int = SEED, sign: int = 1) -> list[ProfileAlongGaps]:
    """Random C, k up to 32, InfoNCE, hardness (of the given sign) and gaps; all exact."""
    generator = np.random.default_rng(seed)
    profiles = []
    for _ in range(count):
        num_classes = int(generator.choice([2, 3, 4, 6, 10, 100, 1000]))
        k = int(generator.integers(1, 33))
        alpha = Fraction(int(generator.choice([0, 1, 2, 8, 40])), 4)
        q = None if generator.random() < 0.3 else Fraction(int(generator.integers(1, 33)), 8)
        psi = InfoNCE(alpha, q, Fraction(int(generator.integers(1, 9)), 4))
        beta = sign * arb(float(np.exp(generator.uniform(-3, 3))))
        gaps = np.cumsum(generator.exponential(0.4, GAPS)).tolist()
        profiles.append(ProfileAlongGaps(num_classes, k, psi, beta, tuple(map(arb, gaps))))
    return profiles


@in_balls(bits=256)
def factors_along_gaps(effort: Effort) -> Measurement:
    """The formula of the slope, and the monotonicity of its factors along increasing gaps."""
    return _compare_factors(random_profiles(effort.choose(20, 150, 2000)))


@in_balls(bits=256)
def factors_for_negative_hardness(effort: Effort) -> Measurement:
    """The same for beta < 0, where p grows with delta."""
    return _compare_factors(random_profiles(effort.choose(20, 40, 200), sign=-1))


@in_balls(bits=256)
def slopes_along_gaps(effort: Effort) -> Measurement:
    """``L_k'`` rises while it is negative, from gap to gap, and is non-negative afterwards.

    For InfoNCE, and at every other profile for one of the other losses.
    """
    profiles = random_profiles(effort.choose(20, 150, 2000), seed=SEED + 1)
    cases = [(profile, profile.psi) for profile in profiles]
    return _compare_slopes([*cases, *zip(profiles[::2], cycle(OTHERS), strict=False)])


@in_balls(bits=256)
def slopes_of_non_convex_psi(effort: Effort) -> Measurement:
    """The same for a sum of steep sigmoids: non-decreasing, but not convex."""
    profiles = random_profiles(effort.choose(20, 40, 200), seed=SEED + 2)
    psi = BadSigmoid(Fraction(4), Fraction(1))
    return _compare_slopes([(profile, psi) for profile in profiles])


def _slope(profile: ProfileAlongGaps, psi: PsiKind, gap: arb) -> arb:
    """``L_k'`` from the definition of the profile, at a gap that is not at the kink of psi."""
    loss = CollapsedLoss(profile.num_classes, profile.k, psi, profile.beta)
    return loss.taylor(gap, 2, live=psi.kink is None or -gap > rational(psi.kink))[1]


def _compare_factors(profiles: list[ProfileAlongGaps]) -> Measurement:
    """Records that the formula is the slope, and that p, E[A] and E[A] / E[B] decrease."""
    tally = Tally(seed=SEED)
    for profile in profiles:
        factors = [slope_factors(profile, gap) for gap in profile.gaps]
        for gap, here in zip(profile.gaps, factors, strict=True):
            tally.equal(slope_from_factors(profile, here), _slope(profile, profile.psi, gap))
        for near, far in pairwise(factors):
            tally.at_least(near.p, far.p)
            tally.at_least(near.mean_a, far.mean_a)
            tally.at_least(near.mean_a / near.mean_b, far.mean_a / far.mean_b)
        tally.models += 1
    return tally.measurement()


def _compare_slopes(cases: Iterable[tuple[ProfileAlongGaps, PsiKind]]) -> Measurement:
    """Records that a slope is at least the one before, if that is negative, and else at least 0."""
    tally, falling = Tally(seed=SEED), 0
    for profile, psi in cases:
        slopes = [_slope(profile, psi, gap) for gap in profile.gaps]
        for near, far in pairwise(slopes):
            tally.at_least(far, near if near < 0 else arb(0))
            falling += bool(near < 0)
        tally.models += 1
    return tally.measurement(**{"steps down": falling})


CLAIMS = (
    Claim(
        name="the slope of the HUCL profile",
        statement=r"$-\tau L_k' = k p E[A] (1 - \beta (1-p) E[B]/E[A])$, where $p$, $E[A]$ and "
        r"$E[A]/E[B]$ do not increase with $\delta$",
        reference="docs/hucl_optimum.md, Lemma 3",
        hypotheses=r"InfoNCE, any $k$, $\alpha \ge 0$, $q, \tau > 0$, $C \ge 2$, $\beta > 0$; for "
        r"$\tau \ne 1$ with $\tau$ times the $B$ of the lemma",
        evidence=Evidence.PROVED,
        measure=factors_along_gaps,
        controls=(Control(r"$\beta < 0$", r"$\beta > 0$", factors_for_negative_hardness),),
    ),
    Claim(
        name="the HUCL profile has one minimum",
        statement="$L_k'$ is non-decreasing while negative and non-negative afterwards: $L_k$ is "
        "unimodal and above its tangents of negative slope",
        reference="docs/hucl_optimum.md, Theorem 4 (d)",
        hypotheses="InfoNCE, any finite $k$; separable losses; losses of the hardest negative",
        evidence=Evidence.PROVED,
        measure=slopes_along_gaps,
        controls=(Control("steep sigmoids", r"$\psi$ convex", slopes_of_non_convex_psi),),
    ),
)
