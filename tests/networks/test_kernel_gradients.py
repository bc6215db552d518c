"""The gradient with respect to kernels, in groups of images, against XLA's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from hcl_jax.networks import kernel_gradients
from hcl_jax.networks.kernel_gradients import kernel_gradient

CASES = [
    # images, height, width, before, after, size, stride, padding, whether by windows
    (7, 9, 8, 3, 4, (3, 3), 1, ((1, 1), (1, 1)), False),
    (7, 9, 8, 1, 4, (3, 3), 1, ((1, 1), (1, 1)), True),
    (7, 9, 8, 3, 2, (3, 3), 2, ((1, 1), (1, 1)), False),
    (8, 9, 8, 3, 2, (7, 5), 2, ((3, 3), (2, 2)), False),
    (7, 9, 8, 4, 2, (3, 2), 3, ((0, 2), (2, 1)), False),
    (7, 4, 5, 3, 2, (2, 2), 3, ((4, 0), (0, 5)), False),
    (7, 9, 8, 3, 2, (1, 1), 2, ((0, 0), (0, 0)), True),
    (1, 3, 3, 3, 2, (3, 3), 1, ((0, 0), (0, 0)), False),
]


def of_xla(maps, out, size, stride, padding):
    def convolution(kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            maps, kernel, (stride, stride), padding, dimension_numbers=numbers
        )

    zeros = jnp.zeros((*size, maps.shape[-1], out.shape[-1]), maps.dtype)
    return jax.vjp(convolution, zeros)[1](out)[0]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("group_numbers", [1, 2**20])
def test_groups_of_images_give_the_gradient_of_xla(case, group_numbers, x64, monkeypatch):
    """With one number to a group, a group has as few images as the rule allows."""
    monkeypatch.setattr(kernel_gradients, "GROUP_NUMBERS", group_numbers)
    n, height, width, before, after, size, stride, padding, by_windows = case
    keys = jax.random.split(jax.random.key(0))
    maps = jax.random.normal(keys[0], (n, height, width, before))
    sides = zip((height, width), size, padding, strict=True)
    shape = [(side + sum(zeros) - one) // stride + 1 for side, one, zeros in sides]
    out = jax.random.normal(keys[1], (n, *shape, after))
    assert kernel_gradients._is_by_windows(maps, out, size) == by_windows
    options = {"size": size, "stride": stride, "padding": padding}
    found = jax.jit(functools.partial(kernel_gradient, **options))(maps, out)
    expected = of_xla(maps, out, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_sums_of_bfloat16_are_float32():
    """In bfloat16, 256 + 1 = 256."""
    ones = jnp.ones((64, 8, 8, 2), jnp.bfloat16)
    options = {"size": (3, 3), "stride": 1, "padding": ((1, 1), (1, 1))}
    found = kernel_gradient(ones, ones, **options)
    assert found.dtype == jnp.float32
    assert (found[1, 1] == 64 * 64).all()
    assert (found[0, 0] == 64 * 49).all()


def test_groups_vary_over_devices(monkeypatch):
    monkeypatch.setattr(kernel_gradients, "GROUP_NUMBERS", 1)
    maps = jax.random.normal(jax.random.key(0), (8, 4, 4, 2))
    options = {"size": (3, 3), "stride": 1, "padding": ((1, 1), (1, 1))}

    def both(maps, out):
        return jax.lax.psum(kernel_gradient(maps, out, **options), "devices")

    mesh = jax.make_mesh((2,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("devices")
    sharded = jax.shard_map(both, mesh=mesh, in_specs=spec, out_specs=PartitionSpec())
    expected = kernel_gradient(maps, maps, **options)
    np.testing.assert_allclose(jax.jit(sharded)(maps, maps), expected, rtol=1e-5, atol=1e-5)


def test_a_group_holds_its_numbers_and_adds_up_seldom():
    """The rule at the shapes of a ResNet-18 for 32 x 32 images: 2 to 16 images, or all."""
    shapes = ((32, 64), (16, 128), (8, 256), (4, 512))
    found = [
        kernel_gradients._images_at_once(
            jnp.zeros((1, side, side, channels)), jnp.zeros((1, side, side, channels)), (3, 3)
        )
        for side, channels in shapes
    ]
    assert found == [2, 4, 16, 128]
