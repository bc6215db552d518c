"""Convolutions whose gradient is fast inside loops on CPUs too.

XLA for CPUs has a fast convolution of images (n, height, width, channel) with kernels
(height, width, before, after). The gradient is two convolutions with other orders of axes. XLA
moves their axes into the fast order, but not inside the body of a loop, where they run as scalar
code, tens of times slower; and an epoch is a loop. So on CPUs the gradient is written in the fast
order:

    dL/dmaps   = dL/dout spread by the stride, with the kernel turned by 180 degrees,
    dL/dkernel = maps with dL/dout spread by the stride, summed over pixels and images.

A 1 x 1 convolution is a product of matrices there, and so is one whose kernel has more pixels than
its outputs, where XLA would take the kernel for the images. Copies of a network (seeds) take turns,
which is faster than XLA's grouped convolutions. On other platforms everything is left to XLA.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, DTypeLike, Float

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Zeros before and after the height, and before and after the width."""

LECUN_NORMAL = nnx.initializers.lecun_normal()
"""A normal law cut off at two deviations, whose variance is 1 / fan_in: Flax's default."""

_AXES = ("NHWC", "HWIO", "NHWC")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    maps: Float[Array, "n height width before"],
    kernel: Float[Array, "size_y size_x before after"],
    stride: int,
    padding: Padding,
) -> Float[Array, "n height_after width_after after"]:
    """``out[n, y, x] = sum over i, j of maps[n, s y + i - p, s x + j - p] @ kernel[i, j]``.

    It has a gradient in reverse mode only.

    Args:
        maps: images.
        kernel: of the same dtype.
        stride: s, of both axes.
        padding: p before each axis, and what is after it.

    Returns:
        Images, of the same dtype.

    Raises:
        ValueError, TypeError: if shapes or dtypes do not fit.

    Example:
        >>> import jax
        >>> maps, kernel = jax.numpy.ones((1, 5, 5, 2)), jax.numpy.ones((3, 3, 2, 4))
        >>> convolve(maps, kernel, 2, ((1, 1), (1, 1)))[0, :, :, 0].tolist()
        [[8.0, 12.0, 8.0], [12.0, 18.0, 12.0], [8.0, 12.0, 8.0]]
    """
    options = {"stride": stride, "padding": padding}
    return lax.platform_dependent(
        maps,
        kernel,
        cpu=sequential_vmap(functools.partial(_forward_on_cpu, **options)),
        default=functools.partial(_forward, **options),
    )


def _convolve_forward(maps, kernel, stride, padding):
    return convolve(maps, kernel, stride, padding), (maps, kernel)


def _convolve_backward(stride, padding, inputs, out):
    options = {"stride": stride, "padding": padding}
    return lax.platform_dependent(
        *inputs,
        out,
        cpu=sequential_vmap(functools.partial(_backward_on_cpu, **options)),
        default=functools.partial(_backward, **options),
    )


convolve.defvjp(_convolve_forward, _convolve_backward)


def layer(
    before: int,
    after: int,
    size: int,
    rngs: nnx.Rngs,
    *,
    stride: int = 1,
    dtype: DTypeLike = jnp.float32,
    kernel_init: nnx.Initializer = LECUN_NORMAL,
) -> nnx.Conv:
    """A square convolution without bias, as an NNX module.

    Images are padded alike on both sides, so that the centre of a kernel of odd size visits every
    stride-th pixel from the first. (XLA's "SAME" pads a strided convolution on the right only.)

    Args:
        before: channels of the images.
        after: channels of the outputs.
        size: of the kernel.
        rngs: the random streams of the initialisation.
        stride: of both axes.
        dtype: of the computation.
        kernel_init: draws the kernel.

    Returns:
        The module.

    Example:
        >>> import jax
        >>> halve = layer(3, 8, 3, nnx.Rngs(0), stride=2)
        >>> halve(jax.numpy.ones((5, 4, 4, 3))).shape
        (5, 2, 2, 8)
    """
    padding = ((size // 2, size // 2), (size // 2, size // 2))

    def called_by_flax(maps, kernel, *_, **__):
        return convolve(maps, kernel, stride, padding)

    return nnx.Conv(
        before,
        after,
        (size, size),
        strides=stride,
        padding=padding,
        use_bias=False,
        dtype=dtype,
        kernel_init=kernel_init,
        conv_general_dilated=called_by_flax,
        rngs=rngs,
    )


def _forward(maps, kernel, *, stride, padding):
    return lax.conv_general_dilated(
        maps, kernel, (stride, stride), padding, dimension_numbers=_AXES
    )


def _backward(maps, kernel, out, *, stride, padding):
    forward = functools.partial(_forward, stride=stride, padding=padding)
    return jax.vjp(forward, maps, kernel)[1](out)


def _forward_on_cpu(maps, kernel, *, stride, padding):
    forward = _product if _is_product(maps, kernel, stride, padding) else _forward
    return forward(maps, kernel, stride=stride, padding=padding)


def _backward_on_cpu(maps, kernel, out, *, stride, padding):
    if _is_product(maps, kernel, stride, padding):
        forward = functools.partial(_product, stride=stride, padding=padding)
        return jax.vjp(forward, maps, kernel)[1](out)
    sides = [
        (*before_and_after, image, size, (count - 1) * stride + 1)
        for before_and_after, image, size, count in zip(
            padding, maps.shape[1:3], kernel.shape[:2], out.shape[1:3], strict=True
        )
    ]
    by_maps = lax.conv_general_dilated(
        out,
        lax.rev(kernel, (0, 1)).swapaxes(2, 3),
        (1, 1),
        [(size - 1 - first, image + first - spread) for first, _, image, size, spread in sides],
        lhs_dilation=(stride, stride),
        dimension_numbers=_AXES,
    )
    by_kernel = lax.conv_general_dilated(
        maps.transpose(3, 1, 2, 0),
        out.transpose(1, 2, 0, 3),
        (1, 1),
        [(first, size - 1 - image - first + spread) for first, _, image, size, spread in sides],
        rhs_dilation=(stride, stride),
        dimension_numbers=_AXES,
    )
    return by_maps, by_kernel.transpose(1, 2, 0, 3)


def _is_product(maps, kernel, stride, padding):
    outputs = [-(-places // stride) for places in _places(maps, kernel, padding)]
    pixels = math.prod(kernel.shape[:2])
    return pixels == 1 or pixels > math.prod(outputs)


def _product(maps, kernel, *, stride, padding):
    """All windows, as vectors, times the kernel as a matrix."""
    height, width = _places(maps, kernel, padding)
    padded = jnp.pad(maps, ((0, 0), *padding, (0, 0)))
    windows = [
        padded[:, y : y + height : stride, x : x + width : stride]
        for y, x in np.ndindex(kernel.shape[:2])
    ]
    return jnp.concatenate(windows, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def _places(maps, kernel, padding):
    """How many places there are for a kernel, down and across."""
    sides = zip(maps.shape[1:3], kernel.shape[:2], padding, strict=True)
    return [max(0, image + sum(zeros) - size + 1) for image, size, zeros in sides]
