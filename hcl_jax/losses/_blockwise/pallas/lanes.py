"""What both kernels share: rows padded to tiles, numbers of rows along lanes, scalars in SMEM.

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
from jaxtyping import Array, Bool, Float, Int, Shaped

from hcl_jax.losses._blockwise.block import along
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.padding import padding
from hcl_jax.pairs import Keys, is_negative

LANES = 128

WIDEST = 4096
"""Features a row can have before a tile of rows, twice, with its gradient outgrows VMEM."""


def tile_rows(count: int, dim: int) -> int:
    """Rows in a tile: a multiple of the lanes, fewer for wide rows, so that tiles fit VMEM."""
    longest = 512 if dim <= 512 else 256 if dim <= 1024 else 128
    return min(longest, max(t for t in (128, 256, 512) if t == 128 or t <= count))


def padded_features(
    features: Float[Array, "n dim"], block: int, dtype: Any
) -> Float[Array, "padded lanes"]:
    """Embeddings with zeros appended to whole tiles and whole lanes; same inner products."""
    extra = [(0, padding(n, unit)) for n, unit in zip(features.shape, (block, LANES), strict=True)]
    return jnp.pad(features.astype(dtype), extra)


def in_lanes(values: Sequence[Shaped[Array, " n"]], block: int) -> Shaped[Array, "kinds padded"]:
    """Numbers of rows, stacked so that rows run along the lanes, zeros for padded rows."""
    stacked = jnp.stack(values)
    return jnp.pad(stacked, [(0, 0), (0, padding(stacked.shape[1], block))])


def narrow_keys(
    first: Int[Array, " n"], second: Int[Array, " m"]
) -> tuple[Int[Array, " n"], Int[Array, " m"]]:
    """Two arrays of keys in 32 bits, equal where and only where they were.

    Where they may not fit, the ranks among all keys take their place.
    """
    if all(jnp.can_cast(keys.dtype, jnp.int32) for keys in (first, second)):
        return first.astype(jnp.int32), second.astype(jnp.int32)
    both = jnp.concatenate([first, second])
    ranks = jnp.searchsorted(jnp.sort(both), both).astype(jnp.int32)
    return ranks[: first.shape[0]], ranks[first.shape[0] :]


def negatives_in_lanes(anchors: Any, candidates: Any, axis: int) -> Bool[Array, "n m"]:
    """The negatives of a tile, of references to `excluded` keys in lanes; anchors along `axis`."""
    a, c = along(anchors[0, :], axis), along(candidates[0, :], 1 - axis)
    return is_negative(Keys(a, a, a), Keys(c, c, c))  # which compares no other key


def scalars_of(
    infonce: TiltedInfoNCE, dtype: Any
) -> tuple[Float[Array, " k"], Callable[[Any], TiltedInfoNCE]]:
    """The scalars that concern negatives, for SMEM, and what makes a loss of them in the kernel.

    A hardening function that holds an array other than scalars raises NotImplementedError.
    """
    leaves, structure = jax.tree.flatten((infonce.log_factor, infonce.temperature))

    def rebuild(scalars: Any) -> TiltedInfoNCE:
        log_factor, temperature = structure.unflatten([scalars[k] for k in range(len(leaves))])
        return infonce._replace(log_factor=log_factor, temperature=temperature)

    def log_factor(scalars: Any, similarities: Float[Array, "n m"]) -> Float[Array, "n m"]:
        return rebuild(scalars).log_factor(similarities)

    scalar = all(jnp.ndim(leaf) == 0 for leaf in leaves)
    if scalar:
        scalars = jnp.stack([jnp.asarray(leaf, dtype) for leaf in leaves])
        shape = jax.ShapeDtypeStruct((8, LANES), dtype)
        constants = jax.make_jaxpr(log_factor)(scalars, shape).consts
        scalar = all(jnp.ndim(constant) == 0 for constant in constants)
        if scalar:
            return scalars, rebuild
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

    `operands` are arrays and their block specifications; `out` is the shape of the result and its
    specification, whose block does not depend on j; `cost` is what XLA is to think of it.
    """
    arrays, specifications = zip(*operands, strict=True)

    def run(interpret: bool) -> Callable[..., Array]:
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
