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

from theory.model.eta_kinds import EtaForm, SumReluPower
from theory.model.latent_classes import LatentClassModel
from theory.model.multisets import multisets


class Draws(NamedTuple):
    """Points of the model, by number."""

    label: Int[Array, " n"]
    anchor: Int[Array, " n"]
    positive: Int[Array, " n"]
    negatives: Int[Array, "n k"]


class _Laws(NamedTuple):
    """Log probabilities; `negatives` are by place for a product eta, else by multiset."""

    prior: Float[Array, " classes"]
    anchors: Float[Array, "classes n"]
    positives: Float[Array, "classes n n"]
    negatives: Float[Array, "classes n *places outcomes"]


def sampler(
    model: LatentClassModel, *, supervised: bool, hard: bool, joint: bool = True
) -> Callable[[PRNGKeyArray, int], Draws]:
    """A jitted sampler of one of the four laws.

    Args:
        model: the model.
        supervised: whether negatives come from the other classes (SCL, HSCL).
        hard: whether the k-tuple of negatives is tilted by eta.
        joint: whether positives follow the joint law of the model, if it has one.

    Returns:
        A function of a key and of the number of draws, which is static.

    Example:
        >>> import jax
        >>> from theory.model.random_models import neural_collapse
        >>> draw = sampler(neural_collapse(num_classes=2), supervised=True, hard=False)
        >>> draws = draw(jax.random.key(0), 100)
        >>> bool((draws.anchor != draws.negatives[:, 0]).all())
        True
    """
    laws = _laws(model, supervised=supervised, hard=hard, joint=joint)
    tuples = None
    if hard and model.eta.form is EtaForm.JOINT:
        tuples = jnp.array([places for places, _ in multisets(model.num_points, model.k)])
    return lambda key, count: _draw(key, laws, tuples, count)


@partial(jax.jit, static_argnums=3)
def _draw(key, laws: _Laws, tuples, count: int) -> Draws:
    keys = jax.random.split(key, 5)
    label = jax.random.categorical(keys[0], laws.prior, shape=(count,))
    anchor = jax.random.categorical(keys[1], laws.anchors[label])
    positive = jax.random.categorical(keys[2], laws.positives[label, anchor])
    negatives = jax.random.categorical(keys[3], laws.negatives[label, anchor])
    if tuples is not None:
        negatives = jax.random.permutation(keys[4], tuples[negatives], axis=1, independent=True)
    return Draws(label, anchor, positive, negatives)


def _laws(model: LatentClassModel, *, supervised: bool, hard: bool, joint: bool) -> _Laws:
    labels, points = range(model.num_classes), range(model.num_points)
    positives = [[model.positives(c, i, joint=joint) for i in points] for c in labels]
    others = [model.other_classes(c) if supervised else model.marginal for c in labels]
    with jax.enable_x64(True):
        negatives = [
            [_log_negatives(model, law, anchor, hard=hard) for anchor in points]
            for law in np.asarray(_log(others))
        ]
    return _Laws(_log(model.prior), _log(model.class_laws), _log(positives), jnp.array(negatives))


def _log_negatives(model: LatentClassModel, log_law, anchor: int, *, hard: bool):
    """The log law of the negatives of one anchor: (k, n), or one number for each multiset."""
    untilted = np.tile(log_law, (model.k, 1))
    if not hard:
        return untilted
    level, hardening = model.eta.float64()
    inputs = np.array([float(t + level) for t in model.gram[anchor]])
    if model.eta.form is EtaForm.JOINT:
        return _log_multisets(model, log_law, anchor)
    if hardening.log_factor is not None:
        tilt = np.tile(np.asarray(hardening.log_factor(jnp.array(inputs))), (model.k, 1))
    else:
        alone = np.eye(model.k)[:, None, :] * inputs[None, :, None]
        tilt = np.asarray(hardening.log_eta(jnp.array(alone)))
    dead = (untilted + tilt).max(axis=1, keepdims=True) == -np.inf
    return np.where(dead.any(), untilted, untilted + tilt)


def _log_multisets(model: LatentClassModel, log_law, anchor: int):
    tuples = multisets(model.num_points, model.k)
    places = np.array([place for place, _ in tuples])
    level, hardening = model.eta.float64()
    plain = np.log([float(orders) for _, orders in tuples]) + log_law[places].sum(axis=1)
    row = np.array(model.gram[anchor], dtype=object)
    if isinstance(model.eta, SumReluPower):
        assert hardening.log_factor is not None
        tilt = hardening.log_factor(jnp.array((row[places].sum(axis=1) + level).astype(np.float64)))
    else:
        tilt = hardening.log_eta(jnp.array((row + level).astype(np.float64))[places])
    hard = plain + np.asarray(tilt)
    return plain if hard.max() == -np.inf else hard


def _log(probabilities) -> Float[Array, "..."]:
    with np.errstate(divide="ignore"):
        return jnp.array(np.log(np.array(probabilities, dtype=object).astype(np.float64)))
