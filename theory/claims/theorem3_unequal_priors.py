"""Theorem 3 under unequal priors: true for one negative, false for several, true for two classes.

With one negative only the probability of a collision matters, and the bound grows with it. With
several, a heavy class that loses little may pay for the others. Two classes are safe up to three
negatives, and with infinitely many.
"""

import random
from dataclasses import replace
from fractions import Fraction

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses
from theory.exact.bounds import unsupervised_bound
from theory.exact.lower_bounds import LowerBound
from theory.model.broken_hypotheses import with_a_heavy_class
from theory.model.eta_kinds import Exponential
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE, TripletMax, TripletSum
from theory.model.random_models import (
    collapsed_model,
    own_points,
    psi_choices,
    random_model,
    uniform,
)
from theory.model.rationals import ball
from theory.model.simplex import square_root

SEED = 4
ONE, HALF = Fraction(1), Fraction(1, 2)
NO_TILT = Exponential(Fraction(0))
SYMMETRIC = (TripletMax(ONE), TripletMax(Fraction(2)), InfoNCE(alpha=Fraction(0), tau=HALF))
UNEQUAL = "prior .9, .05, .05, $k = 8$, triplet with maximum"

UCL = LowerBound(unsupervised_bound, ("ucl",))
UCL_JOINT = LowerBound(unsupervised_bound, ("ucl_joint",))
"""For positives that depend on the anchor."""


@in_balls()
def any_prior(effort: Effort) -> Measurement:
    """Unequal priors, k = 1 or a separable psi."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    while tally.models < effort.choose(20, 200, 1500):
        psi, k = rng.choice(psi_choices(rng)), rng.choice((1, 2, 3))
        if k == 1 or psi.separable:
            UCL.is_met(tally, random_model(rng, psi=psi, k=k, balanced=False, joint=False))
    return tally.measurement()


def dependent_on_average() -> LatentClassModel:
    """``E[s | y] = |mu_y|^2`` on average over classes, not in each: UCL is 3117/6250 < 1/2.

    In the class of prior 13/25 x+ is x, in the other it is the other point.
    """

    zero = 0 * ONE
    near, turn = square_root(Fraction(9, 10)), square_root(Fraction(1, 10))
    far, other_turn = square_root(Fraction(107, 120)), square_root(Fraction(13, 120))
    nothing = (zero,) * 4
    same = ((HALF, zero, zero, zero), (zero, HALF, zero, zero), nothing, nothing)
    swapped = (nothing, nothing, (zero, zero, zero, HALF), (zero, zero, HALF, zero))
    return LatentClassModel(
        prior=(Fraction(13, 25), Fraction(12, 25)),
        class_laws=own_points([uniform(2)] * 2),
        features=(
            (near, turn, zero),
            (near, -turn, zero),
            (-far, zero, other_turn),
            (-far, zero, -other_turn),
        ),
        k=1,
        psi=TripletSum(ONE),
        eta=NO_TILT,
        joint=(same, swapped),
    )


def antipodal(k: int, tau: Fraction, prior: Fraction, alpha: Fraction) -> LatentClassModel:
    """Two classes at +1 and -1, InfoNCE with q = 1."""
    model = collapsed_model(((ONE,), (-ONE,)), k=k, psi=InfoNCE(alpha=alpha, tau=tau))
    return replace(model, prior=(prior, 1 - prior))


@in_balls()
def two_classes(effort: Effort) -> Measurement:
    """Two classes of any prior: up to three negatives, any symmetric psi; and infinitely many."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(12, 100, 800)):
        psi = rng.choice((InfoNCE(), InfoNCE(q=None, tau=HALF), *SYMMETRIC))
        model = random_model(
            rng,
            psi=psi,
            eta=NO_TILT,
            k=rng.choice((2, 3)),
            balanced=False,
            joint=False,
            sizes=(2, 2, 2),
        )
        UCL.is_met(tally, model)
        psi = InfoNCE(alpha=rng.choice((0 * ONE, ONE)), tau=rng.choice((ONE, HALF / 5)))
        apart = (-2 / ball(psi.tau)).exp()
        bound = (ball(psi.alpha) + (1 + apart) / 2).log()
        tally.at_least(exact_losses(replace(model, psi=psi), limit=True).ucl, bound)
    return tally.measurement()


FOUR = r"InfoNCE, $\alpha = 0$, $\tau = 1/10$, prior 3/4, $k = 4$"
SIX = r"InfoNCE, $\alpha = 10^{-4}$, $\tau = 1/10$, prior 3/4, $k = 6$"
EVERY_CLASS = r"$E[s \mid y] \le \lvert\mu_y\rvert^2$ for every class"
ON_AVERAGE = Control(
    r"$E[s \mid y] \le \lvert\mu_y\rvert^2$ on average over classes alone",
    EVERY_CLASS,
    UCL_JOINT.on(dependent_on_average),
)

CLAIMS = (
    Claim(
        name="one negative forgives any prior",
        statement=r"for $k = 1$, or a separable $\psi$, the UCL bound holds with unequal priors "
        "too",
        reference="docs/theory.md, Theorem 3",
        hypotheses=rf"unit ball; $\psi$ convex, non-decreasing; $k = 1$ or $\psi$ separable; "
        rf"{EVERY_CLASS} (conditionally independent positives are tried)",
        evidence=Evidence.PROVED,
        measure=any_prior,
        controls=(
            Control(UNEQUAL, r"$k = 1$ or separable $\psi$", UCL.on(with_a_heavy_class)),
            ON_AVERAGE,
        ),
    ),
    Claim(
        name="two classes forgive any prior",
        statement=r"for $C = 2$ the UCL bound holds with unequal priors for up to three negatives "
        r"and every symmetric $\psi$, and for InfoNCE with $k = \infty$",
        reference="docs/theory.md, Theorem 3",
        hypotheses=rf"unit ball; $\psi$ convex, non-decreasing; {EVERY_CLASS}; $C = 2$; $\psi$ "
        r"symmetric and $k \le 3$, or InfoNCE and $k = \infty$",
        evidence=Evidence.PROVED,
        measure=two_classes,
        controls=(
            Control(
                FOUR,
                r"$k \le 3$",
                UCL.on(lambda: antipodal(4, Fraction(1, 10), Fraction(3, 4), Fraction(0))),
            ),
            Control(
                SIX,
                r"$k \le 3$",
                UCL.on(lambda: antipodal(6, Fraction(1, 10), Fraction(3, 4), Fraction(1, 10**4))),
            ),
            ON_AVERAGE,
        ),
    ),
)
