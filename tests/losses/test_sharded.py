"""The losses of one shard: what they refuse, and that both estimators check alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax import hardening, pairs, psi
from hcl_jax.losses import (
    contrastive_loss,
    sharded_contrastive_loss,
    sharded_sampled_contrastive_loss,
)

LABELS = jnp.array([[0, 0, 1], [1, 0, 2]])


def over_devices(loss, z, labels=LABELS, rows=3):
    """The losses of two virtual devices, each with its own rows."""

    def of_one_device(z, labels):
        first = rows * jax.lax.axis_index("devices")
        return loss(z, pairs.supervised(pairs.rows(labels, first=first)), axis_name="devices")

    return jax.vmap(of_one_device, axis_name="devices")(z, labels)


def embeddings(dtype=jnp.float32):
    return jax.random.normal(jax.random.key(0), (2, 3, 4)).astype(dtype)


sampled = functools.partial(sharded_sampled_contrastive_loss, jax.random.key(0), num_negatives=2)
BOTH = {"weights": sharded_contrastive_loss, "samples": sampled}


@pytest.mark.parametrize("exchange", ["gather", "ring"])
def test_the_shards_have_the_losses_of_the_batch(exchange):
    z = embeddings()
    loss = functools.partial(sharded_contrastive_loss, exchange=exchange)
    found = jax.jit(functools.partial(over_devices, loss))(z)
    keys = pairs.supervised(pairs.rows(LABELS.reshape(6)))
    dense = jax.jit(functools.partial(contrastive_loss, implementation="dense"))
    wanted = dense(z.reshape(6, 4), keys)
    np.testing.assert_allclose(found.total.reshape(6), wanted.total, rtol=1e-5)
    np.testing.assert_array_equal(found.positives.reshape(6), wanted.positives)
    np.testing.assert_array_equal(found.defined.reshape(6), wanted.defined)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("loss", BOTH.values(), ids=BOTH)
def test_shapes_dtypes_and_options_are_checked(loss):
    with pytest.raises(
        ValueError, match=r"pair keys of the embeddings as anchors must have shape \(4,\)"
    ):
        over_devices(loss, jnp.ones((2, 4, 4)))
    with pytest.raises(TypeError, match="embeddings must be floating point, got dtype int32"):
        over_devices(loss, embeddings(jnp.int32))
    with pytest.raises(ValueError, match=r"embeddings must have shape \(n, dim\)"):
        over_devices(loss, embeddings()[..., 0])
    with pytest.raises(ValueError, match="estimator needs a product hardening"):
        over_devices(functools.partial(loss, hardening=hardening.threshold_any(0.0)), embeddings())
    with pytest.raises(TypeError, match=r"hardening must be a Hardening.*got 5.0"):
        over_devices(functools.partial(loss, hardening=5.0), embeddings())
    with pytest.raises(TypeError, match=r"psi must be a Psi.*got the function infonce"):
        over_devices(functools.partial(loss, psi=psi.infonce), embeddings())


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_exchange_is_refused():
    loss = functools.partial(sharded_contrastive_loss, exchange="nonsense")
    with pytest.raises(
        ValueError, match="exchange must be one of 'gather', 'ring', got 'nonsense'"
    ):
        over_devices(loss, embeddings())


def test_weights_over_devices_need_infonce():
    loss = functools.partial(sharded_contrastive_loss, psi=psi.triplet_sum())
    with pytest.raises(ValueError, match="needs InfoNCE, and this psi is a separable loss"):
        over_devices(loss, embeddings())
    with pytest.raises(ValueError, match="no limit for k to infinity"):
        over_devices(
            functools.partial(sharded_contrastive_loss, psi=psi.triplet_max()), embeddings()
        )
    assert over_devices(functools.partial(sampled, psi=psi.triplet_max()), embeddings())


@pytest.mark.usefixtures("unchecked")
def test_samples_over_devices_need_a_number_of_draws():
    loss = functools.partial(sharded_sampled_contrastive_loss, jax.random.key(0), num_negatives=0)
    with pytest.raises(ValueError, match="num_negatives must be at least 1, got 0"):
        over_devices(loss, embeddings())
