"""Theorem 4 on models: the floor of HUCL for every representation, and who attains it.

    L_HUCL(f) >= min over delta >= 0 of L_k(delta)

for features of any norm in any dimension, with equality at a simplex ETF of the right size, shrunk
in the ball or lifted to the sphere. `theory.claims.theorem4_reduction` checks the steps of the
proof.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache

from flint import ctx

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict, compare
from theory.exact.balls import exact_losses
from theory.model.eta_kinds import Exponential
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel, Matrix
from theory.model.psi_kinds import InfoNCE, LogisticSum, SquaredHinge
from theory.model.random_models import own_points, random_model, uniform
from theory.model.rationals import ball
from theory.model.simplex import exact_simplex, square_root
from theory.optimum.collapsed_loss import Minimum
from theory.optimum.floor import floor

SEED = 2311
PRECISION = 250
LOSSES: tuple[PsiKind, ...] = (
    InfoNCE(),
    InfoNCE(q=None),
    InfoNCE(alpha=Fraction(0), tau=Fraction(1, 2)),
    LogisticSum(Fraction(2)),
    SquaredHinge(Fraction(1, 2)),
)
BETAS = (Fraction(1, 2), Fraction(1), Fraction(5), Fraction(20))


def shrunk_frame(num_classes: int, radius: Fraction) -> Matrix:
    """A simplex ETF of vectors of norm `radius`, in C - 1 dimensions.

    Example:
        >>> shrunk_frame(2, Fraction(1, 2))
        ((Fraction(1, 2),), (Fraction(-1, 2),))
    """
    return tuple(tuple(radius * x for x in row) for row in exact_simplex(num_classes))


def offset_frame(num_classes: int, radius: Fraction) -> Matrix:
    """The same frame lifted to the unit sphere of C dimensions by a common last coordinate.

    Example:
        >>> [float(row[-1]) for row in offset_frame(2, Fraction(3, 5))]
        [0.8, 0.8]
    """
    height = square_root(1 - radius * radius)
    return tuple((*row, height) for row in shrunk_frame(num_classes, radius))


def collapsed_model(features: Matrix, k: int, psi: PsiKind, beta: Fraction) -> LatentClassModel:
    """Balanced classes, one point each.

    Example:
        >>> collapsed_model(shrunk_frame(3, Fraction(1)), 1, InfoNCE(), Fraction(1)).num_classes
        3
    """
    classes = len(features)
    laws = own_points([uniform(1)] * classes)
    return LatentClassModel(uniform(classes), laws, features, k, psi, Exponential(beta))


def measure_floor(effort: Effort) -> Measurement:
    """Compares HUCL with the floor on random models of any norm, near the optimum too."""
    generator = random.Random(SEED)
    verdicts, least, count = Counter(), float("inf"), effort.choose(20, 150, 3000)
    with ctx.workprec(PRECISION):
        for number in range(count):
            model = _near_optimum(generator) if number % 3 == 0 else _any_norm(generator)
            lowest = floor_of(model.num_classes, model.k, model.psi, hardness_of(model))
            loss = exact_losses(model).hucl
            verdicts[compare(loss, lowest.value)] += 1
            least = min(least, float(loss - lowest.value))
    return Measurement(verdicts, count, least, SEED)


def measure_instances(effort: Effort) -> Measurement:
    """The floor for positives that are the anchor itself: then each point is a class of its own."""
    verdicts, cases = Counter(), [(2, 1), (2, 2), (3, 1)][: effort.choose(1, 3, 3)]
    with ctx.workprec(PRECISION):
        for classes, k in cases:
            points = 2 * classes
            own = floor_of(points, k, InfoNCE(), Fraction(1))
            model = _instances(classes, k, _radius(points, own))
            hucl = exact_losses(model).hucl_joint
            assert hucl is not None
            verdicts[compare(hucl, floor_of(classes, k, InfoNCE(), Fraction(1)).value)] += 1
    return Measurement(verdicts, len(cases))


def measure_attainment(effort: Effort) -> Measurement:
    """Evaluates shrunk and offset frames at the minimiser; they have to meet the floor."""
    return _measure_attainment(effort, (shrunk_frame, offset_frame))


def measure_nc_attains(effort: Effort) -> Measurement:
    """Asks the same of NC itself."""
    return _measure_attainment(effort, (lambda classes, _: exact_simplex(classes),))


@lru_cache(maxsize=512)
def floor_of(num_classes: int, k: int, psi: PsiKind, beta: Fraction) -> Minimum:
    """The floor at the precision of these claims, remembered.

    Example:
        >>> round(float(floor_of(2, 1, InfoNCE(), Fraction(1)).value), 8)
        0.59095804
    """
    with ctx.workprec(PRECISION):
        return floor(num_classes=num_classes, k=k, psi=psi, beta=ball(beta))


def hardness_of(model: LatentClassModel) -> Fraction:
    """The beta of an exponentially tilted model.

    Example:
        >>> hardness_of(collapsed_model(shrunk_frame(2, Fraction(1)), 1, InfoNCE(), Fraction(3)))
        Fraction(3, 1)
    """
    assert isinstance(model.eta, Exponential)
    return model.eta.beta


def _radius(num_classes: int, lowest: Minimum) -> Fraction:
    """The norm of the simplex ETF whose gap is the minimiser."""
    mantissa, exponent = lowest.delta.mid().man_exp()
    gap = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return square_root(gap * (num_classes - 1) / num_classes)


def _any_norm(generator: random.Random) -> LatentClassModel:
    norm = generator.choice((Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4)))
    return random_model(
        generator,
        psi=generator.choice(LOSSES),
        eta=Exponential(generator.choice(BETAS)),
        balanced=True,
        joint=False,
        norm=norm,
    )


def _near_optimum(generator: random.Random) -> LatentClassModel:
    """A shrunk simplex ETF at the floor, two points a class, shaken a little."""
    classes, k = generator.choice((2, 3, 4)), generator.choice((1, 2))
    psi, beta = InfoNCE(), generator.choice(BETAS)
    frame = shrunk_frame(classes, _radius(classes, floor_of(classes, k, psi, beta)))
    shake = Fraction(1, 10 ** generator.randint(1, 6))

    def shaken(*_) -> Matrix:
        moves = [[shake * generator.randint(-9, 9) / 10 for _ in row] for row in frame * 2]
        rows = [row for row in frame for _ in range(2)]
        return tuple(
            tuple(x + move for x, move in zip(row, moved, strict=True))
            for row, moved in zip(rows, moves, strict=True)
        )

    return random_model(
        generator,
        psi=psi,
        eta=Exponential(beta),
        balanced=True,
        joint=False,
        overlapping=False,
        k=k,
        features=shaken,
        sizes=(classes, 2, classes - 1),
    )


def _instances(classes: int, k: int, radius: Fraction) -> LatentClassModel:
    """Two points a class, all of them one frame, and every anchor its own positive."""
    points = 2 * classes
    half = Fraction(1, 2)
    joint = tuple(
        tuple(
            tuple(half if i == j and i // 2 == c else Fraction(0) for j in range(points))
            for i in range(points)
        )
        for c in range(classes)
    )
    return LatentClassModel(
        uniform(classes),
        own_points([uniform(2)] * classes),
        shrunk_frame(points, radius),
        k,
        InfoNCE(),
        Exponential(Fraction(1)),
        joint,
    )


def _measure_attainment(effort, frames: Iterable[Callable[[int, Fraction], Matrix]]):
    verdicts, models = Counter(), 0
    sizes = [(2, 1), (3, 2), (4, 3), (5, 1)][: effort.choose(2, 4, 4)]
    with ctx.workprec(PRECISION):
        for classes, k in sizes:
            for beta in BETAS[2:]:
                lowest = floor_of(classes, k, InfoNCE(), beta)
                for frame in frames:
                    model = collapsed_model(
                        frame(classes, _radius(classes, lowest)), k, InfoNCE(), beta
                    )
                    verdict = compare(exact_losses(model).hucl, lowest.value)
                    above = verdict is Verdict.PROVED
                    verdicts[Verdict.VIOLATED if above else verdict] += 1
                    models += 1
    return Measurement(verdicts, models)


CLAIMS = (
    Claim(
        name="the floor of HUCL",
        statement="HUCL is at least the minimum over delta >= 0 of L_k(delta), for every f",
        reference="docs/hucl_optimum.md, Theorem 4(a)",
        hypotheses="balanced, conditionally independent positives, exponential tilting with "
        "beta > 0, psi convex and non-decreasing; features of any norm in any dimension",
        evidence=Evidence.PROVED,
        measure=measure_floor,
        controls=(Control("x+ = x", "positives independent of the anchor", measure_instances),),
    ),
    Claim(
        name="shrunk and offset frames attain the floor",
        statement="a simplex ETF of gap delta* in the ball, or lifted to the unit sphere by a "
        "common coordinate, has HUCL equal to the floor",
        reference="docs/hucl_optimum.md, Theorem 4(b)",
        hypotheses="InfoNCE, delta* <= C / (C - 1), d >= C - 1 (ball) or d >= C (sphere)",
        evidence=Evidence.CERTIFIED,
        measure=measure_attainment,
        controls=(Control("NC", "beta at most beta_c", measure_nc_attains),),
    ),
)
