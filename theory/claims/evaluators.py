"""What is computed twice: losses in balls and in float64, and draws from the laws they average.

The two evaluators were written separately: balls group negatives by similarity and take eta and psi
from the theory, float64 sums over points in log space with the functions that the library ships.
The sampler is a third way to the same numbers: the mean loss of its draws tends to the exact one.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import jax
import numpy as np
from flint import arb
from jaxtyping import Array, Float

from hcl_jax.psi import Psi
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.checking.z_scores import judged, z_score
from theory.exact.balls import exact_losses
from theory.exact.float64 import losses_float64
from theory.model.eta_kinds import Exponential, SumReluPower, Threshold, WeightedExponential
from theory.model.kinds import EtaKind
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import (
    Rng,
    ball_features,
    eta_choices,
    psi_choices,
    random_model,
)
from theory.model.sampling import SampledTuples, sampler

SEED = 9
TOLERANCE = arb("1e-12")
"""Relative."""
SMALLEST = arb("1e-15")
"""Differences below this are the rounding of losses that vanish."""
DRAWS = 20_000
ETAS = (
    Exponential(Fraction(3)),
    WeightedExponential((Fraction(5), Fraction(1))),
    SumReluPower(Fraction(1, 2), Fraction(2)),
    Threshold(Fraction(3)),
)
"""Every form of eta, and one that vanishes everywhere."""

Change = Callable[[LatentClassModel], LatentClassModel]


def _compare_evaluators(change: Change) -> Callable[[Effort], Measurement]:
    """The four losses of random models in balls against those of changed models in float64."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        tally, largest = Tally(seed=SEED), 0.0
        for model in _of_many_kinds(random.Random(SEED), effort):
            exact, found = exact_losses(model)._asdict(), losses_float64(change(model))
            for name, value in found._asdict().items():
                if value is not None:
                    error = abs(arb(value) - exact[name])
                    tally.observe_below(error, abs(exact[name]) * TOLERANCE + SMALLEST)
                    largest = max(largest, float(error / (abs(exact[name]) + SMALLEST)))
            tally.models += 1
        return tally.measurement(largest_relative_difference=largest)

    return measure


def _of_many_kinds(rng: Rng, effort: Effort) -> Iterator[LatentClassModel]:
    """Models with dependence, overlaps and unequal priors, of different psi and eta."""
    for number in range(effort.choose(4, 12, 120)):
        psis, etas = psi_choices(rng), eta_choices(rng, 2)
        yield random_model(
            rng,
            psi=psis[number % len(psis)],
            eta=etas[(number + number // len(psis)) % len(etas)],
            k=2,
            joint=True,
            balanced=False,
            overlapping=True,
            features=ball_features,
            sizes=(3, 1, 2),
        )


def _unchanged(model: LatentClassModel) -> LatentClassModel:
    """The model itself."""
    return model


def _rounded_to_float32(model: LatentClassModel) -> LatentClassModel:
    """The features are rounded before their inner products are taken."""
    features = tuple(tuple(Fraction(float(np.float32(x))) for x in f) for f in model.features)
    return replace(model, features=features)


class Sampled(NamedTuple):
    """The law that draws come from.

    Attributes:
        hard: whether the negatives of HSCL and HUCL are tilted.
        joint: whether the positives of `ucl_joint` and `hucl_joint` depend on the anchor.
    """

    hard: bool = True
    joint: bool = True


def _compare_draws(law: Sampled, names: tuple[str, ...]) -> Callable[[Effort], Measurement]:
    """z scores of the mean losses of draws against exact losses, for every form of eta."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        rng, scores = random.Random(SEED), []
        for number in range(effort.choose(4, 40, 160)):
            model = dependent_model(rng, ETAS[number % len(ETAS)])
            exact = exact_losses(model)._asdict()
            for name in names:
                draw = sampler(
                    model,
                    supervised="scl" in name,
                    hard=name.startswith("h") and law.hard,
                    joint=law.joint and name not in ("ucl", "hucl"),
                )
                key = jax.random.key(SEED * 10_000 + len(scores))
                losses = losses_of_draws(model, draw(key, DRAWS))
                scores.append(z_score(losses, float(exact[name])))
        return judged(scores, seed=SEED, draws=DRAWS)

    return measure


def dependent_model(rng: Rng, eta: EtaKind) -> LatentClassModel:
    """Two negatives, dependent positives, overlapping classes and unequal priors."""
    return random_model(
        rng,
        psi=InfoNCE(),
        eta=eta,
        k=2,
        joint=True,
        balanced=False,
        overlapping=True,
        features=ball_features,
        sizes=(3, 2, 2),
    )


def losses_of_draws(model: LatentClassModel, draws: SampledTuples) -> Float[np.ndarray, " n"]:
    """``psi_k(t - s)`` of every draw, by the loss function of the library."""
    gram = np.array(model.gram, dtype=float)
    anchors = np.asarray(draws.anchor)
    differences = gram[anchors[:, None], draws.negatives] - gram[anchors, draws.positive][:, None]
    return np.asarray(_psi_of(model.psi.shipped(), differences))


@jax.jit
def _psi_of(psi: Psi, differences: Float[Array, "n k"]) -> Float[Array, " n"]:
    """The loss of every row."""
    return psi.of_differences(differences)


CLAIMS = (
    Claim(
        name="two evaluators agree",
        statement=r"losses in float64, summed with the shipped $\psi$ and $\eta$, are those in "
        r"balls to a relative $10^{-12}$",
        reference="docs/theory.md, the model",
        hypotheses=r"finite models, two negatives; legal $\psi$ and $\eta$ of every kind",
        evidence=Evidence.OBSERVED,
        measure=_compare_evaluators(_unchanged),
        controls=(
            Control(
                "features rounded to float32",
                "exact similarities",
                _compare_evaluators(_rounded_to_float32),
            ),
        ),
    ),
    Claim(
        name="draws follow the exact laws",
        statement="the mean loss of draws from the laws of SCL, HSCL, UCL and HUCL agrees with "
        "the exact loss, and not too well (a statistical test)",
        reference="docs/theory.md, the model",
        hypotheses=r"$\lvert z \rvert < 4.2$, and mean $z^2$ in $[.7, 1.4]$ of 50 values or more "
        r"(quick runs have fewer); InfoNCE, two negatives, every form of $\eta$",
        evidence=Evidence.OBSERVED,
        measure=_compare_draws(
            Sampled(), ("scl", "hscl", "ucl", "hucl", "ucl_joint", "hucl_joint")
        ),
        controls=(
            Control(
                "draws that are not tilted", "tilt", _compare_draws(Sampled(hard=False), ("hscl",))
            ),
            Control(
                "positives drawn independently of the anchor",
                "the joint law of anchor and positive",
                _compare_draws(Sampled(joint=False), ("ucl_joint",)),
            ),
        ),
    ),
)
