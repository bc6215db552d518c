"""Theorem 2 for batches: true on average over random batches, false for fixed imbalanced ones.

In a random batch of a balanced population a pair of different classes is uniform over ordered
pairs of classes, with independent members, whatever the number of negatives; so Jensen's inequality
goes through. A fixed partition whose batches miss a class lets every batch collapse on its own.
"""

import random
from fractions import Fraction
from itertools import combinations

from flint import arb, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.bounds import supervised_bound
from theory.exact.tuple_laws import psi_of
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import ball_features, near_collapse, random_model
from theory.model.rationals import rational

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


CLAIMS = (
    Claim(
        name="the SCL bound on average over batches",
        statement="The mean in-batch SCL over random batches of a balanced population obeys the "
        "bound.",
        reference="Theorem 2, for batches",
        hypotheses="batches drawn at random, balanced population, unit ball, psi independent of "
        "their number",
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
)
