"""Similarities of random unit vectors in balls, with zero sum or without."""

from fractions import Fraction

from flint import arb

from theory.model.latent_classes import Vector
from theory.model.random_models import Rng, sphere_features
from theory.model.rationals import ball


def gram_of(rows: list[list[arb]]) -> list[list[arb]]:
    """Inner products of unit vectors, ones on the diagonal."""
    gram = [[_product(x, y) for y in rows] for x in rows]
    for c, row in enumerate(gram):
        row[c] = arb(1)
    return gram


def random_frame(rng: Rng, count: int, dim: int) -> list[list[arb]]:
    """The similarities of rational points on the unit sphere."""
    return gram_of([_balls(row) for row in sphere_features(rng, count, 1, dim)])


def random_zero_sum_frame(rng: Rng, count: int, dim: int) -> list[list[arb]]:
    """The same of points that sum to zero: all but the last two, at least two, are rational.

    With s the sum of the others, the last two are ``-s/2 +- h u``, u a unit vector orthogonal to s
    and ``h^2 = 1 - |s|^2 / 4``.
    """
    while True:
        rows = [_balls(row) for row in sphere_features(rng, count - 2, 1, dim)]
        total = [sum(column, arb(0)) for column in zip(*rows, strict=True)]
        square = _product(total, total)
        [other] = sphere_features(rng, 1, 1, dim)
        along = _product(total, _balls(other)) / square if square > 0 else arb(0)
        across = [x - along * t for x, t in zip(_balls(other), total, strict=True)]
        norm = _product(across, across)
        if square < arb("3.9") and norm > arb("0.01"):
            break
    height = ((1 - square / 4) / norm).sqrt()
    pair = [
        [sign * height * x - t / 2 for x, t in zip(across, total, strict=True)] for sign in (1, -1)
    ]
    return gram_of([*rows, *pair])


def _balls(row: Vector) -> list[arb]:
    return [ball(Fraction(x)) for x in row]


def _product(x: list[arb], y: list[arb]) -> arb:
    return sum((a * b for a, b in zip(x, y, strict=True)), arb(0))
