"""Batches of several views of each image, and their NSCL and UCL in balls.

Positives are the other views of an image in both (arXiv 2506.04411). Sums over negatives, InfoNCE
with ``q = k``, differ by the terms of the own class alone, whose share is of order 1/C. Batches are
evaluated from the definition: rows of one class stand next to each other, and in them the views of
one image.
"""

from fractions import Fraction
from typing import NamedTuple

from flint import arb

from theory.model.latent_classes import Matrix
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import Rng, ball_features, near_collapse, sphere_features
from theory.model.rationals import ball
from theory.model.simplex import exact_simplex

ONE = Fraction(1)
TAUS = (ONE, Fraction(1, 2), Fraction(1, 5))
ALPHAS = (Fraction(0), ONE)


class Batch(NamedTuple):
    """Embeddings, classes being runs of as many rows as `sizes` says.

    Attributes:
        features: the rows.
        sizes: how many rows each class has.
        views: of every image of each class.
        psi: InfoNCE with its alpha and temperature; its q is not looked at, the sums are plain.
    """

    features: Matrix
    sizes: tuple[int, ...]
    views: tuple[int, ...]
    psi: InfoNCE

    @property
    def labels(self) -> list[int]:
        """The class of every row."""
        return [label for label, size in enumerate(self.sizes) for _ in range(size)]


class Pair(NamedTuple):
    """The losses of an anchor and a positive."""

    nscl: arb
    ucl: arb


def losses_of(batch: Batch) -> list[Pair]:
    """NSCL and UCL of all pairs of views of one image."""
    rate, alpha, labels = 1 / ball(batch.psi.tau), ball(batch.psi.alpha), batch.labels
    found = []
    for i, row in enumerate(batch.features):
        similarities = [ball(_product(row, other)) for other in batch.features]
        grown = [(rate * t).exp() for t in similarities]
        apart = sum((g for g, c in zip(grown, labels, strict=True) if c != labels[i]), arb(0))
        everyone = sum(grown, arb(0)) - grown[i]
        views, start = batch.views[labels[i]], labels.index(labels[i])
        first = i - (i - start) % views
        for p in range(first, first + views):
            if p != i:
                down = (-rate * similarities[p]).exp()
                found.append(Pair(*((alpha + total * down).log() for total in (apart, everyone))))
    return found


def own_share(batch: Batch) -> Fraction:
    """How many negatives of UCL are of the own class for one of another."""
    rows, classes = batch.sizes[0], len(batch.sizes)
    return Fraction(rows - 1, rows * (classes - 1))


def _product(x: tuple[Fraction, ...], y: tuple[Fraction, ...]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


def random_batch(rng: Rng) -> Batch:
    """Two to five classes of one or two images in two views, in the unit ball."""
    classes, images = rng.randint(2, 5), rng.randint(1, 2)
    draw = rng.choice((ball_features, sphere_features, near_collapse))
    features = draw(rng, classes, 2 * images, rng.randint(1, 3))
    psi = InfoNCE(alpha=rng.choice(ALPHAS), tau=rng.choice(TAUS))
    return Batch(features, (2 * images,) * classes, (2,) * classes, psi)


def collapsed_batch(
    classes: int, images: int, *, radius: Fraction = ONE, tau: Fraction = ONE
) -> Batch:
    """NC, or a simplex ETF of another radius, with alpha = 0."""
    frame = exact_simplex(classes)
    rows = tuple(tuple(radius * x for x in row) for row in frame for _ in range(2 * images))
    psi = InfoNCE(alpha=Fraction(0), tau=tau)
    return Batch(rows, (2 * images,) * classes, (2,) * classes, psi)


def batch_of_unequal_views() -> Batch:
    """A class of one image in 12 views at +1 and two of six in two views at -1, with alpha = 0."""
    features = tuple((Fraction(sign),) for sign in (1,) * 12 + (-1,) * 24)
    return Batch(features, (12,) * 3, (12, 2, 2), InfoNCE(alpha=Fraction(0)))


def mean(values: list[arb]) -> arb:
    """The mean."""
    return sum(values, arb(0)) / len(values)
