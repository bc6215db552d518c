"""Batch norm against Flax's: values, statistics, gradients, precision, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from hcl_jax.networks.batch_norm import BatchNorm


def pair(channels, dtype=jnp.float32, axis_name=None):
    """Ours and Flax's, with the same random parameters and statistics."""
    drawn = jax.random.normal(jax.random.key(1), (4, channels), dtype)
    modules = []
    for kind in (BatchNorm, nnx.BatchNorm):
        module = kind(channels, momentum=0.9, axis_name=axis_name, rngs=nnx.Rngs(0))
        for variable, value in zip((module.scale, module.bias, module.mean), drawn, strict=False):
            variable.set_value(value)
        module.var.set_value(jnp.exp(drawn[3]))
        modules.append(module)
    return modules


def of_variables(module):
    """The network as a function of maps and parameters, to outputs and statistics."""
    graph, *parts = nnx.split(module, nnx.Param, ...)
    params, statistics = (nnx.to_pure_dict(part) for part in parts)

    def apply(maps, params):
        merged = nnx.merge(graph, params, statistics)
        return merged(maps), nnx.to_pure_dict(nnx.state(merged, nnx.BatchStat))

    return apply, params


@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (8, 6)])
def test_values_statistics_and_gradients_are_those_of_flax(shape, training, mean, x64):
    maps = mean + jax.random.normal(jax.random.key(0), shape)
    found = []
    for module in pair(6, jnp.float64):
        module.train() if training else module.eval()
        apply, params = of_variables(module)

        def value(maps, params, apply=apply):
            out, statistics = apply(maps, params)
            return jnp.sum(jnp.sin(out + jnp.arange(out.size).reshape(shape))), (out, statistics)

        found.append(jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True))(maps, params))
    for ours, theirs in zip(*(jax.tree.leaves(one) for one in found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_bfloat16_is_normalised_in_float32():
    maps = jax.random.normal(jax.random.key(0), (64, 3), jnp.bfloat16)
    ours, theirs = pair(3)
    out = ours(maps)
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, theirs(maps.astype(jnp.float32)))


def test_a_constant_channel_is_left_at_its_bias():
    """The variance is zero: nothing is divided by it, forward or backward."""
    apply, params = of_variables(pair(2)[0])
    maps = jnp.full((5, 2), 3.0)
    gradient = jax.grad(lambda maps: jnp.sum(jnp.sin(apply(maps, params)[0])))(maps)
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(apply(maps, params)[0], jnp.tile(params["bias"], (5, 1)))


def test_gradients_over_devices_are_those_of_the_whole_batch(x64):
    maps = jax.random.normal(jax.random.key(0), (8, 3))
    weights = jnp.cos(jnp.arange(24.0)).reshape(8, 3)

    def gradient(axis_name):
        apply, params = of_variables(pair(3, jnp.float64, axis_name)[0])

        def loss(params, maps, weights):
            part = jnp.sum(weights * jnp.sin(apply(maps, params)[0]))
            return part if axis_name is None else jax.lax.psum(part, axis_name)

        return jax.grad(loss, (0, 1)), params

    whole, params = gradient(None)
    parted, _ = gradient("devices")
    mesh = jax.make_mesh((2,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, shared = PartitionSpec("devices"), PartitionSpec()
    parted = jax.shard_map(
        parted, mesh=mesh, in_specs=(shared, rows, rows), out_specs=(shared, rows)
    )
    found, expected = (jax.jit(f)(params, maps, weights) for f in (parted, whole))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
