"""Theorems 2 and 3 for batches: on average over random batches, not for fixed imbalanced ones.

In a random batch of a balanced population a pair of different classes is uniform over ordered
pairs of classes, with independent members, whatever the number of negatives; so Jensen's inequality
goes through. A fixed partition whose batches miss a class lets every batch collapse on its own.
Hardening the negatives of each anchor among themselves raises every term (Chebyshev). For UCL in a
balanced batch of m members a class, m - 1 of the negatives collide, and contribute 0 on average.
"""

import random
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

from flint import arb, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.batches import hucl_of_batch
from theory.exact.bounds import supervised_bound
from theory.exact.tuple_laws import psi_of
from theory.model.kinds import ONE, ZERO, PsiKind
from theory.model.latent_classes import LatentClassModel, Matrix
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import ball_features, near_collapse, random_model
from theory.model.rationals import ball, rational
from theory.model.simplex import nc_gap

SEED = 7
BATCH = 4
INFONCE = (InfoNCE(), InfoNCE(alpha=Fraction(1, 2), q=Fraction(2)), InfoNCE(tau=Fraction(1, 2)))


def batch_loss(
    gram: list[list[fmpq]], labels: list[int], batch: tuple[int, ...], psi: PsiKind
) -> tuple[arb, int]:
    """The sum of psi over the (anchor, positive) pairs of a batch, and the number of pairs.

    The negatives of an anchor are all members of the batch that are of other classes; pairs without
    a negative are left out.
    """
    total, pairs = arb(0), 0
    for x in batch:
        negatives = [gram[x][n] for n in batch if labels[n] != labels[x]]
        for positive in batch:
            if positive != x and labels[positive] == labels[x] and negatives:
                total += psi_of(psi, [t - gram[x][positive] for t in negatives])
                pairs += 1
    return total, pairs


def mean_loss(
    model: LatentClassModel, labels: list[int], batches: list[tuple[int, ...]], psi: PsiKind
) -> arb:
    """The mean over all pairs of all batches."""
    gram = [[rational(t) for t in row] for row in model.gram]
    found = [batch_loss(gram, labels, batch, psi) for batch in batches]
    return sum((total for total, _ in found), arb(0)) / sum(pairs for _, pairs in found)


@in_balls()
def random_batches(effort: Effort) -> Measurement:
    """All batches of four among six instances of three classes, equally likely."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    labels = [0, 0, 1, 1, 2, 2]
    batches = list(combinations(range(6), BATCH))
    for i in range(effort.choose(5, 60, 400)):
        features = near_collapse if i % 2 else ball_features
        model = random_model(rng, sizes=(3, 2, 2), features=features)
        psi = rng.choice(INFONCE)
        loss = mean_loss(model, labels, batches, psi)
        tally.at_least(loss, supervised_bound(3, 1, psi))
        tally.models += 1
    return tally.measurement(batches=len(batches), batch_size=BATCH)


@in_balls()
def fixed_imbalanced_batches(effort: Effort) -> Measurement:
    """Three classes, each batch holds two: all pairs of a batch are antipodal, v = -2."""
    tally = Tally()
    labels = [0, 0, 1, 1, 0, 0, 2, 2, 1, 1, 2, 2]
    one = Fraction(1)
    features = tuple((one if i % 4 < 2 else -one,) for i in range(12))
    model = random_model(random.Random(SEED), sizes=(3, 4, 1), features=lambda *_: features)
    batches = [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]
    loss, bound = mean_loss(model, labels, batches, InfoNCE()), supervised_bound(3, 1, InfoNCE())
    tally.at_least(loss, bound)
    tally.models = 1
    return tally.measurement(SCL=float(loss), bound=float(bound))


@in_balls()
def hardened_batches(effort: Effort) -> Measurement:
    """The same, with the negatives of each anchor reweighted by e^{beta t}: HSCL."""
    return _compare_hardened(effort, Fraction(4))


@in_balls()
def softened_batches(effort: Effort) -> Measurement:
    """Asks the same at beta = -20, of classes at +1, -1 and +1."""
    return _compare_hardened(effort, Fraction(-20))


def _compare_hardened(effort: Effort, beta: Fraction) -> Measurement:
    """Records whether the mean hardened loss of random batches obeys the bound of SCL."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    labels, batches = [0, 0, 1, 1, 2, 2], list(combinations(range(6), BATCH))
    on_a_line = tuple((Fraction(x),) for x in (1, 1, -1, -1, 1, 1))
    for i in range(effort.choose(5, 60, 400)):
        features = near_collapse if i % 2 else ball_features
        model = random_model(rng, sizes=(3, 2, 2), features=features)
        if beta < 0:
            model = replace(model, features=on_a_line)
        gram = [[rational(t) for t in row] for row in model.gram]
        psi = rng.choice(INFONCE)
        found = [_hardened_loss(gram, labels, batch, psi, beta) for batch in batches]
        loss = sum((total for total, _ in found), arb(0)) / sum(pairs for _, pairs in found)
        tally.at_least(loss, supervised_bound(3, 1, psi))
        tally.models += 1
    return tally.measurement(batches=len(batches), batch_size=BATCH)


def _hardened_loss(
    gram: list[list[fmpq]], labels: list[int], batch: tuple[int, ...], psi: InfoNCE, beta: Fraction
) -> tuple[arb, int]:
    """`batch_loss` with the negatives of every anchor reweighted, and the number of pairs."""
    total, pairs, tilt = arb(0), 0, ball(beta)
    for x in batch:
        negatives = [gram[x][n] for n in batch if labels[n] != labels[x]]
        weights = [(tilt * t).exp() for t in negatives]
        for positive in batch:
            if positive != x and labels[positive] == labels[x] and negatives:
                raised = [psi.each(t - gram[x][positive]) for t in negatives]
                weighted = [w * e for w, e in zip(weights, raised, strict=True)]
                total += psi.finisher(1)(sum(weighted, arb(0)) / sum(weights, arb(0)))
                pairs += 1
    return total, pairs


@in_balls()
def balanced_batches(effort: Effort) -> Measurement:
    """UCL of balanced batches in the unit ball, no row its own positive or negative."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for i in range(effort.choose(10, 100, 800)):
        classes, members = rng.choice(((2, 2), (2, 3), (3, 2), (4, 2)))
        features = (near_collapse if i % 2 else ball_features)(rng, classes, members, 3)
        _compare_with_collisions(tally, features, members, self_positives=False)
    return tally.measurement()


@in_balls()
def balanced_batches_with_self_positives(effort: Effort) -> Measurement:
    """Asks the same where a row may be its own positive: a little spread goes below the bound."""
    tally = Tally()
    x, y = Fraction(12, 13), Fraction(5, 13)
    _compare_with_collisions(
        tally, ((x, y), (x, -y), (-x, y), (-x, -y)), 2, self_positives=True, tau=Fraction(1, 2)
    )
    return tally.measurement()


def _compare_with_collisions(
    tally: Tally, features: Matrix, members: int, *, self_positives: bool, tau: Fraction = ONE
) -> None:
    """Records ``UCL >= log(alpha + q (1 + rho e^{-delta0 / tau}) / (1 + rho))`` for a batch."""
    classes, psi = len(features) // members, InfoNCE(tau=tau)
    others = ball(Fraction(members * (classes - 1), members - 1))
    apart = (-ball(nc_gap(classes) / tau)).exp()
    loss = hucl_of_batch(features, members, beta=ZERO, psi=psi, self_positives=self_positives)
    tally.at_least(loss, (1 + (1 + others * apart) / (1 + others)).log())
    tally.models += 1


CLAIMS = (
    Claim(
        name="the SCL bound on average over batches",
        statement="the mean in-batch SCL over random batches of a balanced population obeys the "
        "bound",
        reference="docs/theory.md, Theorem 2, for batches",
        hypotheses=r"batches drawn at random, balanced population, unit ball, "
        r"$\psi_n(-\delta_0, \dots)$ the same for every number $n$ of negatives",
        evidence=Evidence.PROVED,
        measure=random_batches,
        controls=(
            Control(
                "fixed batches of two classes out of three",
                "random batches",
                fixed_imbalanced_batches,
            ),
        ),
    ),
    Claim(
        name="the HSCL bound on average over batches",
        statement="the mean in-batch HSCL, negatives reweighted among themselves, obeys it too",
        reference="docs/theory.md, Theorem 2, for batches",
        hypotheses=r"as for SCL; InfoNCE with $q$ fixed, $\eta = \prod h(t_i)$, $h$ non-decreasing",
        evidence=Evidence.PROVED,
        measure=hardened_batches,
        controls=(Control(r"$\beta = -20$", r"non-decreasing $\eta$", softened_batches),),
    ),
    Claim(
        name="the UCL bound of balanced batches",
        statement=r"$\mathrm{UCL} \ge \log(\alpha + q (1 + \rho e^{-\delta_0/\tau}) / (1 + \rho))$,"
        r" $\rho = m (C-1) / (m-1)$, for the weights estimator of a balanced batch",
        reference="docs/theory.md, Theorem 3, for batches",
        hypotheses="unit ball; $m$ members of every class; positives and negatives other than the "
        "anchor; InfoNCE",
        evidence=Evidence.PROVED,
        measure=balanced_batches,
        controls=(
            Control(
                "$x^+$ may be $x$",
                "positives other than the anchor",
                balanced_batches_with_self_positives,
            ),
        ),
    ),
)
