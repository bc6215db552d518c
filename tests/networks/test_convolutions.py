"""Convolutions and their gradients against sums over pixels, and how CPUs compile them."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from hcl_jax.data import Split
from hcl_jax.networks import convolutions, resnet
from hcl_jax.networks.convolutions import convolve, side_by_side, square_convolution
from hcl_jax.training import Program, init_state, traced_objective, train_epoch

CASES = [
    (image, size, stride, padding)
    for image in ((2, 2), (7, 6))
    for size in (1, 2, 3)
    for stride in (1, 2, 3)
    for padding in (((0, 0), (0, 0)), ((1, 1), (1, 1)), ((0, 1), (2, 0)))
]


def drawn(image, size, copies=()):
    rng = np.random.default_rng(0)
    shapes = (*copies, 3, *image, 2), (*copies, size, size, 2, 4)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def by_pixels(maps, kernel, stride, padding):
    """The sum of the definition, pixel by pixel, in double precision."""
    maps, kernel = np.asarray(maps, float), np.asarray(kernel, float)
    padded = np.pad(maps, ((0, 0), *padding, (0, 0)))
    size = len(kernel)
    height, width = (max(0, (side - size) // stride + 1) for side in padded.shape[1:3])
    out = np.zeros((len(maps), height, width, kernel.shape[-1]))
    for y in range(height):
        for x in range(width):
            window = padded[:, y * stride : y * stride + size, x * stride : x * stride + size]
            out[:, y, x] = np.tensordot(window, kernel, 3)
    return out


def gradient_by_pixels(maps, kernel, out, stride, padding):
    """The gradient of ``sum(out * convolution)``, which is linear in maps and in the kernel."""
    by_maps, by_kernel = np.zeros(maps.shape), np.zeros(kernel.shape)
    for place in np.ndindex(maps.shape[1:]):
        unit = np.zeros((1, *maps.shape[1:]))
        unit[0, *place] = 1
        by_maps[:, *place] = np.tensordot(out, by_pixels(unit, kernel, stride, padding)[0], 3)
    for place in np.ndindex(kernel.shape):
        unit = np.zeros(kernel.shape)
        unit[place] = 1
        by_kernel[place] = np.sum(out * by_pixels(maps, unit, stride, padding))
    return by_maps, by_kernel


@pytest.mark.parametrize(
    ("image", "size", "stride", "padding", "few"),
    [(*case, few) for case in CASES for few in (True, False) if few or case[0] == (7, 6)],
)
def test_values_and_gradients_are_the_sums_over_pixels(
    image, size, stride, padding, few, monkeypatch
):
    """In the forms of few channels, and in those of more, which such kernels would not have."""
    if not few:
        monkeypatch.setattr(convolutions, "FEW_OUTPUTS", 0)
        monkeypatch.setattr(convolutions, "FEW_CHANNELS", 0)
    maps, kernel = drawn(image, size)
    expected = by_pixels(maps, kernel, stride, padding)
    out = np.cos(np.arange(expected.size, dtype=np.float32)).reshape(expected.shape)

    @jax.jit
    def value_and_gradients(maps, kernel):
        found, pull_back = jax.vjp(lambda a, b: convolve(a, b, stride, padding), maps, kernel)
        return found, pull_back(out)

    found, gradients = value_and_gradients(maps, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    expected = gradient_by_pixels(maps, kernel, out, stride, padding)
    for part, by_hand in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(part, by_hand, atol=1e-5)


@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((0, 1), (2, 0))])
@pytest.mark.parametrize("size", [2, 3])
def test_images_side_by_side_do_not_see_each_other(size, padding):
    """Outputs that see two images, or zeros between them that are too few, would be off."""
    maps, kernel = drawn((7, 6), size)
    found = jax.jit(side_by_side, static_argnames="padding")(maps, kernel, padding=padding)
    np.testing.assert_allclose(found, by_pixels(maps, kernel, 1, padding), atol=1e-5)


def test_small_images_of_few_channels_are_laid_side_by_side():
    """The shapes that XLA gives to one thread, forward and backward; and what is left to it."""
    keys = jax.random.split(jax.random.key(0))
    maps = jax.random.normal(keys[0], (3, 8, 8, 64))
    kernel = jax.random.normal(keys[1], (3, 3, 64, 64)) / 24
    padding = ((1, 1), (1, 1))

    def loss(function, maps, kernel):
        return jnp.sum(jnp.sin(function(maps, kernel)))

    def ours(maps, kernel):
        return convolve(maps, kernel, 1, padding)

    def plain(maps, kernel):
        return convolutions._forward(maps, kernel, stride=1, padding=padding)

    compiled = jax.jit(jax.grad(functools.partial(loss, ours), (0, 1))).lower(maps, kernel)
    shapes = re.findall(r"convolution\(.*?->\s*tensor<(\S+)xf32>", compiled.as_text())
    assert shapes == ["1x8x27x64"] * 2
    found = compiled.compile()(maps, kernel)
    with jax.enable_x64(True):
        exact = [np.asarray(x, np.float64) for x in (maps, kernel)]
        expected = jax.jit(jax.grad(functools.partial(loss, plain), (0, 1)))(*exact)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())
    left = [(8, 3, 64, "float32"), (8, 64, 128, "float32"), (128, 64, 64, "float32")]
    for side, before, after, dtype in [*left, (8, 64, 64, "bfloat16")]:
        kept = jax.ShapeDtypeStruct((3, side, side, before), dtype)
        assert not convolutions._is_one_task(kept, jnp.zeros((3, 3, before, after), dtype))


def test_few_channels_have_no_convolution_of_one_to_eight_and_none_of_zeros_between():
    """The first layer is added up; a strided gradient has no dilation, but all residues."""
    maps, kernel = jnp.ones((3, 8, 8, 1)), jnp.ones((3, 3, 1, 8))

    def programs(stride, *arrays):
        def loss(maps, kernel):
            return jnp.sum(jnp.sin(convolve(maps, kernel, stride, ((1, 1), (1, 1)))))

        text = jax.jit(jax.grad(loss, (0, 1))).lower(*arrays).as_text()
        return re.findall(
            r"convolution\((?s:.*?)lhs_dilate = \[(.*?)\].*->\s*tensor<(\S+)xf32>", text
        )

    assert programs(1, maps, kernel) == [("1, 1", "3x8x8x1")]  # with respect to the maps
    strided = programs(2, jnp.ones((3, 8, 8, 8)), jnp.ones((3, 3, 8, 16)))
    assert strided == [("1, 1", "3x4x4x16"), ("1, 1", "3x5x5x32")]


def test_pixels_share_a_row_of_the_first_kernel_gradient():
    """Seven of 28 pixels with eight channels are 56 columns; they see nine pixels of three rows."""
    maps, kernel = jnp.ones((3, 28, 28, 1)), jnp.ones((3, 3, 1, 8))

    def loss(kernel):
        return jnp.sum(jnp.sin(convolve(maps, kernel, 1, ((1, 1), (1, 1)))))

    text = jax.jit(jax.grad(loss)).lower(kernel).as_text()
    products = re.findall(r"dot_general.*?\(tensor<(\S+)xf32>, tensor<(\S+)xf32>\)", text)
    assert products == [("27x336", "336x56")]


def test_maps_are_computed_once_for_the_outputs_and_for_the_groups_of_a_gradient():
    """Groups with an axis of their own would be another array, and the sine be taken twice."""
    maps, kernel = jnp.ones((64, 16, 16, 16)), jnp.ones((3, 3, 16, 64))

    def loss(kernel, maps):
        return jnp.sum(jnp.square(convolve(jnp.sin(maps), kernel, 1, ((1, 1), (1, 1)))))

    program = jax.jit(jax.grad(loss)).lower(kernel, maps).compile()
    assert " while(" in program.as_text()
    assert program.cost_analysis()["transcendentals"] == maps.size


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("shared", ["maps", "kernel", None])
def test_copies_are_computed_as_one_by_one(size, shared):
    maps, kernel = drawn((6, 6), size, copies=(3,))
    axes = {"maps": (None, 0), "kernel": (0, None), None: (0, 0)}[shared]
    maps = maps[0] if shared == "maps" else maps
    kernel = kernel[0] if shared == "kernel" else kernel

    def loss(maps, kernel):
        return jnp.sum(jnp.sin(convolve(maps, kernel, 2, ((1, 0), (0, 1)))))

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    found = jax.jit(jax.vmap(both, axes))(maps, kernel)
    for copy in range(3):
        one = [maps if shared == "maps" else maps[copy]]
        one.append(kernel if shared == "kernel" else kernel[copy])
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(both(*one)), strict=True):
            np.testing.assert_allclose(a[copy], b, rtol=1e-5, atol=1e-5)


def test_a_layer_pads_both_sides_alike():
    module = square_convolution(2, 4, 3, nnx.Rngs(0), stride=2)
    maps, _ = drawn((8, 8), 3)
    expected = by_pixels(maps, module.kernel[...], 2, ((1, 1), (1, 1)))
    np.testing.assert_allclose(module(maps), expected, atol=1e-5)


def test_shapes_and_dtypes_that_do_not_fit_are_refused():
    maps, kernel = drawn((4, 4), 3)
    with pytest.raises((TypeError, ValueError), match=r"before|feature"):
        convolve(maps, kernel[:, :, :1], 1, ((1, 1), (1, 1)))
    with pytest.raises(TypeError, match="same dtypes"):
        convolve(maps, kernel.astype(jnp.bfloat16), 1, ((1, 1), (1, 1)))


@pytest.mark.parametrize(("side", "fast"), [pytest.param(32, 17, marks=pytest.mark.slow), (8, 9)])
def test_an_epoch_on_cpus_has_fast_convolutions_only(side, fast):
    """At 8 x 8 the last convolutions have a kernel larger than their outputs.

    Each is a convolution forward and, but for the first, one with respect to its maps.
    """
    program = Program(resnet(3, depth=18, width=4), optax.adam(1e-3), batch_size=4)
    state = init_state(jax.random.key(0), program)
    images = jnp.zeros((8, side, side, 3), jnp.uint8)
    split = Split(images, jnp.arange(8, dtype=jnp.int32) // 2)
    compiled = train_epoch.lower(state, split, traced_objective(supervised=True), program).compile()
    orders = re.findall(r"dim_labels=(\S+?)[,\s]", compiled.as_text())
    assert len(orders) == 2 * (fast - 1)
    assert set(orders) == {"b01f_01io->b01f"}


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_are_left_to_xla(platform):
    maps, kernel = drawn((8, 8), 3)

    def loss(function, maps, kernel):
        return jnp.sum(jnp.sin(function(maps, kernel)))

    def plain(maps, kernel):
        return jax.lax.conv_general_dilated(
            maps, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def convolutions(function):
        gradient = jax.jit(jax.grad(functools.partial(loss, function), argnums=(0, 1)))
        lowered = gradient.trace(maps, kernel).lower(lowering_platforms=(platform,))
        return sorted(re.findall(r"stablehlo\.convolution.*?(dim_numbers.*)", lowered.as_text()))

    ours = convolutions(lambda maps, kernel: convolve(maps, kernel, 2, ((1, 1), (1, 1))))
    assert ours == convolutions(plain)
    assert len(ours) == 3
