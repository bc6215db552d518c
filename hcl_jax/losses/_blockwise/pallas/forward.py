"""The forward pass over negatives as a TPU kernel; `..negatives` has the mathematics."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.lax import PrecisionLike
from jaxtyping import Array, Float

from hcl_jax.losses._blockwise.block import RowBlock
from hcl_jax.losses._blockwise.negatives import LogSums, NegativeSums, update
from hcl_jax.losses._blockwise.pallas.lanes import (
    in_lanes,
    narrow_keys,
    negatives_in_lanes,
    over_tiles,
    padded_features,
    scalars_of,
    tile_rows,
)
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.precision import inner_products, wide_dtype


def negative_sums(
    infonce: TiltedInfoNCE, anchors: RowBlock, candidates: RowBlock, precision: PrecisionLike
) -> NegativeSums:
    """The sums of `..negatives.accumulate` over all candidates, with a running maximum.

    Candidates run down a tile and anchors across, along the lanes, so that the sums of an anchor
    go over sublanes and stay in lanes, as they are kept. The mask of negatives is made from the
    keys in the kernel; a tile never leaves VMEM.
    """
    (count, dim), others = anchors.features.shape, candidates.features.shape[0]
    narrow = jnp.result_type(anchors.features, candidates.features)
    dtype = wide_dtype(narrow)
    down, across = tile_rows(others, dim), tile_rows(count, dim)
    scalars, rebuild = scalars_of(infonce, dtype)
    kinds = 1 if infonce.has_no_hardening else 2
    # Products of two bfloat16 are exact in float32 at any precision.
    precision = None if narrow == jnp.bfloat16 else precision

    def kernel(scalars: Any, x: Any, y: Any, x_excluded: Any, y_excluded: Any, out: Any) -> None:
        infonce, j = rebuild(scalars), pl.program_id(1)

        @pl.when(j == 0)
        def begin() -> None:
            for kind in range(kinds):
                out[2 * kind, :] = jnp.full(across, -jnp.inf, dtype)
                out[2 * kind + 1, :] = jnp.zeros(across, dtype)

        similarities = inner_products(y[...], x[...], precision)
        where = negatives_in_lanes(x_excluded, y_excluded, axis=1)
        if others % down:
            row = j * down + lax.broadcasted_iota(jnp.int32, where.shape, 0)
            where &= row < others
        exponents = (infonce.log_tilted, infonce.log_factor)[:kinds]
        for kind, exponent in enumerate(exponents):
            old = LogSums(out[2 * kind, :], out[2 * kind + 1, :])
            new = update(old, exponent(similarities), where, axis=0)
            out[2 * kind, :], out[2 * kind + 1, :] = new

    excluded = narrow_keys(anchors.as_anchor.excluded, candidates.as_candidate.excluded)
    x = padded_features(anchors.features, across, narrow)
    y = padded_features(candidates.features, down, narrow)
    tiles, lanes = (x.shape[0] // across, y.shape[0] // down), x.shape[1]
    found = over_tiles(
        kernel,
        tiles,
        [
            (scalars, pl.BlockSpec(memory_space=pltpu.SMEM)),
            (x, pl.BlockSpec((across, lanes), lambda i, j: (i, 0))),
            (y, pl.BlockSpec((down, lanes), lambda i, j: (j, 0))),
            (in_lanes(excluded[:1], across), pl.BlockSpec((1, across), lambda i, j: (0, i))),
            (in_lanes(excluded[1:], down), pl.BlockSpec((1, down), lambda i, j: (0, j))),
        ],
        (
            jax.ShapeDtypeStruct((2 * kinds, x.shape[0]), dtype),
            pl.BlockSpec((2 * kinds, across), lambda i, j: (0, i)),
        ),
        pl.CostEstimate(
            flops=2 * x.shape[0] * y.size,
            transcendentals=kinds * x.shape[0] * y.shape[0],
            bytes_accessed=(x.size + tiles[0] * y.size) * narrow.itemsize,
        ),
    )[:, :count]
    plain = LogSums(found[2], found[3]) if kinds == 2 else _empty(found[0])
    return NegativeSums(LogSums(found[0], found[1]), plain)


def _empty(like: Float[Array, " n"]) -> LogSums:
    """The sum of eta where it is not needed."""
    return LogSums(jnp.full_like(like, -jnp.inf), jnp.zeros_like(like))
