"""The losses that the library ships, against the finite model that a batch is.

With the self-pairs of the reference code, averaged over anchors, a batch is a finite model: the
prior is the share of each class, a class law is uniform on its members. The weights estimator then
is the limit of infinitely many negatives (for a separable psi, one negative), to rounding. The
samples estimator has the model with K negatives as its expectation, which is tested statistically.
"""

import random
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax.hardening import Hardening, exponential
from hcl_jax.objectives import objective
from hcl_jax.options import Options
from hcl_jax.psi import Psi
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.checking.z_scores import judged, z_score
from theory.exact.balls import exact_losses
from theory.model.eta_kinds import Exponential, ReluPower, Threshold
from theory.model.kinds import EtaKind, PsiKind
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE, LogisticSum, SquaredHinge, TripletMax
from theory.model.random_models import Rng, ball_features, own_points, uniform

SEED = 8
ONE = Fraction(1)
LABELS = (0, 0, 0, 1, 1, 1, 2, 2, 3)
"""An imbalanced batch of nine; one class has a single member, whose only positive is itself."""
REPLICATES = 400
"""Keys under which the samples estimator is averaged."""
NEGATIVES = 3
"""What it draws for each positive."""


def conventions() -> Options:
    """The pairs and the average under which a batch is a finite model."""
    return Options(reference_conventions=True, average="anchors")


def batch_model(rng: Rng, psi: PsiKind, eta: EtaKind, k: int = 1) -> LatentClassModel:
    """A random batch with the labels `LABELS`, as a finite model."""
    sizes = [LABELS.count(c) for c in range(max(LABELS) + 1)]
    return LatentClassModel(
        prior=tuple(Fraction(size, len(LABELS)) for size in sizes),
        class_laws=own_points([uniform(size) for size in sizes]),
        features=ball_features(rng, len(LABELS), 1, 3),
        k=k,
        psi=psi,
        eta=eta,
    )


def batch_of(model: LatentClassModel) -> tuple[Float[Array, "n dim"], Int[Array, " n"]]:
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
    """Compares the four losses on batches, with every psi and eta if `everything`."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    psis = (InfoNCE(ONE / 2, Fraction(2), ONE / 3), LogisticSum(ONE), SquaredHinge(ONE / 2))
    etas = (Exponential(Fraction(5)), ReluPower(ONE, Fraction(2)), Threshold(-ONE / 3))
    for psi in psis if everything else psis[:2]:
        for eta in etas if everything else etas[:1]:
            for _ in range(count):
                _compare_batch(tally, batch_model(rng, psi, eta), supervised_pairs)
    return tally.measurement()


def _compare_batch(
    tally: Tally, model: LatentClassModel, supervised_pairs: tuple[bool, bool]
) -> None:
    """Records whether the shipped SCL, HSCL, UCL and HUCL of a batch are those of its model."""
    exact = exact_losses(model, limit=not model.psi.separable)
    if exact.zero_scl or exact.zero_ucl:
        return  # the library leaves such anchors out, the theory does not
    with jax.enable_x64(True):
        found = [
            _shipped_loss(model, supervised=supervised, hard=hard)
            for supervised in supervised_pairs
            for hard in (False, True)
        ]
    for ball, value in zip((exact.scl, exact.hscl, exact.ucl, exact.hucl), found, strict=True):
        tally.observe_below(abs(arb(value) - ball), abs(ball) * arb("1e-12"))
    tally.models += 1


def _shipped_loss(model: LatentClassModel, *, supervised: bool, hard: bool) -> float:
    """One loss of the library on the batch of a model."""
    embeddings, labels = batch_of(model)
    hardening = model.eta.shipped() if hard else exponential(0.0)
    psi = model.psi.shipped()
    return float(_objective(embeddings, labels, hardening, psi, supervised=supervised))


@partial(jax.jit, static_argnames="supervised")
def _objective(
    embeddings: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    hardening: Hardening,
    psi: Psi,
    *,
    supervised: bool,
) -> Float[Array, ""]:
    """The weights estimator."""
    options = conventions() | Options(psi=psi)
    return objective(embeddings, labels, supervised=supervised, hardening=hardening, **options)


class SamplesEstimator(NamedTuple):
    """How the samples estimator is called.

    Attributes:
        hardness: multiplies beta.
        own_class: whether SCL forgets the labels of its negatives.
        losses: the losses that are compared.
    """

    hardness: float = 1.0
    own_class: bool = False
    losses: tuple[str, ...] = ("hscl", "hucl")


def _samples(estimator: SamplesEstimator) -> Callable[[Effort], Measurement]:
    """z scores of the samples estimator against its exact expectation."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        rng, scores = random.Random(SEED), []
        batches = effort.choose(6, 10, 40)
        psis = (InfoNCE(), SquaredHinge(ONE), TripletMax(ONE))
        for psi in psis[: effort.choose(1, 3, 3)]:
            for _ in range(batches):
                beta = Fraction(rng.randint(10, 60), 10)
                model = batch_model(rng, psi, Exponential(beta), k=NEGATIVES)
                scores += _scores(model, float(beta), estimator, first_seed=len(scores))
        return judged(scores, seed=SEED, replicates=REPLICATES)

    return measure


def _scores(
    model: LatentClassModel, beta: float, estimator: SamplesEstimator, *, first_seed: int
) -> list[float]:
    """z of the mean of many replicates, for each of the losses."""
    exact = exact_losses(model)._asdict()
    embeddings, labels = batch_of(model)
    scores = []
    for number, loss in enumerate(estimator.losses):
        drawn = _replicates(
            jax.random.key(SEED * 10_000 + first_seed + number),
            embeddings,
            labels,
            exponential(beta * estimator.hardness),
            model.psi.shipped(),
            supervised=loss.endswith("scl") and not estimator.own_class,
        )
        scores.append(z_score(np.asarray(drawn), float(exact[loss])))
    return scores


@partial(jax.jit, static_argnames="supervised")
def _replicates(
    key: PRNGKeyArray,
    embeddings: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    hardening: Hardening,
    psi: Psi,
    *,
    supervised: bool,
) -> Float[Array, " replicates"]:
    """The samples estimator under many keys."""

    def one(key: PRNGKeyArray) -> Float[Array, ""]:
        options = conventions() | Options(psi=psi, num_negatives=NEGATIVES, key=key)
        return objective(embeddings, labels, supervised=supervised, hardening=hardening, **options)

    return jax.vmap(one)(jax.random.split(key, REPLICATES))


CLAIMS = (
    Claim(
        name="the weights estimator takes k to infinity",
        statement=r"the losses of `hcl_jax` of a batch equal those of the finite model of the "
        r"batch with $k = \infty$ to a relative $10^{-12}$",
        reference="docs/theory.md, the number of negatives",
        hypotheses=r"self-pairs as in the reference code, average over anchors; separable $\psi$: "
        "$k = 1$",
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
        statement="its mean over many keys agrees with the finite model with $k$ negatives, and "
        "not too well (a statistical test)",
        reference="docs/theory.md, the number of negatives",
        hypotheses=r"$\lvert z \rvert < 4.2$, and mean $z^2$ in $[.7, 1.4]$ of 50 values or more "
        r"(quick runs have fewer); $\eta$ a product",
        evidence=Evidence.OBSERVED,
        measure=_samples(SamplesEstimator()),
        controls=(
            Control(
                "a sampler that forgets the tilt",
                "tilt",
                _samples(SamplesEstimator(hardness=0.0)),
            ),
            Control(
                r"a sampler that tilts by $\beta/2$",
                r"$\beta$",
                _samples(SamplesEstimator(hardness=0.5)),
            ),
            Control(
                "SCL that keeps its own class",
                "negatives of other classes",
                _samples(SamplesEstimator(hardness=0.0, own_class=True, losses=("scl",))),
            ),
        ),
    ),
)
