"""Convolutions whose gradient is fast inside loops on CPUs too.

XLA for CPUs has a fast convolution of images (n, height, width, channel) with kernels
(height, width, before, after). The gradient is two convolutions with other orders of axes. XLA
moves their axes into the fast order, but not inside the body of a loop, where they run as scalar
code, tens of times slower; and an epoch is a loop. So on CPUs the gradient with respect to the maps
is written in the fast order,

    dL/dmaps = dL/dout dilated by the stride, convolved with the kernel rotated by 180 degrees,

and that with respect to the kernel as products of matrices (`kernel_gradients.py`), which take half
the time of a convolution or less.

XLA for CPUs cuts a convolution of float32 into tasks for its threads along the rows of an image and
along the channels of the outputs, not along images. If rows and channels are few there is one task,
and one thread does all the work. So such images are laid side by side, as one that is wide enough.

A 3 x 3 kernel of many channels is convolved by fewer multiplications (`winograd.py`), and few
channels have forms of their own (`few_channels.py`).

On CPUs a 1 x 1 convolution is a product of matrices, and so is one whose kernel has more pixels
than its outputs, where XLA would mistake the kernel for the images. Copies of a network (seeds) are
computed one after the other, which is faster than XLA's grouped convolutions. On other platforms
everything is left to XLA.
"""

import functools
import math
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.custom_batching import sequential_vmap
from jaxtyping import DTypeLike

from hcl_jax.networks import winograd
from hcl_jax.networks.few_channels import (
    AXES,
    first_kernel_gradient,
    strided_maps_gradient,
    sum_of_shifts,
)
from hcl_jax.networks.kernel_gradients import (
    Kernel,
    Maps,
    Out,
    Padding,
    kernel_gradient,
    windows,
)

LECUN_NORMAL = nnx.initializers.lecun_normal()
"""A normal law cut off at two deviations, whose variance is 1 / fan_in: Flax's default."""

ONE_TASK = 64
"""Pixels of a row, and channels of the outputs, that XLA does not cut into tasks for threads."""

WORTH_MOVING = 128
"""Multiplications for each number of maps and outputs that make it worth to move all of them."""

MANY_TILES = 64
"""Tiles of all images from which Winograd's transform of the kernel is worth its time."""

MANY_CHANNELS = 128
"""Channels before and after from which Winograd's transforms of the maps are worth their time.

The gradient with respect to the kernel takes twice as many: it multiplies transposed matrices.
"""

FEW_TERMS, FEW_OUTPUTS = 27, 32
"""Entries of the kernel for each output, and channels after, up to which outputs are added up.

27 are those of a 3 x 3 kernel on images of three channels.
"""

FEW_CHANNELS = 16
"""Channels before up to which a strided convolution has its gradient for all residues at once."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(maps: Maps, kernel: Kernel, stride: int, padding: Padding) -> Out:
    """``out[n, y, x] = sum over i, j of maps[n, s y + i - p, s x + j - p] @ kernel[i, j]``.

    s is the stride of both axes, and p the zeros before each axis. The gradient is in reverse mode
    only.
    """
    options = {"stride": stride, "padding": padding}
    return lax.platform_dependent(
        maps,
        kernel,
        cpu=sequential_vmap(functools.partial(_forward_on_cpu, **options)),
        default=functools.partial(_forward, **options),
    )


def _convolve_forward(
    maps: Maps, kernel: Kernel, stride: int, padding: Padding
) -> tuple[Out, tuple[Maps, Kernel]]:
    return convolve(maps, kernel, stride, padding), (maps, kernel)


def _convolve_backward(
    stride: int, padding: Padding, inputs: tuple[Maps, Kernel], out: Out
) -> tuple[Maps, Kernel]:
    """The cotangents of maps and kernel, from the cotangent of the outputs."""
    options = {"stride": stride, "padding": padding}
    return lax.platform_dependent(
        *inputs,
        out,
        cpu=sequential_vmap(functools.partial(_backward_on_cpu, **options)),
        default=functools.partial(_backward, **options),
    )


convolve.defvjp(_convolve_forward, _convolve_backward)


def square_convolution(
    before: int,
    after: int,
    size: int,
    rngs: nnx.Rngs,
    *,
    stride: int = 1,
    dtype: DTypeLike = jnp.float32,
    kernel_init: nnx.Initializer = LECUN_NORMAL,
) -> nnx.Conv:
    """A convolution with a square kernel and without bias, as an NNX module.

    Images are padded alike on both sides, so that the centre of a kernel of odd size visits every
    stride-th pixel from the first. (XLA's "SAME" pads a strided convolution on the right only.)
    """
    padding = ((size // 2, size // 2), (size // 2, size // 2))

    def called_by_flax(maps: Maps, kernel: Kernel, *_: Any, **__: Any) -> Out:
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


def _forward(maps: Maps, kernel: Kernel, *, stride: int, padding: Padding) -> Out:
    return lax.conv_general_dilated(maps, kernel, (stride, stride), padding, dimension_numbers=AXES)


def _backward(
    maps: Maps, kernel: Kernel, out: Out, *, stride: int, padding: Padding
) -> tuple[Maps, Kernel]:
    forward = functools.partial(_forward, stride=stride, padding=padding)
    return jax.vjp(forward, maps, kernel)[1](out)


def _forward_on_cpu(maps: Maps, kernel: Kernel, *, stride: int, padding: Padding) -> Out:
    forward = product_of_windows if _is_product(maps, kernel, stride, padding) else _direct
    return forward(maps, kernel, stride=stride, padding=padding)


def _direct(maps: Maps, kernel: Kernel, *, stride: int, padding: Padding) -> Out:
    """The sum over the entries of the kernel, on several threads."""
    if stride == 1 and _is_few_terms(maps, kernel):
        return sum_of_shifts(maps, kernel, padding=padding)
    if _is_for_winograd(maps, kernel, stride, padding, MANY_CHANNELS):
        return winograd.winograd(maps, kernel, padding=padding)
    if stride == 1 and _is_one_task(maps, kernel):
        return side_by_side(maps, kernel, padding=padding)
    return _forward(maps, kernel, stride=stride, padding=padding)


def _is_few_terms(maps: Maps, kernel: Kernel) -> bool:
    few = math.prod(kernel.shape[:3]) <= FEW_TERMS and kernel.shape[3] <= FEW_OUTPUTS
    fits = maps.shape[3] == kernel.shape[2]  # XLA says what does not
    return few and fits and maps.dtype == kernel.dtype == jnp.float32


def _is_one_task(maps: Maps, kernel: Kernel) -> bool:
    before, after = kernel.shape[2:]
    work = math.prod(kernel.shape) / (before + after)
    few = max(maps.shape[2], after) <= ONE_TASK
    return maps.dtype == jnp.float32 and few and work >= WORTH_MOVING


def _is_for_winograd(
    maps: Maps, kernel: Kernel, stride: int, padding: Padding, channels: int
) -> bool:
    fits = maps.dtype == jnp.float32 and stride == 1 and kernel.shape[:2] == (3, 3)
    if not fits or min(kernel.shape[2:]) < channels:
        return False
    if jax.export.is_symbolic_dim(maps.shape[0]):
        return False  # exported for any number of images, which may be one
    return len(maps) * math.prod(winograd.tiles_of(maps, padding)) >= MANY_TILES


def side_by_side(maps: Maps, kernel: Kernel, *, padding: Padding) -> Out:
    """The convolution of all images as one, with zeros between neighbours; the stride is one.

    Outputs at the zeros between two images see both, and are dropped.
    """
    count, height, width, before = maps.shape
    left, right = padding[1]
    across = width + left + right - kernel.shape[1] + 1
    apart = max(width + max(0, left, right), across)
    spread = jnp.pad(maps, ((0, 0), (0, 0), (0, apart - width), (0, 0)))
    row = spread.transpose(1, 0, 2, 3).reshape(1, height, count * apart, before)
    ends = (padding[0], (left, kernel.shape[1] - 1 - left))
    out = _forward(row, kernel, stride=1, padding=ends)
    out = out.reshape(out.shape[1], count, apart, out.shape[-1])
    return out[:, :, :across].transpose(1, 0, 2, 3)


def _backward_on_cpu(
    maps: Maps, kernel: Kernel, out: Out, *, stride: int, padding: Padding
) -> tuple[Maps, Kernel]:
    options = {"stride": stride, "padding": padding}
    if stride == 1 and _is_few_terms(maps, kernel) and out.size > 0:
        by_kernel = first_kernel_gradient(maps, out, size=kernel.shape[:2], padding=padding)
    elif _is_for_winograd(maps, kernel, stride, padding, 2 * MANY_CHANNELS):
        by_kernel = winograd.kernel_gradient(maps, out, padding=padding)
    else:
        by_kernel = kernel_gradient(maps, out, size=kernel.shape[:2], **options)
    is_product = _is_product(maps, kernel, stride, padding)
    by_maps = _maps_gradient_of_product if is_product else _maps_gradient
    return by_maps(maps, kernel, out, **options), by_kernel.astype(kernel.dtype)


def _maps_gradient(maps: Maps, kernel: Kernel, out: Out, *, stride: int, padding: Padding) -> Maps:
    few = maps.dtype == jnp.float32 and maps.shape[3] <= FEW_CHANNELS
    if stride > 1 and few:
        image = maps.shape[1:3]
        return strided_maps_gradient(kernel, out, image=image, stride=stride, padding=padding)
    axes = [
        (zeros, image, size, (count - 1) * stride + 1)
        for (zeros, _), image, size, count in zip(
            padding, maps.shape[1:3], kernel.shape[:2], out.shape[1:3], strict=True
        )
    ]
    down, across = [
        (size - 1 - zeros, image + zeros - dilated) for zeros, image, size, dilated in axes
    ]
    if _is_for_winograd(maps, kernel, stride, padding, MANY_CHANNELS):
        return winograd.winograd(out, kernel, padding=(down, across), turned=True)
    turned = lax.rev(kernel, (0, 1)).swapaxes(2, 3)
    if stride == 1:
        return _direct(out, turned, stride=1, padding=(down, across))
    return lax.conv_general_dilated(
        out,
        turned,
        (1, 1),
        (down, across),
        lhs_dilation=(stride, stride),
        dimension_numbers=AXES,
    )


def _maps_gradient_of_product(
    maps: Maps, kernel: Kernel, out: Out, *, stride: int, padding: Padding
) -> Maps:
    product = functools.partial(product_of_windows, kernel=kernel, stride=stride, padding=padding)
    return jax.vjp(product, maps)[1](out)[0]


def _is_product(maps: Maps, kernel: Kernel, stride: int, padding: Padding) -> bool:
    pixels = math.prod(kernel.shape[:2])
    return pixels == 1 or pixels > math.prod(_counts(maps, kernel, stride, padding))


def product_of_windows(maps: Maps, kernel: Kernel, *, stride: int, padding: Padding) -> Out:
    """All windows, as vectors, times the kernel as a matrix."""
    padded = jnp.pad(maps, ((0, 0), *padding, (0, 0)))
    seen = windows(
        padded, kernel.shape[:2], (stride, stride), _counts(maps, kernel, stride, padding)
    )
    return seen @ kernel.reshape(-1, kernel.shape[-1])


def _counts(maps: Maps, kernel: Kernel, stride: int, padding: Padding) -> tuple[int, int]:
    """The numbers of outputs, down and across."""
    down, across = (
        -(-max(0, image + sum(zeros) - size + 1) // stride)
        for image, size, zeros in zip(maps.shape[1:3], kernel.shape[:2], padding, strict=True)
    )
    return down, across
