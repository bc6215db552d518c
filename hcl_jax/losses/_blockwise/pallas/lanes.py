"""What both kernels share: rows padded to tiles, numbers of rows along lanes, numbers in SMEM.

A TPU holds an array in tiles of 8 sublanes by 128 lanes. Numbers of rows, one each, are therefore
stacked as ``(kinds, rows)``: as a column ``(rows, 1)`` they would take 128 times the memory.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int, Shaped

from hcl_jax.losses.law import Law
from hcl_jax.padding import padding

LANES = 128

WIDEST = 4096
"""Features a row can have before a tile of rows, twice, with its gradient outgrows VMEM."""


def tile_rows(count: int, dim: int) -> int:
    """Rows in a tile: a multiple of the lanes, fewer for wide rows, so that tiles fit VMEM.

    Args:
        count: the number of rows.
        dim: the number of features.

    Returns:
        128, 256 or 512.

    Example:
        >>> tile_rows(131072, 128), tile_rows(131072, 768), tile_rows(53, 5)
        (512, 256, 128)
    """
    longest = 512 if dim <= 512 else 256 if dim <= 1024 else 128
    return min(longest, max(t for t in (128, 256, 512) if t == 128 or t <= count))


def padded_features(
    features: Float[Array, "n dim"], block: int, dtype: Any
) -> Float[Array, "padded lanes"]:
    """Embeddings with zeros appended to whole tiles and whole lanes.

    Args:
        features: one embedding a row.
        block: rows in a tile.
        dtype: of the result.

    Returns:
        The larger matrix; inner products are the same.

    Example:
        >>> import jax.numpy as jnp
        >>> padded_features(jnp.ones((53, 5)), 128, jnp.float32).shape
        (128, 128)
    """
    extra = [(0, padding(n, unit)) for n, unit in zip(features.shape, (block, LANES), strict=True)]
    return jnp.pad(features.astype(dtype), extra)


def in_lanes(values: Sequence[Shaped[Array, " n"]], block: int) -> Shaped[Array, "kinds padded"]:
    """Numbers of rows, stacked so that rows run along the lanes, zeros for padded rows.

    Args:
        values: one array for each kind of number.
        block: rows in a tile.

    Returns:
        The matrix.

    Example:
        >>> import jax.numpy as jnp
        >>> in_lanes([jnp.arange(3), jnp.arange(3)], 4).tolist()
        [[0, 1, 2, 0], [0, 1, 2, 0]]
    """
    stacked = jnp.stack(values)
    return jnp.pad(stacked, [(0, 0), (0, padding(stacked.shape[1], block))])


def narrow_keys(
    first: Int[Array, " n"], second: Int[Array, " m"]
) -> tuple[Int[Array, " n"], Int[Array, " m"]]:
    """Two arrays of keys in 32 bits, equal where and only where they were.

    Args:
        first: keys.
        second: keys that are compared with them.

    Returns:
        The keys, or, where they may not fit, their ranks among all.

    Example:
        >>> import jax.numpy as jnp
        >>> narrow = narrow_keys(jnp.array([7, 9], jnp.uint32), jnp.array([9, 8], jnp.uint32))
        >>> [keys.tolist() for keys in narrow]
        [[0, 2], [2, 1]]
    """
    if all(jnp.can_cast(keys.dtype, jnp.int32) for keys in (first, second)):
        return first.astype(jnp.int32), second.astype(jnp.int32)
    both = jnp.concatenate([first, second])
    ranks = jnp.searchsorted(jnp.sort(both), both).astype(jnp.int32)
    return ranks[: first.shape[0]], ranks[first.shape[0] :]


def scalars_of(law: Law, dtype: Any) -> tuple[Float[Array, " k"], Callable[[Any], Law]]:
    """Takes a law apart into numbers, for SMEM, and what makes it whole again in the kernel.

    Args:
        law: with scalars only, in the part that concerns negatives.
        dtype: of the numbers.

    Returns:
        The numbers, and a function of them (or of a reference to them).

    Raises:
        NotImplementedError: if the hardening function holds an array that is not a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.hardening import exponential
        >>> from hcl_jax.losses.law import law_of
        >>> numbers, rebuild = scalars_of(law_of(hardening=exponential(5.0)), jnp.float32)
        >>> numbers.tolist(), rebuild(2 * numbers).log_factor(jnp.ones(())).item()
        ([5.0, 1.0], 10.0)
    """
    leaves, structure = jax.tree.flatten(law._replace(link=None))

    def rebuild(numbers):
        return structure.unflatten([numbers[place] for place in range(len(leaves))])

    def log_factor(numbers, similarities):
        return rebuild(numbers).log_factor(similarities)

    scalar = all(jnp.ndim(leaf) == 0 for leaf in leaves)
    if scalar:
        numbers = jnp.stack([jnp.asarray(leaf, dtype) for leaf in leaves])
        shape = jax.ShapeDtypeStruct((8, LANES), dtype)
        constants = jax.make_jaxpr(log_factor)(numbers, shape).consts
        scalar = all(jnp.ndim(constant) == 0 for constant in constants)
        if scalar:
            return numbers, rebuild
    raise NotImplementedError(
        "the pallas implementation takes hardening functions whose only arrays are scalars; "
        'implementation="blockwise" takes any'
    )


def over_tiles(
    kernel: Callable[..., None],
    tiles: tuple[int, int],
    operands: Sequence[tuple[Any, Any]],
    out: tuple[Any, Any],
    cost: pl.CostEstimate,
) -> Any:
    """Runs a kernel over tiles (i, j), j fastest: compiled on a TPU, interpreted on a CPU.

    Args:
        kernel: a function of references.
        tiles: the numbers of i and of j.
        operands: arrays and their block specifications.
        out: the shape of the result, whose block does not depend on j, and its specification.
        cost: what XLA is to think of it.

    Returns:
        The result.

    Example:
        >>> import jax.numpy as jnp
        >>> def kernel(x, out):
        ...     out[...] = 2 * x[...]
        >>> whole = pl.BlockSpec((8, 128), lambda i, j: (0, 0))
        >>> x = jnp.ones((8, 128))
        >>> cost = pl.CostEstimate(flops=1024, transcendentals=0, bytes_accessed=8192)
        >>> over_tiles(kernel, (1, 1), [(x, whole)], (x, whole), cost).sum().item()
        2048.0
    """
    arrays, specifications = zip(*operands, strict=True)

    def run(interpret):
        return pl.pallas_call(
            kernel,
            grid=tiles,
            in_specs=specifications,
            out_specs=out[1],
            out_shape=jax.ShapeDtypeStruct(out[0].shape, out[0].dtype),
            compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
            cost_estimate=cost,
            interpret=interpret,
        )

    return lax.platform_dependent(*arrays, cpu=run(True), tpu=run(False))
