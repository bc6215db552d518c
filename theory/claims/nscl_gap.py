"""NSCL, whose negatives are of other classes, beside UCL, whose negatives are all other rows.

Positives are the other views of an image in both (arXiv 2506.04411). Sums over negatives, InfoNCE
with ``q = k``, differ by the terms of the own class alone, whose share is of order 1/C. Batches are
evaluated from the definition, in balls: rows of one class stand next to each other, and in them the
views of one image.
"""

import random
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

import hcl_jax
from hcl_jax.psi import infonce
from theory.checking import BITS, Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.model.latent_classes import Matrix
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import Rng, ball_features, near_collapse, sphere_features
from theory.model.rationals import ball
from theory.model.simplex import exact_simplex, nc_gap

SEED = 97
ONE = Fraction(1)
TAUS = (ONE, Fraction(1, 2), Fraction(1, 5))
ALPHAS = (Fraction(0), ONE)
ROUNDING = 1e-12
"""Agreement asked of the shipped losses: some thousand roundings of float64."""


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


def largest_gap(batch: Batch, share: Fraction | None = None) -> arb:
    """``log(1 + r e^{2 / tau})``; r is (M - 1) / (M (C - 1)) for M rows of each class."""
    r = _share(batch) if share is None else share
    return (1 + ball(r) * (2 / ball(batch.psi.tau)).exp()).log()


def largest_mean_gap(batch: Batch) -> arb:
    """The chord of ``log(1 + r e^{w / tau})`` from 0 to 2, at w = C / (C - 1)."""
    low = (1 + ball(_share(batch))).log()
    return low + ball(nc_gap(len(batch.sizes)) / 2) * (largest_gap(batch) - low)


def gap_at_collapse(batch: Batch) -> arb:
    """``log(1 + r e^{delta0 / tau})``, the gap at NC for alpha = 0."""
    apart = ball(nc_gap(len(batch.sizes)) / batch.psi.tau).exp()
    return (1 + ball(_share(batch)) * apart).log()


def _share(batch: Batch) -> Fraction:
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


@in_balls()
def gaps_of_random_batches(effort: Effort) -> Measurement:
    """Every gap is positive and within its bound, and their mean within that of the mean."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(20, 150, 1500)):
        batch = random_batch(rng)
        pairs = losses_of(batch)
        for pair in pairs:
            tally.above(pair.ucl - pair.nscl, arb(0))
            tally.at_least(largest_gap(batch), pair.ucl - pair.nscl)
        tally.at_least(largest_mean_gap(batch), _mean([p.ucl - p.nscl for p in pairs]))
        tally.models += 1
    for images in (1, 2):
        batch = collapsed_batch(2, images)
        for pair in losses_of(batch):
            tally.equal(largest_gap(batch), pair.ucl - pair.nscl)
        tally.models += 1
    return tally.measurement()


def _ask(batch: Callable[[], Batch], bound: Callable[[Batch], arb]) -> Callable:
    """A measurement that asks the gaps of one batch to be within a bound."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        tally, one = Tally(), batch()
        for pair in losses_of(one):
            tally.at_least(bound(one), pair.ucl - pair.nscl)
        tally.models += 1
        return tally.measurement()

    return measure


def unequal_batch() -> Batch:
    """A class of six rows at +1 and one of two at -1, with alpha = 0."""
    features = tuple((Fraction(sign),) for sign in (1,) * 6 + (-1,) * 2)
    return Batch(features, (6, 2), (2, 2), InfoNCE(alpha=Fraction(0)))


def batch_of_unequal_views() -> Batch:
    """A class of one image in 12 views at +1 and two of six in two views at -1, with alpha = 0."""
    features = tuple((Fraction(sign),) for sign in (1,) * 12 + (-1,) * 24)
    return Batch(features, (12,) * 3, (12, 2, 2), InfoNCE(alpha=Fraction(0)))


@in_balls()
def mean_gap_of_unequal_views(effort: Effort) -> Measurement:
    """Asks the mean over pairs to be within its bound where the first class has more of them."""
    tally, batch = Tally(), batch_of_unequal_views()
    mean = _mean([pair.ucl - pair.nscl for pair in losses_of(batch)])
    bound = largest_mean_gap(batch)
    tally.at_least(bound, mean)
    tally.models += 1
    return tally.measurement(mean=float(mean), bound=float(bound))


@in_balls()
def nscl_of_unequal_views(effort: Effort) -> Measurement:
    """Asks NSCL of the same batch to be at least that of NC."""
    tally, batch = Tally(), batch_of_unequal_views()
    nscl, least = _mean([pair.nscl for pair in losses_of(batch)]), _least_nscl(batch)
    tally.at_least(nscl, least)
    tally.models += 1
    return tally.measurement(nscl=float(nscl), at_collapse=float(least))


@in_balls()
def nscl_at_collapse(effort: Effort) -> Measurement:
    """NSCL of random batches against NC; the gap at NC for up to 101 classes."""
    return _compare_with_collapse(effort, ONE)


@in_balls()
def nscl_outside(effort: Effort) -> Measurement:
    """Asks the same of a simplex ETF of norm 6/5."""
    return _compare_with_collapse(effort, Fraction(6, 5))


def _compare_with_collapse(effort: Effort, radius: Fraction) -> Measurement:
    """Records whether NSCL is above ``log(alpha + n e^{-delta0 / tau})``, with equality at NC."""
    rng, tally, details = random.Random(SEED), Tally(seed=SEED), {}
    for _ in range(effort.choose(15, 100, 1000)):
        batch = random_batch(rng)
        tally.at_least(_mean([pair.nscl for pair in losses_of(batch)]), _least_nscl(batch))
        tally.models += 1
    for classes in (2, 3, 10):
        batch = collapsed_batch(classes, 1, radius=radius)
        pair = losses_of(batch)[0]
        tally.at_least(pair.nscl, _least_nscl(batch))
        tally.equal(pair.ucl - pair.nscl, gap_at_collapse(batch))
        details[f"gap at NC, C={classes}"] = f"{float(pair.ucl - pair.nscl):.6f}"
        tally.models += 1
    return tally.measurement(**details)


def _least_nscl(batch: Batch) -> arb:
    """The bound of Theorem 2, ``log(alpha + n e^{-delta0 / tau})``, n negatives of each anchor."""
    others = len(batch.features) - batch.sizes[0]
    apart = (-ball(nc_gap(len(batch.sizes)) / batch.psi.tau)).exp()
    return (ball(batch.psi.alpha) + others * apart).log()


def shipped_losses(effort: Effort) -> Measurement:
    """`hcl_jax.nscl`, and `hcl_jax.ucl` with the images as groups, against the definition."""
    return _compare_shipped(effort, views_in_groups=True)


def shipped_losses_of_classes(effort: Effort) -> Measurement:
    """Asks the same where positives are all members of the class."""
    return _compare_shipped(effort, views_in_groups=False)


def _compare_shipped(effort: Effort, *, views_in_groups: bool) -> Measurement:
    """Records whether the losses of the library are those of the definition."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(2, 5, 40)):
        features = ball_features(rng, 3, 4, 2)
        batch = Batch(features, (4,) * 3, (2,) * 3, InfoNCE(alpha=Fraction(0), tau=TAUS[1]))
        with ctx.workprec(BITS):
            pairs = losses_of(batch)
            exact = [float(_mean([getattr(pair, name) for pair in pairs])) for name in Pair._fields]
        for found, expected in zip(_shipped(batch, views_in_groups), exact, strict=True):
            tally.observe(abs(found - expected) < ROUNDING)
        tally.models += 1
    return tally.measurement()


def _shipped(batch: Batch, views_in_groups: bool) -> tuple[float, float]:
    """NSCL and UCL of the library."""
    labels = jnp.array(batch.labels)
    groups = jnp.arange(len(labels)) // batch.views[0] if views_in_groups else labels
    tau = float(batch.psi.tau)
    with jax.enable_x64(True):
        rows = jnp.array(np.array(batch.features, dtype=np.float64))
        sums = infonce(alpha=0.0, q="k", temperature=tau)
        nscl = hcl_jax.nscl(rows, labels, groups=groups, temperature=tau)
        return float(nscl), float(hcl_jax.ucl(rows, groups, psi=sums, quiet=True))


def _mean(values: list[arb]) -> arb:
    return sum(values, arb(0)) / len(values)


CLAIMS = (
    Claim(
        name="UCL exceeds NSCL by a term of order 1/C",
        statement="0 < UCL - NSCL <= log(1 + r e^{2/tau}) for every pair of views, "
        "r = (M-1)/(M(C-1)); on average at most the chord of log(1 + r e^{w/tau}) from w = 0 to 2 "
        "at C/(C-1); both with equality at NC for C = 2 and alpha = 0",
        reference="docs/theory.md, NSCL",
        hypotheses="unit ball; M rows of each of C classes; views of one image as positives; for "
        "the average as many views of every image, or averages over anchors; InfoNCE with q = k, "
        "alpha >= 0",
        evidence=Evidence.PROVED,
        measure=gaps_of_random_batches,
        controls=(
            Control(
                "norm 6/5",
                "unit ball",
                _ask(lambda: collapsed_batch(2, 1, radius=Fraction(6, 5)), largest_gap),
            ),
            Control(
                "half of r",
                "the constant",
                _ask(
                    lambda: collapsed_batch(2, 2),
                    lambda batch: largest_gap(batch, _share(batch) / 2),
                ),
            ),
            Control(
                "classes of six and two rows", "equal classes", _ask(unequal_batch, largest_gap)
            ),
            Control(
                "one image of 12 views, others of two",
                "as many views of every image",
                mean_gap_of_unequal_views,
            ),
        ),
    ),
    Claim(
        name="NC minimises NSCL",
        statement="NSCL >= log(alpha + n e^{-delta0/tau}), n negatives of each anchor, with "
        "equality at NC, where UCL exceeds it by log(1 + r e^{delta0/tau}) if alpha = 0",
        reference="docs/theory.md, NSCL",
        hypotheses="unit ball; M rows of each of C classes; as many views of every image, or "
        "averages over anchors; InfoNCE with q = k, alpha >= 0",
        evidence=Evidence.PROVED,
        measure=nscl_at_collapse,
        controls=(
            Control("norm 6/5", "unit ball", nscl_outside),
            Control(
                "one image of 12 views, others of two",
                "as many views of every image",
                nscl_of_unequal_views,
            ),
        ),
    ),
    Claim(
        name="the library's NSCL and UCL of views",
        statement="hcl_jax.nscl, and hcl_jax.ucl of images as labels, are these losses to 1e-12",
        reference="docs/theory.md, NSCL",
        hypotheses="three classes of two images in two views, alpha = 0, q = k",
        evidence=Evidence.OBSERVED,
        measure=shipped_losses,
        controls=(
            Control("the class as positives", "views as positives", shipped_losses_of_classes),
        ),
    ),
)
