"""Draws (anchor, positive, k negatives) from a finite model, under SCL, HSCL, UCL or HUCL.

Where eta is a product the negatives are drawn one by one from their tilted laws; where it is a
joint function, the multiset of the k negatives is drawn from its exact law and put in random order.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from theory.model.kinds import EtaForm
from theory.model.latent_classes import LatentClassModel
from theory.model.multisets import multisets
from theory.model.rationals import log_probabilities


class SampledTuples(NamedTuple):
    """Labels, and points of the model by number."""

    label: Int[Array, " n"]
    anchor: Int[Array, " n"]
    positive: Int[Array, " n"]
    negatives: Int[Array, "n k"]


class _LogLaws(NamedTuple):
    """Log probabilities; `negatives` are by place for a product eta, else by multiset."""

    prior: Float[Array, " classes"]
    anchors: Float[Array, "classes n"]
    positives: Float[Array, "classes n n"]
    negatives: Float[Array, "classes n *places outcomes"]


def sampler(
    model: LatentClassModel, *, supervised: bool, hard: bool, joint: bool = True
) -> Callable[[PRNGKeyArray, int], SampledTuples]:
    """A jitted function of a key and of the (static) number of draws, for one of the four laws.

    Negatives come from the other classes if `supervised` (SCL, HSCL), and are tilted by eta if
    `hard`; positives follow the joint law of the model, if it has one and `joint` is set.
    """
    laws = _log_laws(model, supervised=supervised, hard=hard, joint=joint)
    tuples = None
    if hard and model.eta.form is EtaForm.JOINT:
        tuples = jnp.array([places for places, _ in multisets(model.num_points, model.k)])
    return lambda key, count: _draw(key, laws, tuples, count)


@partial(jax.jit, static_argnums=3)
def _draw(
    key: PRNGKeyArray, laws: _LogLaws, tuples: Int[Array, "tuples k"] | None, count: int
) -> SampledTuples:
    """So many independent draws; `tuples` are the multisets that the negatives are drawn from."""
    keys = jax.random.split(key, 5)
    label = jax.random.categorical(keys[0], laws.prior, shape=(count,))
    anchor = jax.random.categorical(keys[1], laws.anchors[label])
    positive = jax.random.categorical(keys[2], laws.positives[label, anchor])
    negatives = jax.random.categorical(keys[3], laws.negatives[label, anchor])
    if tuples is not None:
        negatives = jax.random.permutation(keys[4], tuples[negatives], axis=1, independent=True)
    return SampledTuples(label, anchor, positive, negatives)


def _log_laws(model: LatentClassModel, *, supervised: bool, hard: bool, joint: bool) -> _LogLaws:
    """The laws of one loss."""
    labels, points = range(model.num_classes), range(model.num_points)
    positives = [[model.positives(c, i, joint=joint) for i in points] for c in labels]
    others = [model.other_classes(c) if supervised else model.marginal for c in labels]
    with jax.enable_x64(True):
        negatives = [
            [_log_negatives(model, law, anchor, hard=hard) for anchor in points]
            for law in log_probabilities(others)
        ]
    return _LogLaws(
        prior=jnp.array(log_probabilities(model.prior)),
        anchors=jnp.array(log_probabilities(model.class_laws)),
        positives=jnp.array(log_probabilities(positives)),
        negatives=jnp.array(negatives),
    )


def _log_negatives(
    model: LatentClassModel, log_law: Float[np.ndarray, " n"], anchor: int, *, hard: bool
) -> Float[np.ndarray, "*places outcomes"]:
    """The log law of the negatives of one anchor: (k, n), or one number for each multiset."""
    untilted = np.tile(log_law, (model.k, 1))
    if not hard:
        return untilted
    if model.eta.form is EtaForm.JOINT:
        return _log_multisets(model, log_law, anchor)
    level, hardening = model.eta.float64()
    inputs = np.array([float(t + level) for t in model.gram[anchor]])
    if hardening.log_factor is not None:
        tilt = np.tile(np.asarray(hardening.log_factor(jnp.array(inputs))), (model.k, 1))
    else:
        alone = np.eye(model.k)[:, None, :] * inputs[None, :, None]
        tilt = np.asarray(hardening.log_eta(jnp.array(alone)))
    vanishes = (untilted + tilt).max(axis=1) == -np.inf
    return untilted if vanishes.any() else untilted + tilt


def _log_multisets(
    model: LatentClassModel, log_law: Float[np.ndarray, " n"], anchor: int
) -> Float[np.ndarray, " outcomes"]:
    """The log law of the multiset of the negatives of one anchor, for a joint eta."""
    tuples = multisets(model.num_points, model.k)
    places = np.array([place for place, _ in tuples])
    level, hardening = model.eta.float64()
    untilted = np.log([float(orders) for _, orders in tuples]) + log_law[places].sum(axis=1)
    seen = np.array(model.gram[anchor], dtype=object)[places]
    if model.eta.of_sum:
        seen = seen.sum(axis=1, keepdims=True)
    tilt = hardening.log_eta(jnp.array((seen + level).astype(np.float64)))
    hard = untilted + np.asarray(tilt)
    return untilted if hard.max() == -np.inf else hard
