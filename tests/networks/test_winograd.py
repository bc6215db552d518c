"""Winograd's convolution against XLA's: values, gradients, groups of images, rounding."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from hcl_jax.networks import convolutions, winograd
from hcl_jax.networks.convolutions import convolve

PADDINGS = [((1, 1), (1, 1)), ((0, 0), (0, 0)), ((0, 1), (2, 0)), ((2, 2), (2, 2))]


def of_xla(maps, kernel, padding):
    return convolutions._forward(maps, kernel, stride=1, padding=padding)


def drawn(images, side, before, after):
    keys = jax.random.split(jax.random.key(0))
    maps = jax.random.normal(keys[0], (images, side, side + 1, before))
    return maps, jax.random.normal(keys[1], (3, 3, before, after)) / np.sqrt(9 * before)


@pytest.mark.parametrize("group_numbers", [1, 2**21])
@pytest.mark.parametrize("padding", PADDINGS)
def test_values_and_gradients_are_those_of_xla(padding, group_numbers, x64, monkeypatch):
    """With one number to a group, every image is a group."""
    monkeypatch.setattr(winograd, "GROUP_NUMBERS", group_numbers)
    maps, kernel = drawn(3, 5, 2, 4)

    @jax.jit
    def differences(maps, kernel):
        expected, pull_back = jax.vjp(functools.partial(of_xla, padding=padding), maps, kernel)
        out = jnp.cos(jnp.arange(expected.size, dtype=maps.dtype)).reshape(expected.shape)
        by_maps, by_kernel = pull_back(out)
        back = tuple(tuple(2 - zeros for zeros in ends) for ends in padding)
        return (
            winograd.winograd(maps, kernel, padding=padding) - expected,
            winograd.winograd(out, kernel, padding=back, turned=True) - by_maps,
            winograd.kernel_gradient(maps, out, padding=padding) - by_kernel,
        )

    for difference in differences(maps, kernel):
        np.testing.assert_allclose(difference, 0, atol=1e-12)


def test_results_are_rounded_about_as_those_of_the_sum():
    """A product that enters an output has 25/9 of the variance of the terms of the sum.

    So errors are 5/3 times as large if all sums are alike; they are not, and twice that is allowed.
    """
    maps, kernel = drawn(4, 8, 256, 32)
    padding = PADDINGS[0]
    ours = functools.partial(winograd.winograd, padding=padding)
    plain = functools.partial(of_xla, padding=padding)
    found, rounded = (jax.jit(function)(maps, kernel) for function in (ours, plain))
    with jax.enable_x64(True):
        exact = np.asarray(jax.jit(plain)(*(np.asarray(x, np.float64) for x in (maps, kernel))))
    errors = [np.sqrt(np.mean((np.asarray(x) - exact) ** 2)) for x in (found, rounded)]
    assert 0 < errors[0] < 2 * 5 / 3 * errors[1]


def test_many_channels_are_convolved_by_products():
    maps, kernel = drawn(4, 8, 256, 256)
    padding = PADDINGS[0]

    def loss(function, maps, kernel):
        return jnp.sum(jnp.sin(function(maps, kernel)))

    def gradient(function):
        return jax.jit(jax.value_and_grad(functools.partial(loss, function), (0, 1)))

    ours = gradient(lambda maps, kernel: convolve(maps, kernel, 1, padding))
    text = ours.lower(maps, kernel).as_text()
    assert "stablehlo.convolution" not in text
    assert len(re.findall(r"stablehlo\.dot_general", text)) == 3 * 16
    found = ours(maps, kernel)
    expected = gradient(functools.partial(of_xla, padding=padding))(maps, kernel)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "dtype"),
    [
        ((4, 8, 8, 64), (3, 3, 64, 128), 1, "float32"),
        ((4, 8, 8, 128), (3, 3, 128, 64), 1, "float32"),
        ((4, 8, 8, 128), (3, 3, 128, 128), 2, "float32"),
        ((4, 8, 8, 128), (5, 5, 128, 128), 1, "float32"),
        ((3, 8, 8, 128), (3, 3, 128, 128), 1, "float32"),
        ((4, 8, 8, 128), (3, 3, 128, 128), 1, "bfloat16"),
    ],
)
def test_other_convolutions_are_not(shape, kernel, stride, dtype):
    options = {"padding": PADDINGS[0], "channels": convolutions.MANY_CHANNELS}
    maps, kernel = (jax.ShapeDtypeStruct(one, dtype) for one in (shape, kernel))
    assert not convolutions._is_for_winograd(maps, kernel, stride, **options)
    many = jax.ShapeDtypeStruct((4, 8, 8, 128), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 128, 128), jnp.float32)
    assert convolutions._is_for_winograd(many, kernel, 1, **options)


def test_groups_vary_over_devices(monkeypatch):
    monkeypatch.setattr(winograd, "GROUP_NUMBERS", 1)
    maps, kernel = drawn(4, 3, 2, 2)
    padding = PADDINGS[0]

    def both(maps, kernel):
        out = winograd.winograd(maps, kernel, padding=padding)
        by_kernel = winograd.kernel_gradient(maps, out, padding=padding)
        return out, jax.lax.psum(by_kernel, "devices")

    mesh = jax.make_mesh((2,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    images, shared = PartitionSpec("devices"), PartitionSpec()
    sharded = jax.shard_map(both, mesh=mesh, in_specs=(images, shared), out_specs=(images, shared))
    out = of_xla(maps, kernel, padding)
    by_kernel = jax.vjp(lambda kernel: of_xla(maps, kernel, padding), kernel)[1](out)[0]
    for found, expected in zip(jax.jit(sharded)(maps, kernel), (out, by_kernel), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
