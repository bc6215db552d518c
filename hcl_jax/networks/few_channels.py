"""Convolutions between few channels on CPUs, where XLA's leave most of a vector register idle.

XLA's convolution of float32 keeps the channels of an output in the lanes of a register, and takes
as long for eight channels as for 64. Three of those that a network of few channels needs are
written otherwise.

The first layer sees one to three channels. Its outputs are a sum of few terms, a shift of the image
times an entry of the kernel, and one pass over the outputs adds them all.

The gradient of a convolution of stride s with respect to the maps writes row y of them, and what
reaches it depends on the residue of y + p modulo s, where p are the zeros before the first row:

    dL/dmaps[s q + r - p] = sum over j of kernel[r + s j] dL/dout[q - j],

and the same across. So it is a convolution of stride one whose outputs are all s^2 residues beside
each other: as many times the channels, and dL/dout is not spread among zeros.

The gradient of the first layer with respect to the kernel is a product of matrices, what the pixels
of the outputs see times the pixels, with as few columns as channels. So b neighbouring pixels share
a row: there are b times the columns, and of a kernel of width w they see b + w - 1 pixels of each
row instead of b w. An entry of the kernel is a sum over the b places of a pixel.
"""

import itertools

import jax.numpy as jnp
from jax import lax

from hcl_jax.networks.kernel_gradients import Kernel, Maps, Out, Padding

AXES = ("NHWC", "HWIO", "NHWC")

COLUMNS = 64
"""Columns of a product up to which neighbouring pixels share a row of it."""


def sum_of_shifts(maps: Maps, kernel: Kernel, *, padding: Padding) -> Out:
    """The convolution of stride one as a sum over the entries of the kernel."""
    ends = [(*zeros, 0) for zeros in ((0, 0), *padding, (0, 0))]
    padded = lax.pad(maps, jnp.zeros((), maps.dtype), ends)  # gradients cut pixels off
    size = kernel.shape[:2]
    down, across = (whole - part + 1 for whole, part in zip(padded.shape[1:3], size, strict=True))
    terms = [
        padded[:, y : y + down, x : x + across, channel, None] * kernel[y, x, channel]
        for y, x, channel in itertools.product(*map(range, kernel.shape[:3]))
    ]
    return sum(terms[1:], start=terms[0])


def first_kernel_gradient(
    maps: Maps, out: Out, *, size: tuple[int, ...], padding: Padding
) -> Kernel:
    """The cotangent of the kernel of `sum_of_shifts`, from maps and that of the outputs."""
    (height, width), (down, across, after) = size, out.shape[1:]
    together = max(b for b in range(1, across + 1) if across % b == 0 and b * after <= COLUMNS)
    seen = width + together - 1
    padded = jnp.pad(maps, ((0, 0), *padding, (0, 0))).transpose(3, 0, 1, 2)
    last = across - together + 1
    rows = [
        padded[:, :, y : y + down, x : x + last : together].reshape(len(padded), -1)
        for y, x in itertools.product(range(height), range(seen))
    ]
    product = jnp.concatenate(rows) @ out.reshape(-1, together * after)
    product = product.reshape(height, seen, -1, together, after)
    places = [product[:, b : b + width, :, b] for b in range(together)]
    return sum(places[1:], start=places[0])


def strided_maps_gradient(
    kernel: Kernel, out: Out, *, image: tuple[int, ...], stride: int, padding: Padding
) -> Maps:
    """The cotangent of maps of height and width `image`, from that of the outputs."""
    taps = [-(-size // stride) for size in kernel.shape[:2]]
    rows = [-(-(zeros + size) // stride) for (zeros, _), size in zip(padding, image, strict=True)]
    ends = [
        (tap - 1, row - count) for tap, row, count in zip(taps, rows, out.shape[1:3], strict=True)
    ]
    residues = lax.conv_general_dilated(
        out, _all_residues(kernel, taps, stride), (1, 1), ends, dimension_numbers=AXES
    )
    residues = residues.reshape(len(out), *rows, stride, stride, -1)
    spread = residues.transpose(0, 1, 3, 2, 4, 5)
    whole = spread.reshape(len(out), rows[0] * stride, rows[1] * stride, -1)
    (top, _), (left, _) = padding
    return whole[:, top : top + image[0], left : left + image[1]]


def _all_residues(kernel: Kernel, taps: list[int], stride: int) -> Kernel:
    """The kernel (taps, taps, after, stride^2 before) from dL/dout to all residues."""
    zeros = [(0, tap * stride - size) for tap, size in zip(taps, kernel.shape, strict=False)]
    filled = jnp.pad(kernel, (*zeros, (0, 0), (0, 0)))
    split = filled.reshape(taps[0], stride, taps[1], stride, *kernel.shape[2:])
    turned = lax.rev(split, (0, 2)).transpose(0, 2, 5, 1, 3, 4)
    return turned.reshape(*taps, kernel.shape[3], -1)
