"""Theorem 4 on models: the floor of HUCL for every representation, and who attains it.

    L_HUCL(f) >= min over delta >= 0 of L_k(delta)

for features of any norm in any dimension, with equality at a simplex ETF of the right size, shrunk
in the ball or lifted to the sphere. `theory.claims.theorem4_reduction` checks the steps of the
proof.
"""

import random
from collections.abc import Callable, Iterable
from fractions import Fraction

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses
from theory.model.broken_hypotheses import positives_are_anchors
from theory.model.eta_kinds import Exponential
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel, Matrix
from theory.model.psi_kinds import InfoNCE, LogisticSum, SquaredHinge
from theory.model.random_models import Rng, collapsed_model, random_model
from theory.model.simplex import exact_simplex, square_root
from theory.optimum.collapsed_loss import Minimum
from theory.optimum.floor_of_models import floor_at, floor_of

SEED = 2311
LOSSES: tuple[PsiKind, ...] = (
    InfoNCE(),
    InfoNCE(q=None),
    InfoNCE(alpha=Fraction(0), tau=Fraction(1, 2)),
    LogisticSum(Fraction(2)),
    SquaredHinge(Fraction(1, 2)),
)
BETAS = (Fraction(1, 2), Fraction(1), Fraction(5), Fraction(20))

Frame = Callable[[int, Fraction], Matrix]
"""Makes C features of C and a radius."""


def shrunk_frame(num_classes: int, radius: Fraction) -> Matrix:
    """A simplex ETF of vectors of norm `radius`, in C - 1 dimensions."""
    return tuple(tuple(radius * x for x in row) for row in exact_simplex(num_classes))


def offset_frame(num_classes: int, radius: Fraction) -> Matrix:
    """The same frame lifted to the unit sphere of C dimensions by a common last coordinate."""
    height = square_root(1 - radius * radius)
    return tuple((*row, height) for row in shrunk_frame(num_classes, radius))


@in_balls(bits=250)
def floor_on_models(effort: Effort) -> Measurement:
    """HUCL against the floor on random models of any norm, a third of them near the optimum."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for number in range(effort.choose(20, 150, 3000)):
        model = _near_optimum(rng) if number % 3 == 0 else _any_norm(rng)
        tally.at_least(exact_losses(model).hucl, floor_of(model).value)
        tally.models += 1
    return tally.measurement()


@in_balls(bits=250)
def floor_with_self_positives(effort: Effort) -> Measurement:
    """The floor for positives that are the anchor itself: then each point is a class of its own."""
    tally = Tally()
    for classes, k in [(2, 1), (2, 2), (3, 1)][: effort.choose(1, 3, 3)]:
        points = 2 * classes
        optimum_of_points = floor_at(points, k, InfoNCE(), Fraction(1))
        radius = _radius(points, optimum_of_points)
        model = positives_are_anchors(num_classes=classes, k=k, radius=radius)
        hucl = exact_losses(model).hucl_joint
        assert hucl is not None
        tally.at_least(hucl, floor_of(model).value)
        tally.models += 1
    return tally.measurement()


@in_balls(bits=250)
def frames_attain(effort: Effort) -> Measurement:
    """Shrunk and offset frames at the minimiser have HUCL equal to the floor."""
    return _compare_frames(effort, (shrunk_frame, offset_frame))


@in_balls(bits=250)
def nc_attains(effort: Effort) -> Measurement:
    """Asks the same of NC itself."""
    return _compare_frames(effort, (lambda classes, _: exact_simplex(classes),))


def _compare_frames(effort: Effort, frames: Iterable[Frame]) -> Measurement:
    """Records whether frames, given the radius of the minimiser, attain the floor."""
    tally = Tally()
    for classes, k in [(2, 1), (3, 2), (4, 3), (5, 1)][: effort.choose(2, 4, 4)]:
        for beta in BETAS[2:]:
            lowest = floor_at(classes, k, InfoNCE(), beta)
            radius = _radius(classes, lowest)
            for frame in frames:
                model = collapsed_model(frame(classes, radius), k=k, eta=Exponential(beta))
                tally.equal(exact_losses(model).hucl, lowest.value)
                tally.models += 1
    return tally.measurement()


def _radius(num_classes: int, lowest: Minimum) -> Fraction:
    """The norm of the simplex ETF whose gap is the minimiser."""
    mantissa, exponent = lowest.delta.mid().man_exp()
    gap = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    return square_root(gap * (num_classes - 1) / num_classes)


def _any_norm(rng: Rng) -> LatentClassModel:
    """A random model with features in a ball of radius 1/2, 1, 2 or 4."""
    norm = rng.choice((Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4)))
    psi, eta = rng.choice(LOSSES), Exponential(rng.choice(BETAS))
    return random_model(rng, psi=psi, eta=eta, balanced=True, joint=False, norm=norm)


def _near_optimum(rng: Rng) -> LatentClassModel:
    """A shrunk simplex ETF at the floor, two points a class, shaken a little."""
    classes, k = rng.choice((2, 3, 4)), rng.choice((1, 2))
    psi, beta = InfoNCE(), rng.choice(BETAS)
    frame = shrunk_frame(classes, _radius(classes, floor_at(classes, k, psi, beta)))
    shake = Fraction(1, 10 ** rng.randint(1, 6))

    def shaken(*_: object) -> Matrix:
        moves = [[shake * rng.randint(-9, 9) / 10 for _ in row] for row in frame * 2]
        rows = [row for row in frame for _ in range(2)]
        return tuple(
            tuple(x + move for x, move in zip(row, moved, strict=True))
            for row, moved in zip(rows, moves, strict=True)
        )

    return random_model(
        rng,
        psi=psi,
        eta=Exponential(beta),
        balanced=True,
        joint=False,
        overlapping=False,
        k=k,
        features=shaken,
        sizes=(classes, 2, classes - 1),
    )


CLAIMS = (
    Claim(
        name="the floor of HUCL",
        statement=r"$\mathrm{HUCL} \ge \min_{\delta \ge 0} L_k(\delta)$ for every $f$",
        reference="docs/hucl_optimum.md, Theorem 4 (a)",
        hypotheses="balanced, conditionally independent positives, exponential tilting with "
        r"$\beta > 0$, $\psi$ convex and non-decreasing; features of any norm in any dimension",
        evidence=Evidence.PROVED,
        measure=floor_on_models,
        controls=(
            Control("$x^+ = x$", "positives independent of the anchor", floor_with_self_positives),
        ),
    ),
    Claim(
        name="shrunk and offset frames attain the floor",
        statement=r"a simplex ETF of gap $\delta^\ast$ in the ball, or lifted to the unit sphere "
        "by a common coordinate, has HUCL equal to the floor",
        reference="docs/hucl_optimum.md, Theorem 4 (b)",
        hypotheses=r"InfoNCE, $\beta = 5$ and $20$, $(C, k)$ in "
        r"$\lbrace (2, 1), (3, 2), (4, 3), (5, 1) \rbrace$ (quick runs: the first two), where "
        r"$\delta^\ast \le \delta_0$; $d = C - 1$ (ball) and $d = C$ (sphere)",
        evidence=Evidence.CERTIFIED,
        measure=frames_attain,
        controls=(Control("NC", r"$\beta \le \beta_c$", nc_attains),),
    ),
)
