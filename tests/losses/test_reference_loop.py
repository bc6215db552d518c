"""The samples estimator against the loop of the authors' algorithm, fed the same draws.

The algorithm, as its authors' code performs it: for each anchor and each member of its class,
itself included, K indices are drawn with replacement by the tilted weights of the anchor's
negatives, and the loss is ``-log(e^{s_p} / (e^{s_p} + mean_k e^{s_k}))``, pooled over all pairs of
the batch.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax import hardening, losses, pairs
from hcl_jax.losses import _guide_tables

LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 2, 1, 0])
BETA, NUM_NEGATIVES = 3.0, 16


def embeddings():
    vectors = np.random.default_rng(0).normal(size=(len(LABELS), 4))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reference_loop(z, draws):
    """Numpy, in the order of the loop; `draws` are the indices numpy's `choice` would have made."""
    total, count = 0.0, 0
    for i in range(len(z)):
        for p in np.flatnonzero(LABELS == LABELS[i]):
            positive = np.exp(z[i] @ z[p])
            negative = np.mean([np.exp(z[i] @ z[n]) for n in draws[i, p]])
            total += -np.log(positive / (positive + negative))
            count += 1
    return total / count


def recorded_draws(monkeypatch, key, z, everyone):
    """The draws of the shipped estimator, as (anchor, positive) -> K indices of the batch."""
    calls = []
    sample = _guide_tables.sample

    def recorder(tables, law, bits):
        drawn = sample(tables, law, bits)
        jax.debug.callback(lambda *call: calls.append(call), law[:, 0], drawn)
        return drawn

    monkeypatch.setattr(_guide_tables, "sample", recorder)
    estimate = functools.partial(
        losses.sampled_contrastive_loss,
        num_negatives=NUM_NEGATIVES,
        hardening=hardening.exponential(BETA),
    )
    jax.block_until_ready(jax.jit(estimate)(key, z, everyone))
    jax.effects_barrier()
    monkeypatch.setattr(_guide_tables, "sample", sample)
    ((rows, drawn),) = calls
    order = np.argsort(LABELS, kind="stable")
    draws, at = {}, 0
    for i in range(len(LABELS)):
        for p in np.flatnonzero(LABELS[order] == LABELS[i]):
            assert rows[at] == i
            draws[i, order[p]] = order[drawn[at]]
            at += 1
    return draws


@pytest.mark.parametrize("supervised", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_same_draws_same_loss_and_gradient(x64, monkeypatch, supervised):
    z, key = embeddings(), jax.random.key(7)
    rows = pairs.rows(jnp.asarray(LABELS))
    if supervised:
        everyone = pairs.supervised(rows, self_positives=True)
    else:
        everyone = pairs.unsupervised(rows, self_positives=True, self_negatives=True)
    draws = recorded_draws(monkeypatch, key, jnp.asarray(z), everyone)
    for (i, _), indices in draws.items():
        if supervised:
            assert (LABELS[indices] != LABELS[i]).all()

    def loss(z):
        found = losses.sampled_contrastive_loss(
            key,
            z,
            everyone,
            num_negatives=NUM_NEGATIVES,
            hardening=hardening.exponential(BETA),
        )
        return losses.average_loss(found)

    value, gradient = jax.jit(jax.value_and_grad(loss))(z)
    np.testing.assert_allclose(value, reference_loop(z, draws), rtol=1e-12)
    direction = np.random.default_rng(1).normal(size=z.shape)
    step = 1e-6
    slope = (
        reference_loop(z + step * direction, draws) - reference_loop(z - step * direction, draws)
    ) / (2 * step)
    np.testing.assert_allclose(np.sum(np.asarray(gradient) * direction), slope, rtol=1e-7)
