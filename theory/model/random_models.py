"""Finite latent-class models to try the theorems on: random ones, and neural collapse.

Everything is a short exact rational, so that a model can be written down and evaluated exactly.
"""

import random
from collections.abc import Callable
from fractions import Fraction

from theory.model.eta_kinds import ETA_KINDS, Exponential
from theory.model.kinds import EtaKind, PsiKind
from theory.model.latent_classes import LatentClassModel, Matrix, Vector
from theory.model.psi_kinds import PSI_KINDS, InfoNCE
from theory.model.rationals import random_thousandths
from theory.model.simplex import exact_simplex, square_root

Rng = random.Random


def neural_collapse(
    *,
    num_classes: int,
    points: int = 1,
    k: int = 1,
    psi: PsiKind | None = None,
    eta: EtaKind | None = None,
    radius: Fraction = Fraction(1),
) -> LatentClassModel:
    """The model at NC: balanced classes, each of them one point of a simplex ETF.

    Each point may be given several times, and the frame be scaled by a radius. The loss function is
    InfoNCE and the hardening function ``exp(sum t)`` by default. No feature is longer than the
    radius, as `exact_simplex` truncates.
    """
    frame = exact_simplex(num_classes)
    features = tuple(tuple(radius * x for x in row) for row in frame for _ in range(points))
    return LatentClassModel(
        prior=uniform(num_classes),
        class_laws=own_points([uniform(points)] * num_classes),
        features=features,
        k=k,
        psi=InfoNCE() if psi is None else psi,
        eta=Exponential(Fraction(1)) if eta is None else eta,
        name=f"nc_C{num_classes}",
    )


def collapsed_model(
    features: Matrix, *, k: int = 1, psi: PsiKind | None = None, eta: EtaKind | None = None
) -> LatentClassModel:
    """Balanced classes of one point each; InfoNCE and ``exp(sum t)`` by default."""
    classes = len(features)
    return LatentClassModel(
        prior=uniform(classes),
        class_laws=own_points([uniform(1)] * classes),
        features=features,
        k=k,
        psi=InfoNCE() if psi is None else psi,
        eta=Exponential(Fraction(1)) if eta is None else eta,
    )


def random_model(
    rng: Rng,
    *,
    psi: PsiKind | None = None,
    eta: EtaKind | None = None,
    balanced: bool | None = None,
    joint: bool | None = None,
    overlapping: bool | None = None,
    k: int | None = None,
    norm: Fraction = Fraction(1),
    features: Callable[[Rng, int, int, int], Matrix] | None = None,
    sizes: tuple[int, int, int] | None = None,
) -> LatentClassModel:
    """A small random model; what is not given is drawn.

    Args:
        rng: the generator.
        psi: the loss function; by default one of `some_psi`.
        eta: the hardening function; by default one of `some_eta`.
        balanced: whether the prior is uniform.
        joint: whether x and x+ are dependent given the label.
        overlapping: whether a point may belong to several classes.
        k: the number of negatives, 1 to 3 by default.
        norm: the radius of the ball that contains the features.
        features: draws the features, given (rng, C, points of a class, d); by default one of
            `ball_features`, `sphere_features`, `near_collapse` and `collapsed_features`.
        sizes: the number of classes, the points of each and the dimension; by default 2 to 4
            classes and at most 8 points.

    Returns:
        The model.
    """
    drawn = rng.choice((2, 2, 3, 3, 4)), rng.choice((1, 2, 2)), rng.choice((1, 2, 3))
    classes, points, dim = drawn if sizes is None else sizes
    k = rng.choice((1, 2, 2, 3)) if k is None else k
    draw = features or rng.choice(
        (ball_features, sphere_features, near_collapse, collapsed_features)
    )
    table = tuple(tuple(norm * x for x in row) for row in draw(rng, classes, points, dim))
    laws = own_points([random_law(rng, points) for _ in range(classes)])
    if _either(rng, overlapping, chance=0.25):
        laws = tuple(random_law(rng, classes * points, zeros=True) for _ in range(classes))
    dependent = _either(rng, joint, chance=0.3)
    return LatentClassModel(
        prior=uniform(classes) if _either(rng, balanced, 0.7) else random_law(rng, classes),
        class_laws=laws,
        features=table,
        k=k,
        psi=some_psi(rng) if psi is None else psi,
        eta=some_eta(rng, k) if eta is None else eta,
        joint=tuple(random_joint(rng, law) for law in laws) if dependent else None,
        name="random",
    )


def some_psi(rng: Rng, *, strict: bool = False) -> PsiKind:
    """A random legal psi; strictly convex and strictly increasing if `strict`."""
    return rng.choice([psi for psi in psi_choices(rng) if psi.strict or not strict])


def psi_choices(rng: Rng, k: int = 1) -> tuple[PsiKind, ...]:
    """Legal loss functions of every kind, with random parameters."""
    return tuple(psi for kind in PSI_KINDS for psi in kind.random(rng, k))


def some_eta(rng: Rng, k: int) -> EtaKind:
    """A random legal eta for k negatives."""
    return rng.choice(eta_choices(rng, k))


def eta_choices(rng: Rng, k: int) -> tuple[EtaKind, ...]:
    """Legal hardening functions of every kind, with random parameters."""
    return tuple(eta for kind in ETA_KINDS for eta in kind.random(rng, k))


def ball_features(rng: Rng, classes: int, points: int, dim: int) -> Matrix:
    """Points anywhere in the unit ball, one in eight of them zero."""
    return tuple(_in_ball(rng, dim) for _ in range(classes * points))


def sphere_features(rng: Rng, classes: int, points: int, dim: int) -> Matrix:
    """Rational points exactly on the unit sphere, by stereographic projection."""
    return tuple(_on_sphere(rng, dim) for _ in range(classes * points))


def collapsed_features(rng: Rng, classes: int, points: int, dim: int) -> Matrix:
    """One random point a class, duplicated."""
    return tuple(row for row in ball_features(rng, classes, 1, dim) for _ in range(points))


def near_collapse(rng: Rng, classes: int, points: int, dim: int) -> Matrix:
    """A simplex ETF, shaken by an amount between 1e-1 and 1e-6; `dim` is not used."""
    shake = Fraction(1, 10 ** rng.randint(1, 6))
    return tuple(
        _into_ball([(1 - shake) * x + shake * random_thousandths(rng, -500, 500) for x in row])
        for row in exact_simplex(classes)
        for _ in range(points)
    )


def turned_collapse(rng: Rng, classes: int, points: int, dim: int) -> Matrix:
    """A simplex ETF, each point but the first turned on the sphere by 1e-1 to 1e-6, exactly.

    In one dimension there is no room, so that two classes get a second one; `dim` is not used.
    """
    tangent = Fraction(1, 10 ** rng.randint(1, 6))
    cosine, sine = (1 - tangent**2) / (1 + tangent**2), 2 * tangent / (1 + tangent**2)
    first, *others = (row for row in exact_simplex(classes) for _ in range(points))
    room = (Fraction(0),) * (classes == 2)
    rows = [(*first, *room)]
    for row in others:
        turned = [*row, *room]
        i = rng.choice([i for i, x in enumerate(row) if x])
        j = rng.choice([j for j in range(len(turned)) if j != i])
        x, y = turned[i], turned[j]
        turned[i], turned[j] = cosine * x - sine * y, sine * x + cosine * y
        rows.append(tuple(turned))
    return tuple(rows)


def uniform(count: int) -> Vector:
    """The uniform law."""
    return (Fraction(1, count),) * count


def random_law(rng: Rng, count: int, *, zeros: bool = False) -> Vector:
    """A random law with small denominators; with zeros in it, if allowed."""
    weights = [rng.randint(0 if zeros else 1, 5) for _ in range(count)]
    if sum(weights) == 0:
        weights[rng.randrange(count)] = 1
    return tuple(Fraction(w, sum(weights)) for w in weights)


def random_joint(rng: Rng, law: Vector) -> Matrix:
    """A joint law with the given marginals: independence mixed with x+ = x, and a turn.

    The turn moves mass along a cycle of three points of the law, if it has as many, so that the
    joint law is not symmetric unless x+ = x.
    """
    same = Fraction(rng.randint(1, 4), 4)
    table = [
        [(1 - same) * p * q + (same * p if i == j else 0) for j, q in enumerate(law)]
        for i, p in enumerate(law)
    ]
    support = [i for i, p in enumerate(law) if p > 0]
    if len(support) > 2:
        a, b, c = rng.sample(support, 3)
        moved = min(table[a][c], table[c][b], table[b][a]) * Fraction(rng.randint(1, 2), 2)
        for i, j in ((a, b), (b, c), (c, a)):
            table[i][j] += moved
            table[j][i] -= moved
    return tuple(map(tuple, table))


def own_points(laws: list[Vector]) -> Matrix:
    """Class laws on disjoint points: class c lives on the c-th block."""
    zero = Fraction(0)
    return tuple(
        tuple(p if c == label else zero for c, law in enumerate(laws) for p in law)
        for label in range(len(laws))
    )


def _either(rng: Rng, value: bool | None, chance: float) -> bool:
    """The value, or true with a probability where there is none."""
    return rng.random() < chance if value is None else value


def _in_ball(rng: Rng, dim: int) -> Vector:
    """A random point of the unit ball, one in eight of them zero."""
    if rng.random() < 0.125:
        return (Fraction(0),) * dim
    return _into_ball([random_thousandths(rng, -1000, 1000) for _ in range(dim)])


def _into_ball(vector: list[Fraction]) -> Vector:
    """Divides vectors longer than one by a rational that is not less than their norm."""
    square = sum((x * x for x in vector), Fraction(0))
    if square <= 1:
        return tuple(vector)
    norm = square_root(square, 4) + Fraction(1, 10**4)
    return tuple(x / norm for x in vector)


def _on_sphere(rng: Rng, dim: int) -> Vector:
    """A random rational point of the unit sphere."""
    if dim == 1:
        return (Fraction(rng.choice((-1, 1))),)
    chart = [Fraction(rng.randint(-12, 12), 6) for _ in range(dim - 1)]
    square = sum((x * x for x in chart), Fraction(0))
    return (*(2 * x / (square + 1) for x in chart), (square - 1) / (square + 1))
