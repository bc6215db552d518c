"""Winograd's convolution F(2 x 2, 3 x 3) (Lavin and Gray, arXiv 1509.09308), for 3 x 3 kernels.

Two neighbouring outputs y of three numbers k take four multiplications instead of six,

    y = A^T ((G k) * (B^T d)),

entry by entry, where d are the four numbers that they see. In two dimensions 2 x 2 outputs, a tile,
take 16 instead of 36. With channels each of the 16 is a product of matrices, tiles times a kernel.
The transforms only add and halve, so that the results are rounded about as those of the sum itself.

Images come in groups, one after the other, whose transformed maps have about `GROUP_NUMBERS`
entries, so that what is written is soon read.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hcl_jax.networks.kernel_gradients import (
    Kernel,
    Maps,
    Out,
    Padding,
    in_groups,
    sum_over_groups,
)
from hcl_jax.padding import varying_like

GROUP_NUMBERS = 2**21
"""Entries of the transformed maps of a group of images: 8 MiB in float32."""

_TURNED = (3, 1, 2, 0)
"""Where the entries of ``G k`` are when k is read backwards."""

Products = Sequence[Sequence[Float[Array, "a b"]]]
"""Four by four matrices."""


def tiles_of(maps: Maps, padding: Padding) -> tuple[int, int]:
    """The numbers of tiles of an image, down and across; those at the ends may be half empty."""
    down, across = (-(-count // 2) for count in _counts(maps, padding))
    return down, across


def winograd(maps: Maps, kernel: Kernel, *, padding: Padding, turned: bool = False) -> Out:
    """The convolution with a 3 x 3 kernel and stride one.

    Or with the ``turned`` kernel: rotated by 180 degrees, inputs and outputs swapped.
    """
    kernels = _transformed_kernel(kernel)
    if turned:
        kernels = [[kernels[i][j].T for j in _TURNED] for i in _TURNED]
    of_group = functools.partial(_of_group, kernels=kernels, padding=padding)
    count = _groups(maps, padding)
    if count == 1:
        return of_group(maps)
    group = in_groups(maps, count)
    out = lax.map(lambda number: of_group(group(number)), jnp.arange(count))
    return out.reshape(-1, *out.shape[2:])[: len(maps)]


def kernel_gradient(maps: Maps, out: Out, *, padding: Padding) -> Kernel:
    """The cotangent of the kernel, from the maps and the cotangent of the outputs."""
    kernel = jnp.zeros((3, 3, maps.shape[-1], out.shape[-1]), maps.dtype)
    kernel = varying_like(kernel, (maps, out))

    def of_group(maps: Maps, out: Out) -> Kernel:
        def convolution(kernel: Kernel) -> Out:
            return _of_group(maps, _transformed_kernel(kernel), padding)

        return jax.linear_transpose(convolution, kernel)(out)[0]

    return sum_over_groups(of_group, maps, out, _groups(maps, padding))


def _of_group(maps: Maps, kernels: Products, padding: Padding) -> Out:
    counts, (down, across) = _counts(maps, padding), tiles_of(maps, padding)
    ends = [
        (before, 2 * tiles + 2 - side - before, 0)
        for (before, _), side, tiles in zip(padding, maps.shape[1:3], (down, across), strict=True)
    ]
    padded = lax.pad(maps, jnp.zeros((), maps.dtype), ((0, 0, 0), *ends, (0, 0, 0)))
    seen = [_transformed(_every_second(row, 2, across)) for row in _rows(padded, down)]
    products = [
        [d.reshape(-1, d.shape[-1]) @ k for d, k in zip(*pair, strict=True)]
        for pair in zip(seen, kernels, strict=True)
    ]
    columns = [_outputs([row[j] for row in products]) for j in range(4)]
    pixels = [jnp.stack(_outputs([column[y] for column in columns]), axis=1) for y in range(2)]
    shape = (len(maps), down, across, 2, kernels[0][0].shape[-1])
    out = jnp.stack([row.reshape(shape) for row in pixels], axis=2)
    out = out.reshape(len(maps), 2 * down, 2 * across, shape[-1])
    return out[:, : counts[0], : counts[1]]


def _rows(padded: Maps, down: int) -> list[Maps]:
    return _transformed(_every_second(padded, 1, down))


def _every_second(padded: Maps, axis: int, tiles: int) -> list[Maps]:
    """The first to fourth numbers along an axis that the tiles see, two apart."""
    last = 2 * tiles - 1
    return [lax.slice_in_dim(padded, i, i + last, 2, axis) for i in range(4)]


def _transformed(seen: Sequence[Maps]) -> list[Maps]:
    """``B^T d``."""
    a, b, c, d = seen
    return [a - c, b + c, c - b, b - d]


def _transformed_kernel(kernel: Kernel) -> Products:
    """``G k G^T``."""
    rows = _widened([kernel[i] for i in range(3)])
    return [_widened([row[j] for j in range(3)]) for row in rows]


def _widened(kernel: Sequence[Float[Array, "*shape"]]) -> list[Float[Array, "*shape"]]:
    """``G k``."""
    a, b, c = kernel
    return [a, (a + b + c) / 2, (a - b + c) / 2, c]


def _outputs(products: Sequence[Float[Array, "n after"]]) -> list[Float[Array, "n after"]]:
    """``A^T m``."""
    a, b, c, d = products
    return [a + b + c, b - c - d]


def _counts(maps: Maps, padding: Padding) -> tuple[int, int]:
    """The numbers of outputs, down and across."""
    down, across = (
        side + sum(zeros) - 2 for side, zeros in zip(maps.shape[1:3], padding, strict=True)
    )
    return down, across


def _groups(maps: Maps, padding: Padding) -> int:
    """Groups of a power of two images, so that the usual batches are whole groups."""
    numbers = 16 * math.prod(tiles_of(maps, padding)) * maps.shape[-1]
    at_once = 2 ** int(math.log2(max(1, GROUP_NUMBERS // numbers)))
    return max(1, len(maps) // at_once)
