"""The gradient of a convolution with respect to its kernel, as products of matrices.

    dL/dkernel[i, j] = sum over n, y, x of maps[n, s y + i - p, s x + j - p]^T @ dL/dout[n, y, x]

One product gives it if all windows of the maps are written side by side, and so does one of a third
of the writing for each row i of the kernel: row r of the maps meets row y = (r + p - i) / s of
dL/dout, so that the maps need shifts along x alone, next to shifts of dL/dout along y,

    columns[n, r, x] = (maps[n, r, s x + j - p] for all j),
    rows_i[n, r, x] = dL/dout[n, (r + p - i) / s, x],

and ``columns^T @ rows_i`` has every (i, j) as a block. With a stride, rows r of one residue modulo
s meet those i whose r + p - i is divisible by s, so that nothing is multiplied by zeros. What is
written is ``width * before + height * after`` numbers for each pixel instead of ``height * width *
before``; the form that writes less is taken, so windows where images have one or three channels.
The columns are written transposed: what XLA multiplies fastest on CPUs is rows with columns.

Images come in groups, one after the other, whose matrices have about `GROUP_NUMBERS` entries, which
is small enough for the caches of CPUs, and at least as many rows as columns, so that adding up the
products of the groups costs little beside multiplying.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from hcl_jax.padding import pad_rows, varying_like
from hcl_jax.padding import padding as lacking
from hcl_jax.precision import wide_dtype

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Zeros above and below the image, and to its left and right."""

Maps = Float[Array, "n height width before"]
Kernel = Float[Array, "size_y size_x before after"]
Out = Float[Array, "n height_after width_after after"]

GROUP_NUMBERS = 2**20
"""Entries of the matrices of a group of images, unless one image has more: 4 MiB in float32."""


def kernel_gradient(
    maps: Maps, out: Out, *, size: tuple[int, ...], stride: int, padding: Padding
) -> Kernel:
    """The cotangent of the kernel, a sum over all images, in at least float32.

    From the images that were convolved, and the cotangent of the outputs. The size is height and
    width of the kernel, the stride that of both axes.
    """
    of_group = functools.partial(_of_group, size=size, stride=stride, padding=padding)
    at_once = _images_at_once(maps, out, size)
    return sum_over_groups(of_group, maps, out, max(1, len(maps) // at_once))


def sum_over_groups(
    of_group: Callable[[Maps, Out], Kernel], maps: Maps, out: Out, count: int
) -> Kernel:
    """The sum of a function of the images over ``count`` groups of them, one after the other.

    In at least float32. Images of zeros, which fill the last group, must add nothing.
    """
    if count == 1:
        return of_group(maps, out)
    groups = in_groups(maps, count), in_groups(out, count)
    shape = jax.eval_shape(of_group, *(group(0) for group in groups)).shape
    summed, _ = lax.scan(
        lambda total, number: (total + of_group(*(group(number) for group in groups)), None),
        varying_like(jnp.zeros(shape, wide_dtype(maps)), (maps, out)),
        jnp.arange(count),
    )
    return summed


def in_groups(
    images: Float[Array, "n *maps"], count: int
) -> Callable[[Int[ArrayLike, ""]], Float[Array, "group *maps"]]:
    """The images of each of ``count`` groups, by its number; the last is filled with zeros.

    The groups are cut out of the images as they are. If they had an axis of their own, XLA would
    compute the images twice where another part of the program uses them without it.
    """
    whole = pad_rows(images, lacking(len(images), count))
    size = len(whole) // count
    return lambda number: lax.dynamic_slice_in_dim(whole, number * size, size)


def windows(
    padded: Maps, size: tuple[int, ...], strides: tuple[int, ...], count: tuple[int, ...]
) -> Float[Array, "n rows columns entries"]:
    """What the kernel sees at each of ``count`` positions, down and across, as a vector."""
    height, width = (
        max(0, (number - 1) * stride + 1) for number, stride in zip(count, strides, strict=True)
    )
    down, across = strides
    seen = [padded[:, y : y + height : down, x : x + width : across] for y, x in np.ndindex(size)]
    return jnp.concatenate(seen, axis=-1)


def _of_group(
    maps: Maps, out: Out, *, size: tuple[int, ...], stride: int, padding: Padding
) -> Kernel:
    """The sum over a few images, by the form that writes less."""
    if _is_by_windows(maps, out, size):
        padded = jnp.pad(maps, ((0, 0), *padding, (0, 0)))
        seen = windows(padded, size, (stride, stride), out.shape[1:3])
        return _over_pixels(seen, out).reshape(*size, maps.shape[-1], out.shape[-1])
    padded = jnp.pad(maps, ((0, 0), (0, 0), padding[1], (0, 0)))
    residues = [range(first, size[0], stride) for first in range(min(stride, size[0]))]
    parts = [_of_residue(padded, out, own, size[1], stride, padding[0][0]) for own in residues]
    if len(parts) == 1:
        return parts[0]
    return jnp.stack([parts[i % stride][i // stride] for i in range(size[0])])


def _of_residue(
    padded: Maps, out: Out, own: range, width: int, stride: int, zeros_above: int
) -> Kernel:
    """The gradient of those rows i of the kernel, a stride apart, that meet the same rows of maps.

    Row ``s t + i_0 - p`` of the maps, i_0 the first of these i, meets the outputs t, t - 1, ..;
    t is such that it is a row of the image, above and below which there is nothing to multiply.
    """
    height, count = padded.shape[1], out.shape[1]
    shift = own[0] - zeros_above
    first = max(0, -(shift // stride))
    end = max(first, min(count + len(own) - 1, -((shift - height) // stride)))
    met = padded[:, first * stride + shift :: stride][:, : end - first]
    columns = _turned_columns(met, width, stride, out.shape[2])
    nothing = jnp.zeros((), out.dtype)
    products = []
    for back in range(len(own)):
        ends = (back - first, end - back - count, 0)
        rows = lax.pad(out, nothing, ((0, 0, 0), ends, *[(0, 0, 0)] * 2))
        rows = rows.reshape(-1, out.shape[-1])
        products.append(jnp.matmul(columns, rows, preferred_element_type=wide_dtype(out)))
    return jnp.stack(products).reshape(len(own), width, padded.shape[-1], -1)


def _turned_columns(
    maps: Maps, width: int, stride: int, across: int
) -> Float[Array, "entries pixels"]:
    """What each row of the kernel sees at ``across`` positions of each row, a pixel a column."""
    turned = maps.transpose(3, 0, 1, 2)
    last = max(0, (across - 1) * stride + 1)
    seen = [turned[..., x : x + last : stride].reshape(len(turned), -1) for x in range(width)]
    return jnp.concatenate(seen)


def _over_pixels(
    left: Float[Array, "n rows columns a"], right: Float[Array, "n rows columns b"]
) -> Float[Array, "a b"]:
    """``left^T @ right``, each pixel a row, summed in at least float32."""
    return lax.dot_general(
        left.reshape(-1, left.shape[-1]),
        right.reshape(-1, right.shape[-1]),
        (((0,), (0,)), ((), ())),
        preferred_element_type=wide_dtype(left),
    )


def _is_by_windows(maps: Maps, out: Out, size: tuple[int, ...]) -> bool:
    """Whether all windows are fewer numbers than the maps shifted along x and out along y."""
    (height, width), before, after = size, maps.shape[-1], out.shape[-1]
    return height * width * before <= width * before + height * after


def _images_at_once(maps: Maps, out: Out, size: tuple[int, ...]) -> int:
    """Images of a group: a power of two, so that the usual batches are whole groups."""
    (height, width), before, after = size, maps.shape[-1], out.shape[-1]
    if height * width == 1:
        return len(maps)  # nothing is written
    if _is_by_windows(maps, out, size):
        entries = (height * width * before, after)
    else:
        entries = (width * before, height * after)
    pixels = max(1, math.prod(out.shape[1:3]))
    fitting = max(1, GROUP_NUMBERS // (pixels * sum(entries)))
    least = -(-max(entries) // pixels)
    return max(2 ** int(math.log2(fitting)), 2 ** math.ceil(math.log2(least)))
