"""Batches, and the comparison of one form of the loss with another."""

import jax
import jax.numpy as jnp
import numpy as np

from hcl_jax import pairs


def batch(count=53, dim=5, classes=6, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    embeddings = jax.random.normal(keys[0], (count, dim))
    embeddings /= jnp.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = jax.random.randint(keys[1], (count,), 0, classes).at[0].set(classes)
    return embeddings, labels, jax.random.uniform(keys[2], (count,), minval=0.5)


def weighted(weights, parts):
    """A final scalar in which every anchor has a weight of its own."""
    return jnp.sum(weights[: len(parts.total)] * parts.total), parts


def corner_pairs(everyone, candidates, supervised, reference):
    if supervised:
        return pairs.supervised(everyone, candidates, same_batch=True, self_positives=reference)
    return pairs.unsupervised(
        everyone,
        candidates,
        same_batch=True,
        self_positives=reference,
        self_negatives=reference,
    )


def value_and_gradients(loss, *embeddings):
    places = tuple(range(len(embeddings)))
    (value, parts), gradients = jax.jit(jax.value_and_grad(loss, argnums=places, has_aux=True))(
        *embeddings
    )
    return value, parts, gradients


def assert_same(one, other, rtol):
    np.testing.assert_allclose(one[0], other[0], rtol=rtol)
    np.testing.assert_array_equal(one[1].positives, other[1].positives)
    np.testing.assert_array_equal(one[1].defined, other[1].defined)
    np.testing.assert_allclose(one[1].total, other[1].total, rtol=rtol, atol=rtol)
    for got, wanted in zip(one[2], other[2], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * np.abs(wanted).max())


def float64_truth(loss, *arguments):
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a, np.float64)) for a in arguments]
        return jax.tree.map(np.asarray, jax.value_and_grad(jax.jit(loss))(*wide))
