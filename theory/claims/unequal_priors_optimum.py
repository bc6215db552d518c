"""Theorem P: the optimum of SCL under unequal priors is that of a convex programme.

Floating point finds a Gram matrix; a dual certificate in balls turns it into a lower bound of the
loss of every representation in the unit ball, whatever its dimension, its spread within classes and
the joint law of its positives.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import get_args

import numpy as np
from flint import arb
from jaxtyping import Float

from hcl_jax.geometry import scl_optimum
from hcl_jax.losses import Average
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses
from theory.model.eta_kinds import Exponential
from theory.model.latent_classes import LatentClassModel, Matrix, Vector
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import Rng, own_points, random_joint, random_law, random_model
from theory.model.rationals import random_thousandths
from theory.model.simplex import square_root
from theory.priors.programme import (
    CollapsedSCL,
    bracket,
    least_loss_above,
    shares,
)

SEED = 101
GAP = arb("1e-9")
"""Asked of the certificates."""

LOSSES = (
    InfoNCE(),
    InfoNCE(tau=Fraction(1, 2)),
    InfoNCE(alpha=Fraction(1, 3), q=Fraction(2)),
    InfoNCE(alpha=Fraction(0)),
)
LONG_TAIL = tuple(Fraction(round(1000 / 10 ** (2 * c / 9))) for c in range(10))
"""Sizes of ten classes, the largest a hundred times the smallest."""

SIZES: tuple[Vector, ...] = tuple(
    tuple(map(Fraction, sizes))
    for sizes in ((4, 3, 2, 1), (24, 24, 1, 1), (26, 26, 1, 1), (10, 1, 1, 1, 1), LONG_TAIL)
)


@cache
def optimal_gram(
    problem: CollapsedSCL, *, average: Average = "anchors"
) -> Float[np.ndarray, "classes classes"]:
    """The Gram matrix that floating point finds, for ``k = infinity`` whatever the problem's k.

    Remembered. It is optimal for that k alone. Its certificate is a lower bound for every k, which
    lies below the least loss by more where k is small.
    """
    found = scl_optimum(
        [float(p) for p in problem.priors],
        float(problem.psi.tau),
        alpha=float(problem.psi.alpha),
        q=float(problem.psi.limit_weight),
        average=average,
    )
    return found.gram


def optimal_points(problem: CollapsedSCL) -> Matrix:
    """Rational points in the unit ball with nearly the optimal Gram matrix."""
    values, vectors = np.linalg.eigh(optimal_gram(problem))
    rows = vectors * np.sqrt(np.maximum(values, 0))
    return tuple(into_ball([Fraction(x) for x in row]) for row in rows.tolist())


def into_ball(row: list[Fraction], radius: Fraction = Fraction(1)) -> Vector:
    """The row, divided by its norm over the radius (rounded up) if that is above 1."""
    square = sum((x * x for x in row), Fraction(0)) / radius**2
    norm = max(Fraction(1), square_root(square, 30) + Fraction(1, 10**30))
    return tuple(x / norm for x in row)


@in_balls()
def random_representations(effort: Effort) -> Measurement:
    """SCL and HSCL of random models, half of them near the optimum, against the certificate."""
    return _compare(effort, Fraction(1), least_loss_above)


@in_balls()
def longer_representations(effort: Effort) -> Measurement:
    """Asks the same of the optimum, stretched by 6/5."""
    return _compare(effort, Fraction(6, 5), least_loss_above)


@in_balls()
def equal_priors(effort: Effort) -> Measurement:
    """Asks the same models for the bound of equal priors."""

    def bound(problem: CollapsedSCL, _: Float[np.ndarray, "classes classes"]) -> arb:
        alike = replace(problem, priors=shares([1] * len(problem.priors)))
        return least_loss_above(alike, optimal_gram(alike))

    return _compare(effort, Fraction(1), bound)


def _compare(
    effort: Effort,
    stretch: Fraction,
    bound: Callable[[CollapsedSCL, Float[np.ndarray, "classes classes"]], arb],
) -> Measurement:
    """Records whether the losses of models are above a bound."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for number in range(effort.choose(16, 100, 800)):
        problem = CollapsedSCL(_law(rng), rng.choice(LOSSES), rng.choice((None, None, 1, 2)))
        model = _model(rng, problem, stretch if number % 2 else None)
        low = bound(problem, optimal_gram(problem))
        losses = exact_losses(model, limit=problem.k is None)
        tally.at_least(losses.scl, low)
        tally.at_least(losses.hscl, low)
        tally.models += 1
    return tally.measurement()


def _law(rng: Rng) -> Vector:
    """A random prior of two to four classes."""
    return random_law(rng, rng.choice((2, 3, 4)))


def _model(rng: Rng, problem: CollapsedSCL, stretch: Fraction | None) -> LatentClassModel:
    """Two points a class: anywhere in the ball, or around the optimum, times a factor."""
    classes, eta = len(problem.priors), Exponential(Fraction(rng.randint(0, 3)))
    laws = [random_law(rng, 2) for _ in range(classes)]
    if stretch is None:
        drawn = random_model(rng, psi=problem.psi, eta=eta, k=1, sizes=(classes, 2, 3))
        points = drawn.features
    else:
        shake = Fraction(1, 10 ** rng.randint(2, 6))
        rows = [row for row in optimal_points(problem) for _ in range(2)]
        moved = [[x + shake * random_thousandths(rng, -500, 500) for x in row] for row in rows]
        points = tuple(tuple(stretch * x for x in into_ball(row)) for row in moved)
    class_laws = own_points(laws)
    joint = tuple(random_joint(rng, law) for law in class_laws) if rng.random() < 0.5 else None
    return LatentClassModel(
        prior=problem.priors,
        class_laws=class_laws,
        features=points,
        k=problem.k or 1,
        psi=problem.psi,
        eta=eta,
        joint=joint,
    )


@in_balls()
def certificates(effort: Effort) -> Measurement:
    """The optimum between two numbers that differ by less than 1e-9."""
    return _compare_certificates(effort, optimal_gram)


@in_balls()
def certificates_at_collapse(effort: Effort) -> Measurement:
    """Asks the same of the Gram matrix of NC."""

    def collapse(problem: CollapsedSCL, **_: Average) -> Float[np.ndarray, "classes classes"]:
        count = len(problem.priors)
        return (count * np.eye(count) - 1) / (count - 1)

    return _compare_certificates(effort, collapse)


def _compare_certificates(
    effort: Effort, gram_of: Callable[..., Float[np.ndarray, "classes classes"]]
) -> Measurement:
    """Records whether lower and upper bounds agree."""
    tally, details, width = Tally(), {}, arb(0)
    for sizes in SIZES[: effort.choose(3, 5, 5)]:
        for tau in (Fraction(1), Fraction(1, 5)):
            for average in get_args(Average):
                problem = CollapsedSCL(shares(sizes), InfoNCE(tau=tau))
                if average == "pairs":
                    problem = replace(problem, anchors=shares([size**2 for size in sizes]))
                gram = gram_of(CollapsedSCL(problem.priors, problem.psi), average=average)
                low, high = bracket(problem, gram)
                tally.above(GAP, high - low)
                tally.models += 1
                width = max(width, (high - low).upper())
                name = rf"{' '.join(map(str, sizes))}, $\tau = {float(tau):g}$, {average}"
                details[name] = f"{float(low):.9f}"
    return tally.measurement(largest_gap=float(width), **details)


CLAIMS = (
    Claim(
        name="the optimum of SCL under unequal priors",
        statement=r"$\mathrm{HSCL} \ge \mathrm{SCL} \ge \ell^\ast$ for every representation, "
        r"$\ell^\ast$ the least collapsed SCL over Gram matrices of unit vectors, of which a dual "
        "certificate is a lower bound",
        reference="docs/unequal_priors.md, Theorem P",
        hypotheses=r"unit ball; InfoNCE, any $k$ (1, 2 and $\infty$ are tried; for 1 and 2 with "
        r"the bound that the Gram matrix of $k = \infty$ certifies, which is not $\ell^\ast$); "
        "any prior, joint law of the positives and dimension",
        evidence=Evidence.PROVED,
        measure=random_representations,
        controls=(
            Control("norm 6/5", "unit ball", longer_representations),
            Control("the bound of equal priors", "the prior of the model", equal_priors),
        ),
    ),
    Claim(
        name="certificates of the optimum of SCL",
        statement=r"$\ell^\ast$ lies between two numbers that differ by less than $10^{-9}$",
        reference="docs/unequal_priors.md, Theorem P",
        hypotheses="classes of sizes 4 3 2 1, 24 24 1 1, 26 26 1 1, 10 1 1 1 1 and a tail of ten "
        r"(quick runs: the first three); $\alpha = q = 1$, $\tau = 1$ and 1/5, $k = \infty$, "
        "averages over anchors and over pairs",
        evidence=Evidence.CERTIFIED,
        measure=certificates,
        controls=(Control("NC", "equal priors", certificates_at_collapse),),
    ),
)
