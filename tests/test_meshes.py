"""Arrays spread over a mesh have the loss of one device, without a word from the user."""

import itertools

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


CASES = [(AxisType.Explicit, hcl_jax.hscl, form) for form in FORMS]
CASES += [(AxisType.Auto, hcl_jax.hucl, "blockwise")]
OTHER_CASES = [
    case
    for case in itertools.product(AxisType, (hcl_jax.hscl, hcl_jax.hucl), FORMS)
    if case not in CASES and case[0] is not AxisType.Manual
]


def shown(value):
    return getattr(value, "name", None) or getattr(value, "__name__", value)


def mesh_of(kind):
    return jax.make_mesh((4,), ("data",), axis_types=(kind,), devices=jax.devices()[:4])


def spread(mesh):
    return [
        jax.device_put(array, NamedSharding(mesh, PartitionSpec("data")))
        for array in (EMBEDDINGS, LABELS)
    ]


@pytest.mark.parametrize(("kind", "loss", "form"), CASES, ids=shown)
def test_a_mesh_changes_no_value_and_no_gradient(kind, loss, form):
    mesh = mesh_of(kind)

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


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "loss", "form"), OTHER_CASES, ids=shown)
def test_a_mesh_changes_nothing_in_every_way(kind, loss, form):
    test_a_mesh_changes_no_value_and_no_gradient(kind, loss, form)


def test_the_gradient_is_spread_like_the_embeddings():
    mesh = mesh_of(AxisType.Explicit)
    z, y = spread(mesh)
    gradient = jax.jit(jax.grad(lambda z: hcl_jax.hscl(z, y, beta=2.0)))(z)
    assert gradient.sharding.spec == PartitionSpec("data", None)
