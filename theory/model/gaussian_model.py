"""The latent-class model on a continuum: Gaussian classes and Monte-Carlo losses.

Classes are balanced and positives conditionally independent. The synthetic training data of this
repository are draws from such a model, with the means of `hcl_jax.data.gaussian_class_means`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from hcl_jax.hardening import Hardening
from hcl_jax.psi import Psi

Features = Callable[[Float[Array, "n dim"]], Float[Array, "n embedding"]]


AT_ONCE = 100
"""Anchors whose tuples are in memory at one time."""


class GaussianModel(NamedTuple):
    """Balanced classes ``N(mean_c, noise^2 I)``."""

    means: Float[Array, "classes dim"]
    noise: Float[Array, ""] | float


class Estimate(NamedTuple):
    """Monte-Carlo means and standard errors of the plain and of the hardened loss."""

    plain: Float[Array, ""]
    plain_error: Float[Array, ""]
    hard: Float[Array, ""]
    hard_error: Float[Array, ""]


@partial(jax.jit, static_argnames=("features", "k", "anchors", "tuples"))
def estimate_losses(
    key: PRNGKeyArray,
    model: GaussianModel,
    features: Features,
    *,
    psi: Psi,
    hardening: Hardening,
    k: int,
    supervised: Bool[Array, ""] | bool,
    anchors: int = 1000,
    tuples: int = 200,
) -> Estimate:
    """SCL and HSCL (negatives of other classes), or UCL and HUCL, of a representation.

    Means over `anchors` independent pairs of anchor and positive, with `tuples` k-tuples of
    negatives each. The tilted expectation given an anchor is a weighted mean over its k-tuples,
    with a bias of the order of one over their number.
    """
    count, least_shift = len(model.means), jnp.asarray(supervised, int)

    def of_anchor(key: PRNGKeyArray) -> tuple[Float[Array, ""], Float[Array, ""]]:
        label_key, pair_key, class_key, noise_key = jax.random.split(key, 4)
        label = jax.random.randint(label_key, (), 0, count)
        shift = jax.random.randint(class_key, (tuples, k), least_shift, count)
        pair = _points(pair_key, model, jnp.full(2, label))
        negatives = _points(noise_key, model, ((label + shift) % count).ravel())
        x, positive = features(pair)
        similarities = (features(negatives) @ x).reshape(tuples, k)
        losses = psi.of_differences(similarities - positive @ x)
        weights = jax.nn.softmax(hardening.log_eta(similarities))
        return losses.mean(), jnp.sum(weights * losses)

    plain, hard = jax.lax.map(of_anchor, jax.random.split(key, anchors), batch_size=AT_ONCE)
    error = anchors**-0.5
    return Estimate(plain.mean(), plain.std(ddof=1) * error, hard.mean(), hard.std(ddof=1) * error)


def _points(
    key: PRNGKeyArray, model: GaussianModel, labels: Int[Array, " n"]
) -> Float[Array, "n dim"]:
    """One point of each of the classes."""
    noise = jax.random.normal(key, (len(labels), model.means.shape[1]))
    return model.means[labels] + model.noise * noise
