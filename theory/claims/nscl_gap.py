"""UCL with views as positives exceeds NSCL, whose negatives are of other classes, but by little."""

import random
from collections.abc import Callable
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.view_batches import (
    Batch,
    batch_of_unequal_views,
    collapsed_batch,
    losses_of,
    mean,
    own_share,
    random_batch,
)
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap

SEED = 97


def largest_gap(batch: Batch, share: Fraction | None = None) -> arb:
    """``log(1 + r e^{2 / tau})``; r is (M - 1) / (M (C - 1)) for M rows of each class."""
    r = own_share(batch) if share is None else share
    return (1 + ball(r) * (2 / ball(batch.psi.tau)).exp()).log()


def largest_mean_gap(batch: Batch) -> arb:
    """The chord of ``log(1 + r e^{w / tau})`` from 0 to 2, at w = C / (C - 1)."""
    low = (1 + ball(own_share(batch))).log()
    return low + ball(nc_gap(len(batch.sizes)) / 2) * (largest_gap(batch) - low)


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
        tally.at_least(largest_mean_gap(batch), mean([p.ucl - p.nscl for p in pairs]))
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


@in_balls()
def mean_gap_of_unequal_views(effort: Effort) -> Measurement:
    """Asks the mean over pairs to be within its bound where the first class has more of them."""
    tally, batch = Tally(), batch_of_unequal_views()
    found = mean([pair.ucl - pair.nscl for pair in losses_of(batch)])
    bound = largest_mean_gap(batch)
    tally.at_least(bound, found)
    tally.models += 1
    return tally.measurement(mean=float(found), bound=float(bound))


CLAIMS = (
    Claim(
        name="UCL exceeds NSCL by a term of order 1/C",
        statement=r"$0 < \mathrm{UCL} - \mathrm{NSCL} \le \log(1 + r e^{2/\tau})$ for every pair "
        r"of views, $r = (m-1)/(m(C-1))$; on average at most the chord of "
        r"$\log(1 + r e^{w/\tau})$ from $w = 0$ to $2$ at $C/(C-1)$; both with equality at NC for "
        r"$C = 2$ and $\alpha = 0$",
        reference="docs/theory.md, NSCL",
        hypotheses="unit ball; $m$ rows of each of $C$ classes; views of one image as positives; "
        "for the average as many views of every image, or averages over anchors; InfoNCE with "
        r"$q = k$, $\alpha \ge 0$",
        evidence=Evidence.PROVED,
        measure=gaps_of_random_batches,
        controls=(
            Control(
                "norm 6/5",
                "unit ball",
                _ask(lambda: collapsed_batch(2, 1, radius=Fraction(6, 5)), largest_gap),
            ),
            Control(
                "half of $r$",
                "the constant",
                _ask(
                    lambda: collapsed_batch(2, 2),
                    lambda batch: largest_gap(batch, own_share(batch) / 2),
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
)
