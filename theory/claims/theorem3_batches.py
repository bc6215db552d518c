"""Theorem 3 for k negatives that are drawn from a batch, by enumeration of all draws.

No row is its own positive or negative; the positive may be among the negatives. Then a negative of
the own class is as similar to the anchor, on average, as a positive, whatever else collides, and
Jensen's inequality given which negatives collide leaves ``E psi_k(-delta0 b)`` with the actual law
of the collisions: in one balanced batch, and on average over batches of a balanced population.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations, permutations, product
from typing import NamedTuple

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.bounds import at_gap, unsupervised_bound
from theory.exact.tuple_laws import psi_of
from theory.model.kinds import PsiKind
from theory.model.latent_classes import Matrix
from theory.model.psi_kinds import InfoNCE, LogisticSum, TripletMax
from theory.model.random_models import Rng, ball_features, near_collapse
from theory.model.rationals import rational
from theory.model.simplex import exact_simplex, nc_gap

SEED = 83
ONE = Fraction(1)
LOSSES = (
    InfoNCE(),
    InfoNCE(q=None, tau=Fraction(1, 2)),
    InfoNCE(alpha=Fraction(0)),
    LogisticSum(),
    TripletMax(),
)
SHAPES = ((2, 2), (2, 3), (3, 2))
"""Classes, and members of each."""


class Draw(NamedTuple):
    """An anchor, its positive and its negatives, by their rows."""

    anchor: int
    positive: int
    negatives: tuple[int, ...]


Draws = Callable[[Sequence[int], int, int], Iterator[Draw]]
"""All draws from the rows of a batch, equally likely, for members of a class and k."""


def different_negatives(batch: Sequence[int], members: int, k: int) -> Iterator[Draw]:
    """k different negatives, in every order."""
    for anchor, positive in _pairs(batch, members):
        for negatives in permutations([row for row in batch if row != anchor], k):
            yield Draw(anchor, positive, negatives)


def independent_negatives(batch: Sequence[int], members: int, k: int) -> Iterator[Draw]:
    """k independent negatives."""
    for anchor, positive in _pairs(batch, members):
        for negatives in product([row for row in batch if row != anchor], repeat=k):
            yield Draw(anchor, positive, negatives)


def self_positives(batch: Sequence[int], members: int, k: int) -> Iterator[Draw]:
    """k different negatives, and the anchor as its own positive."""
    return (d._replace(positive=d.anchor) for d in different_negatives(batch, members, k))


def positives_of_the_class(batch: Sequence[int], members: int, k: int) -> Iterator[Draw]:
    """k different negatives, and any member of the class as the positive, the anchor too."""
    for anchor, positive in product(batch, repeat=2):
        if anchor // members == positive // members:
            for negatives in permutations([row for row in batch if row != anchor], k):
                yield Draw(anchor, positive, negatives)


def _pairs(batch: Sequence[int], members: int) -> Iterator[tuple[int, int]]:
    """Anchors and positives of a batch; classes are runs of `members` rows."""
    return ((a, p) for a, p in permutations(batch, 2) if a // members == p // members)


def mean_loss(features: Matrix, draws: Sequence[Draw], psi: PsiKind) -> arb:
    """UCL, the mean over the draws."""
    gram = [[_product(x, y) for y in features] for x in features]
    values = (psi_of(psi, [rational(gram[a][n] - gram[a][p]) for n in ns]) for a, p, ns in draws)
    return sum(values, arb(0)) / len(draws)


def bound_of(draws: Sequence[Draw], classes: int, members: int, psi: PsiKind) -> arb:
    """``E psi_k(-delta0 b)`` with the collisions of the draws."""
    k = len(draws[0].negatives)
    apart = Counter(sum(n // members != a // members for n in ns) for a, _, ns in draws)
    terms = (at_gap(nc_gap(classes), different, k, psi) * n for different, n in apart.items())
    return sum(terms, arb(0)) / len(draws)


@in_balls()
def draws_from_balanced_batches(effort: Effort) -> Measurement:
    """k negatives from a batch of all members of all classes, with and without replacement."""

    def whole(rng: Rng, members: int, count: int, k: int) -> list[Draw]:
        draw = rng.choice((different_negatives, independent_negatives))
        return list(draw(range(count), members, k))

    return _compare(effort.choose(10, 80, 600), whole)


@in_balls()
def draws_from_random_batches(effort: Effort) -> Measurement:
    """All batches of three, or of four, of the instances, all pairs and all draws in each."""

    def drawn(rng: Rng, members: int, count: int, k: int) -> list[Draw]:
        draw = rng.choice((different_negatives, independent_negatives))
        batches = combinations(range(count), rng.choice((3, 4)))
        return [found for batch in batches for found in draw(batch, members, min(k, 2))]

    return _compare(effort.choose(8, 60, 400), drawn)


def _compare(count: int, draws_of: Callable[[Rng, int, int, int], list[Draw]]) -> Measurement:
    """Records whether the loss of random features in the unit ball is above the bound."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for number in range(count):
        classes, members = rng.choice(SHAPES)
        features = (near_collapse if number % 2 else ball_features)(rng, classes, members, 3)
        psi = LOSSES[number // 2 % len(LOSSES)]
        draws = draws_of(rng, members, classes * members, rng.choice((1, 2, 3)))
        bound = bound_of(draws, classes, members, psi)
        tally.at_least(mean_loss(features, draws, psi), bound)
        tally.models += 1
    return tally.measurement()


def _with_a_little_spread(draws_of: Draws) -> Callable[[Effort], Measurement]:
    """Asks the same of other draws: a little spread goes below the bound."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        x, y = Fraction(12, 13), Fraction(5, 13)
        features, tally = ((x, y), (x, -y), (-x, y), (-x, -y)), Tally()
        draws, psi = list(draws_of(range(4), 2, 2)), InfoNCE(tau=Fraction(1, 2))
        tally.at_least(mean_loss(features, draws, psi), bound_of(draws, 2, 2, psi))
        tally.models += 1
        return tally.measurement()

    return measure


@in_balls()
def collisions_of_the_population(effort: Effort) -> Measurement:
    """Asks NC for the bound of the population, where more negatives collide."""
    tally = Tally()
    for classes, members in SHAPES:
        features = tuple(row for row in exact_simplex(classes) for _ in range(members))
        draws = list(different_negatives(range(len(features)), members, 2))
        loss = mean_loss(features, draws, InfoNCE())
        tally.at_least(loss, unsupervised_bound(classes, 2, InfoNCE()))
        tally.models += 1
    return tally.measurement()


@in_balls()
def fixed_batches(effort: Effort) -> Measurement:
    """Asks the same of three fixed batches, each of two classes out of three, at +1 and -1."""
    tally, members = Tally(), 4
    batches = ((0, 1, 4, 5), (2, 3, 8, 9), (6, 7, 10, 11))
    signs = (1, 1, 1, 1, -1, -1, 1, 1, -1, -1, -1, -1)
    features = tuple((Fraction(sign),) for sign in signs)
    draws = [draw for batch in batches for draw in different_negatives(batch, members, 2)]
    tally.at_least(mean_loss(features, draws, InfoNCE()), bound_of(draws, 3, members, InfoNCE()))
    tally.models += 1
    return tally.measurement()


def _product(x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))


CLAIMS = (
    Claim(
        name="the UCL bound of k draws from a balanced batch",
        statement=r"$\mathrm{UCL} \ge E \psi_k(-\delta_0 b_1, \dots, -\delta_0 b_k)$, $b_i = 1$ "
        "where the $i$-th negative is of another class, with their law in the batch",
        reference="docs/theory.md, Theorem 3, for batches",
        hypotheses="unit ball; $m$ members of every class; $k$ negatives drawn with or without "
        r"replacement; positives and negatives other than the anchor; $\psi$ convex, "
        "non-decreasing",
        evidence=Evidence.PROVED,
        measure=draws_from_balanced_batches,
        controls=(
            *(
                Control(name, "positives other than the anchor", _with_a_little_spread(draws_of))
                for name, draws_of in (
                    ("$x^+ = x$", self_positives),
                    ("$x^+$ may be $x$", positives_of_the_class),
                )
            ),
            Control(
                "$b$ of the population", "the law of $b$ in the batch", collisions_of_the_population
            ),
        ),
    ),
    Claim(
        name="the UCL bound on average over batches",
        statement="the same for the mean over all pairs and draws of all batches of one size of a "
        "balanced population, with the mean law of $b$",
        reference="docs/theory.md, Theorem 3, for batches",
        hypotheses="as before, for batches that are drawn at random",
        evidence=Evidence.PROVED,
        measure=draws_from_random_batches,
        controls=(
            Control("fixed batches of two classes out of three", "random batches", fixed_batches),
        ),
    ),
)
