"""HUCL of a batch in balls: the weights estimator, from its definition."""

from collections.abc import Sequence
from fractions import Fraction

from flint import arb, fmpq

from hcl_jax.validation.numbers import check_count
from theory.model.latent_classes import Matrix
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball, rational


def hucl_of_batch(
    features: Matrix,
    members: int,
    *,
    beta: Fraction,
    psi: InfoNCE,
    self_positives: bool = False,
) -> arb:
    """The weights estimator of HUCL, classes being runs of `members` rows.

    Raises ValueError for rows that are not as many in each class, for fewer than two rows, and for
    classes of one where it is not its own positive.
    """
    members = check_count("members", members, minimum=1 if self_positives else 2)
    if len(features) < 2 or len(features) % members:
        raise ValueError(
            f"a batch needs {members} rows of each class and two at least, got {len(features)}"
        )
    tilt, inverse, count = ball(beta), 1 / ball(psi.tau), len(features)
    gram = [[_product(x, y) for y in features] for x in features]
    losses = []
    for i, row in enumerate(gram):
        negatives = [arb(t) for j, t in enumerate(row) if j != i]
        weight = sum(((tilt * t).exp() for t in negatives), arb(0))
        share = ball(psi.weight(len(negatives)))
        tilted = sum((((tilt + inverse) * t).exp() for t in negatives), arb(0)) / weight
        own = range(i - i % members, i - i % members + members)
        positives = [row[p] for p in own if p != i or self_positives]
        values = [
            (ball(psi.alpha) + share * tilted * (-inverse * s).exp()).log() for s in positives
        ]
        losses.append(sum(values, arb(0)) / len(values))
    return sum(losses, arb(0)) / count


def _product(x: Sequence[Fraction], y: Sequence[Fraction]) -> fmpq:
    """The inner product."""
    return rational(sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0)))
