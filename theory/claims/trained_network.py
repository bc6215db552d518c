"""A network trained with mini-batches on the latent-class model of the paper, Gaussian classes.

The classes are alike within groups, so that what tells them apart in a group is easily lost. The
network, the optimiser and the draws of the batches are ordinary; the losses are the shipped ones.
"""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax import geometry
from hcl_jax.data import Split, gaussian_classes
from hcl_jax.losses import Average
from hcl_jax.normalization import unnormalized
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally
from theory.trained.perceptron import Method, Training, train

SEED = 109
GROUPED = 12
"""Classes, in groups of four."""

TRAINING = Training(
    widths=(64, 64, 64, 64, GROUPED - 1), steps=300, batch=96, learning_rate=3e-3, every=300
)
HARD = (Method(True, 2.0), Method(True, 5.0), Method(False, 2.0))
PLAIN = {True: Method(True), False: Method(False)}
TOO_HARD = Method(False, 30.0)
WITHOUT_NORMS = Method(True, 5.0, unnormalized)

TAILED = 4
"""Classes, of which the last two are rare."""

LONG_RUN = Training(widths=(64, 64, TAILED), steps=600, batch=128, learning_rate=3e-3, every=600)
IMBALANCES = (2.0, 3.0, 8.0)
"""Below and above 3.63, the R* of averages over pairs; all below 25.05, that over anchors."""

MET = 0.99
"""The similarity from which rare classes count as one point."""


class Seen(NamedTuple):
    """What a network ended with.

    Attributes:
        distance: of the class means to the nearest simplex ETF.
        directions: that they span, up to C - 1.
    """

    distance: float
    directions: int


@cache
def grouped(method: Method, seed: int) -> Seen:
    """The class means after training on the grouped classes."""
    key = jax.random.key(SEED + seed)
    split = gaussian_classes(
        key, num_classes=GROUPED, classes_per_group=4, dim=16, train_per_class=32, test_per_class=1
    ).train
    embeddings = jnp.asarray(train(key, split, method, TRAINING)[-1])
    distance, directions = _look(embeddings, jnp.asarray(split.labels))
    return Seen(float(distance), int(directions))


@jax.jit
def _look(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The distance of the class means to the nearest simplex ETF, and their directions."""
    means = geometry.class_means(embeddings, labels, GROUPED)
    return geometry.etf_distance(means), geometry.directions(geometry.singular_values(means))


def hardening_leaves_collapse(effort: Effort) -> Measurement:
    """HSCL 2 and 5 against SCL, and, if not quick, HUCL 2 against UCL."""
    return _compare_with_plain(HARD[: effort.choose(2, 3, 3)], effort.choose(1, 3, 10))


def _compare_with_plain(methods: Sequence[Method], seeds: int) -> Measurement:
    """Records whether methods end at less than half the distance, in no fewer directions."""
    tally, details = Tally(seed=SEED), {}
    for seed in range(seeds):
        for method in methods:
            plain = PLAIN[method.supervised]
            found, without = grouped(method, seed), grouped(plain, seed)
            nearer = found.distance < without.distance / 2
            tally.observe(nearer and found.directions >= without.directions)
            tally.models += 1
            for name, one in ((method, found), (plain, without)):
                details[f"{name}, seed {seed}"] = (
                    f"distance {one.distance:.2f}, {one.directions} of {GROUPED - 1} directions"
                )
    return tally.measurement(**details)


@cache
def rare_similarity(imbalance: float, average: Average, seed: int) -> float:
    """The cosine of the means of the two rare classes after training on a long tail."""
    key = jax.random.key(SEED + seed)
    split = _tailed(seed)
    sizes = [imbalance] * 2 + [1.0] * 2
    embeddings = train(key, split, Method(True, average=average), LONG_RUN, sizes=sizes)[-1]
    means = [np.mean(embeddings[np.asarray(split.labels) == c], axis=0) for c in (2, 3)]
    return float(means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1]))


def _tailed(seed: int) -> Split:
    """Four Gaussian classes without groups."""
    return gaussian_classes(
        jax.random.key(SEED + seed),
        num_classes=TAILED,
        classes_per_group=1,
        dim=16,
        train_per_class=128,
        test_per_class=1,
    ).train


def long_tails(effort: Effort) -> Measurement:
    """The rare classes come nearer as they get rarer, and meet well beyond R*, not before it."""
    tally, details = Tally(seed=SEED), {}
    for seed in range(effort.choose(1, 2, 5)):
        found = [_compare(tally, details, imbalance, "pairs", seed) for imbalance in IMBALANCES]
        for common, rare in itertools.pairwise(found):
            tally.observe_below(common, rare)
        if effort is not Effort.QUICK:
            _compare(tally, details, IMBALANCES[-1], "anchors", seed)
    return tally.measurement(**details)


def _compare(
    tally: Tally, details: dict[str, str], imbalance: float, average: Average, seed: int
) -> float:
    """The similarity of the rare classes; records whether they meet as R* says."""
    found, sizes = rare_similarity(imbalance, average, seed), [imbalance] * 2 + [1.0] * 2
    predicted = float(geometry.scl_optimum(sizes, 1.0, average=average).gram[-1, -2])
    threshold = geometry.minority_collapse_threshold(2, 2, 1.0, average=average)
    tally.observe_below(*((MET, found) if imbalance > threshold else (found, MET)))
    tally.models += 1
    details[f"$R = {imbalance:g}$, averages over {average}, seed {seed}"] = (
        f"similarity {found:.3f}, at the optimum {predicted:.3f}"
    )
    return found


def long_tails_before(effort: Effort) -> Measurement:
    """Asks for a meeting at R = 3."""
    tally = Tally(seed=SEED)
    tally.observe_below(MET, rare_similarity(IMBALANCES[1], "pairs", 0))
    tally.models += 1
    return tally.measurement()


CLAIMS = (
    Claim(
        name="hard negatives lead a network out of collapse",
        statement="trained with mini-batches, HSCL 2 and 5 end less than half as far from a "
        "simplex ETF as SCL, and HUCL 2 as UCL (not in quick runs), in no fewer directions",
        reference="docs/escape.md, section 6",
        hypotheses="12 Gaussian classes in 3 groups of the latent-class model; perceptron of four "
        "hidden layers, unit ball in $C - 1$ dimensions, 300 steps of Adam on batches of 96",
        evidence=Evidence.OBSERVED,
        measure=hardening_leaves_collapse,
        controls=(
            Control("HUCL 30", "suitable hardness", lambda _: _compare_with_plain((TOO_HARD,), 1)),
            Control(
                "no normalisation",
                "normalisation",
                lambda _: _compare_with_plain((WITHOUT_NORMS,), 1),
            ),
        ),
    ),
    Claim(
        name="a network merges classes far beyond the threshold",
        statement="trained with mini-batches by SCL, the means of two rare classes come nearer as "
        "they get rarer, and have a similarity above 0.99 at $R = 8$ and below it at $R = 2$ and 3 "
        "($R^* = 3.63$)",
        reference="docs/unequal_priors.md, section 4",
        hypotheses="2 + 2 Gaussian classes of the latent-class model, drawn with $R = 2$, 3 and 8, "
        "averages over pairs, and with $R = 8$ over anchors ($R^* = 25.05$: below 0.99; not in "
        r"quick runs); $\tau = 1$, perceptron, unit ball, 600 steps of Adam on batches of 128",
        evidence=Evidence.OBSERVED,
        measure=long_tails,
        controls=(Control("$R = 3$", "$R = 8$", long_tails_before),),
    ),
)
