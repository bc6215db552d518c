"""The kernels that are shipped, against the finite model that a batch is.

With the self-pairs of the reference code, averaged over anchors, a batch is a finite model: the
prior is the share of each class, a class law is uniform on its members. The weights estimator then
is the limit of infinitely many negatives (for a separable psi, one negative), to rounding. The
samples estimator has the model with K negatives as its expectation, which is tested statistically.
"""

import random
from fractions import Fraction
from functools import partial
from math import sqrt
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb

from hcl_jax.hardening import exponential
from hcl_jax.objectives import Options, objective
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses
from theory.model.eta_kinds import Exponential, ReluPower, Threshold
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE, LogisticSum, SquaredHinge, TripletMax
from theory.model.random_models import Rng, ball_features, own_points, uniform

SEED = 8
ONE = Fraction(1)
LABELS = (0, 0, 0, 1, 1, 1, 2, 2, 3)
"""An imbalanced batch of nine; one class has a single member, whose only positive is itself."""
REPLICATES = 400
Z_LIMIT = 4.2
"""Two-sided, Bonferroni-adjusted for 150 values at about 0.4 percent overall."""
MEAN_SQUARE = (0.7, 1.4)
"""Where the mean of z^2 must lie, so that intervals that are too wide fail as well."""


def conventions() -> Options:
    """The pairs and the average under which a batch is a finite model."""
    return Options(reference_conventions=True, average="anchors")


def batch_model(rng: Rng, psi: PsiKind, eta, k: int = 1) -> LatentClassModel:
    """A random batch with the labels `LABELS`, as a finite model.

    Example:
        >>> batch_model(random.Random(0), InfoNCE(), Exponential(ONE)).prior[3]
        Fraction(1, 9)
    """
    sizes = [LABELS.count(c) for c in range(max(LABELS) + 1)]
    features = ball_features(rng, len(LABELS), 1, 3)
    return LatentClassModel(
        prior=tuple(Fraction(size, len(LABELS)) for size in sizes),
        class_laws=own_points([uniform(size) for size in sizes]),
        features=features,
        k=k,
        psi=psi,
        eta=eta,
    )


def batch_of(model: LatentClassModel):
    """Embeddings and labels of a batch model, in the current default precision."""
    return jnp.array(np.array(model.features, dtype=np.float64)), jnp.array(LABELS)


@in_balls()
def weights_estimator(effort: Effort) -> Measurement:
    """`hcl_jax.objective` in float64 against balls, to a relative 1e-12."""
    everything = effort is not Effort.QUICK
    count = effort.choose(1, 2, 20)
    return _compare_weights(count, supervised_pairs=(True, False), everything=everything)


@in_balls()
def weights_estimator_wrong_pairs(effort: Effort) -> Measurement:
    """The same with supervised and unsupervised pairs exchanged."""
    return _compare_weights(1, supervised_pairs=(False, True), everything=False)


def _compare_weights(
    count: int, *, supervised_pairs: tuple[bool, bool], everything: bool
) -> Measurement:
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    psis = (InfoNCE(ONE / 2, Fraction(2), ONE / 3), LogisticSum(ONE), SquaredHinge(ONE / 2))
    etas = (Exponential(Fraction(5)), ReluPower(ONE, Fraction(2)), Threshold(-ONE / 3))
    for psi in psis if everything else psis[:2]:
        for eta in etas if everything else etas[:1]:
            for _ in range(count):
                model = batch_model(rng, psi, eta)
                exact = exact_losses(model, limit=not psi.separable)
                if exact.zero_scl or exact.zero_ucl:
                    continue  # the library leaves such anchors out, the theory does not
                with jax.enable_x64(True):
                    found = [
                        _value(model, supervised, hard)
                        for supervised in supervised_pairs
                        for hard in (False, True)
                    ]
                for ball, value in zip(exact[:4], found, strict=True):
                    assert ball is not None
                    tally.observe(bool(abs(arb(value) - ball) < abs(ball) * arb("1e-12")))
                tally.models += 1
    return tally.measurement()


def _value(model: LatentClassModel, supervised: bool, hard: bool) -> float:
    embeddings, labels = batch_of(model)
    hardening = model.eta.shipped() if hard else exponential(0.0)
    return float(
        _objective(embeddings, labels, hardening, model.psi.shipped(), supervised=supervised)
    )


@partial(jax.jit, static_argnames="supervised")
def _objective(embeddings, labels, hardening, psi, *, supervised: bool):
    options = conventions() | Options(psi=psi)
    return objective(embeddings, labels, supervised=supervised, hardening=hardening, **options)


class Sampler(NamedTuple):
    """How the samples estimator is called.

    Attributes:
        hardness: multiplies beta.
        own_class: whether SCL forgets the labels of its negatives.
    """

    hardness: float = 1.0
    own_class: bool = False


def _samples(sampler: Sampler, *, supervised_only: bool = False):
    """z values of the samples estimator against its exact expectation."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        rng, scores = random.Random(SEED), []
        batches = effort.choose(6, 10, 40)
        psis = (InfoNCE(), SquaredHinge(ONE), TripletMax(ONE))
        for psi in psis[: effort.choose(1, 3, 3)]:
            for _ in range(batches):
                beta = Fraction(rng.randint(10, 60), 10)
                model = batch_model(rng, psi, Exponential(beta), k=3)
                scores += _scores(model, float(beta), sampler, supervised_only, len(scores))
        return _judge(np.array(scores))

    return measure


def _scores(model, beta, sampler, supervised_only, start):
    """z of the mean of many replicates, for HSCL and HUCL (SCL alone if `supervised_only`)."""
    exact = exact_losses(model)
    embeddings, labels = batch_of(model)
    kinds = ((True, exact.scl),) if supervised_only else ((True, exact.hscl), (False, exact.hucl))
    scores = []
    for supervised, expected in kinds:
        hardness = 0.0 if supervised_only else beta * sampler.hardness
        drawn = _replicates(
            jax.random.key(SEED * 10_000 + start + supervised),
            embeddings,
            labels,
            exponential(hardness),
            model.psi.shipped(),
            supervised=supervised and not sampler.own_class,
        )
        values = np.asarray(drawn, dtype=np.float64)
        spread = float(values.std(ddof=1)) / sqrt(len(values))
        scores.append((float(values.mean()) - float(expected)) / max(spread, 1e-6))
    return scores


@partial(jax.jit, static_argnames="supervised")
def _replicates(key, embeddings, labels, hardening, psi, *, supervised: bool):
    """The samples estimator under many keys."""

    def one(key):
        options = conventions() | Options(psi=psi, num_negatives=3, key=key)
        return objective(embeddings, labels, supervised=supervised, hardening=hardening, **options)

    return jax.vmap(one)(jax.random.split(key, REPLICATES))


def _judge(scores: np.ndarray) -> Measurement:
    """Two verdicts: no z beyond the limit, and a mean square that a right interval has."""
    tally = Tally(seed=SEED)
    largest, square = float(np.abs(scores).max()), float(np.mean(scores**2))
    tally.models = len(scores)
    good = [largest < Z_LIMIT]
    if len(scores) >= 50:
        good.append(MEAN_SQUARE[0] < square < MEAN_SQUARE[1])
    for passed in good:
        tally.observe(passed)
    return tally.measurement(largest_z=largest, mean_square_z=square, replicates=REPLICATES)


CLAIMS = (
    Claim(
        name="the weights estimator takes k to infinity",
        statement="hcl_jax losses of a batch equal the finite model of the batch with "
        "k = infinity.",
        reference="this project",
        hypotheses="self-pairs as in the reference code, average over anchors; separable psi: "
        "k = 1",
        evidence=Evidence.OBSERVED,
        measure=weights_estimator,
        controls=(
            Control(
                "supervised and unsupervised pairs exchanged",
                "the pairs of the objective",
                weights_estimator_wrong_pairs,
            ),
        ),
    ),
    Claim(
        name="the samples estimator has the right expectation",
        statement="Its mean over many keys agrees with the finite model with K negatives, neither "
        "too well (a statistical test).",
        reference="this project",
        hypotheses="Bonferroni |z| < 4.2 and mean z^2 in [.7, 1.4]; product eta",
        evidence=Evidence.OBSERVED,
        measure=_samples(Sampler()),
        controls=(
            Control("a sampler that forgets the tilt", "tilt", _samples(Sampler(hardness=0.0))),
            Control("a sampler that tilts by beta/2", "beta", _samples(Sampler(hardness=0.5))),
            Control(
                "SCL that keeps its own class",
                "negatives of other classes",
                _samples(Sampler(own_class=True), supervised_only=True),
            ),
        ),
    ),
)
