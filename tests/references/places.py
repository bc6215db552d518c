"""A batch, and one call of an objective on it: on one device, and on each of two."""

import jax
import jax.numpy as jnp

import hcl_jax
from hcl_jax import hardening, parallel

EMBEDDINGS = jax.random.normal(jax.random.key(0), (8, 3))
EMBEDDINGS /= jnp.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
LABELS = jnp.array([0, 0, 1, 1, 0, 2, 2, 1])


def on_one_device(embeddings, labels, **options):
    given = {"supervised": False, "hardening": hardening.exponential(2.0), **options}
    return hcl_jax.objective(embeddings, labels, **given)


def on_two_devices(embeddings, labels, **options):
    """The same call on each of two devices, each with one half of the rows."""
    given = {"supervised": False, "hardening": hardening.exponential(2.0), **options}

    def loss(embeddings, labels):
        return parallel.objective(embeddings, labels, axis_name="devices", **given)

    halves = [jnp.reshape(x, (2, len(x) // 2, *x.shape[1:])) for x in (embeddings, labels)]
    return jax.vmap(loss, axis_name="devices")(*halves)[0]


PLACES = {"one device": on_one_device, "two devices": on_two_devices}
