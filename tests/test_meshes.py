"""Arrays spread over a mesh have the loss of one device, without a word from the user."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import hcl_jax

EMBEDDINGS = jax.random.normal(jax.random.key(0), (24, 4))
EMBEDDINGS /= jnp.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
LABELS = jnp.arange(24) % 5
FORMS = {
    "dense": {"implementation": "dense"},
    "blockwise": {"implementation": "blockwise"},
    "samples": {"num_negatives": 4, "key": jax.random.key(0)},
}


@pytest.fixture(params=[AxisType.Explicit, AxisType.Auto], ids=lambda kind: kind.name)
def mesh(request):
    return jax.make_mesh((4,), ("data",), axis_types=(request.param,), devices=jax.devices()[:4])


def spread(mesh):
    return [
        jax.device_put(array, NamedSharding(mesh, PartitionSpec("data")))
        for array in (EMBEDDINGS, LABELS)
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loss", [hcl_jax.hscl, hcl_jax.hucl])
def test_a_mesh_changes_no_value_and_no_gradient(mesh, form, loss):
    def value(z, y):
        return loss(z, y, beta=2.0, **FORMS[form])

    both = jax.jit(jax.value_and_grad(value))
    expected, gradient = both(EMBEDDINGS, LABELS)
    z, y = spread(mesh)
    np.testing.assert_allclose(value(z, y), expected, rtol=1e-6)
    found, found_gradient = both(z, y)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found_gradient, gradient, atol=1e-7)
    with jax.set_mesh(mesh):
        np.testing.assert_allclose(jax.jit(value)(z, y), expected, rtol=1e-6)


def test_the_gradient_is_spread_like_the_embeddings():
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4])
    z, y = spread(mesh)
    gradient = jax.jit(jax.grad(lambda z: hcl_jax.hscl(z, y, beta=2.0)))(z)
    assert gradient.sharding.spec == PartitionSpec("data", None)
