"""The backward pass over negatives as a TPU kernel; see `hcl_jax.losses._blockwise.gradients`."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from hcl_jax.losses._blockwise.block import RowBlock, SoftmaxCoefficients
from hcl_jax.losses._blockwise.gradients import tile_gradient
from hcl_jax.losses._blockwise.options import TileOptions
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
from hcl_jax.precision import inner_products, weighted_sums, wide_dtype

RowsAndCoefficients = tuple[RowBlock, SoftmaxCoefficients | None]
"""Rows, with the coefficients of their negatives where they are anchors."""

Operand = tuple[Array, pl.BlockSpec]


def vjp_negatives(
    infonce: TiltedInfoNCE,
    rows: RowsAndCoefficients,
    columns: RowsAndCoefficients,
    options: TileOptions,
) -> Float[Array, "n dim"]:
    """The negatives' part of ``G Z``, ``G^T Z`` or both: the gradient with respect to the rows.

    Where the rows have coefficients they are anchors of the columns, where the columns have, of the
    rows. Each tile of G is computed again from the statistics of its rows, in VMEM, and multiplied
    there. Padded rows need no mask: as anchors they have factor 0, as candidates features 0.
    """
    (count, dim), others = rows[0].features.shape, columns[0].features.shape[0]
    narrow = jnp.result_type(rows[0].features, columns[0].features)
    dtype = wide_dtype(narrow)
    down, across = tile_rows(count, dim), tile_rows(others, dim)
    scalars, rebuild = scalars_of(infonce, dtype)
    anchors = {
        axis: _anchors_along(axis, (down, across), own, others, dtype)
        for axis, own, others in ((0, rows, columns), (1, columns, rows))
        if own[1] is not None
    }
    of_similarities = None if narrow == jnp.bfloat16 else options.precision

    def kernel(scalars: Any, x: Any, y: Any, *references: Any) -> None:
        infonce, out = rebuild(scalars), references[-1]

        @pl.when(pl.program_id(1) == 0)
        def begin() -> None:
            out[...] = jnp.zeros(out.shape, dtype)

        similarities = inner_products(x[...], y[...], of_similarities)
        tile = jnp.zeros_like(similarities)
        for number, axis in enumerate(anchors):
            coefficients, own, others = references[3 * number : 3 * number + 3]
            tile += tile_gradient(
                infonce,
                similarities,
                negatives_in_lanes(own, others, axis),
                SoftmaxCoefficients(*(coefficients[kind, :] for kind in range(4))),
                axis,
                detached=options.detached,
            )
        out[...] += weighted_sums(tile, y[...], options.precision)

    x = padded_features(rows[0].features, down, narrow)
    y = padded_features(columns[0].features, across, narrow)
    tiles, lanes = (x.shape[0] // down, y.shape[0] // across), x.shape[1]
    by_row = pl.BlockSpec((down, lanes), lambda i, j: (i, 0))
    exponentials = len(anchors) * (1 if options.detached or infonce.has_no_hardening else 2)
    total = over_tiles(
        kernel,
        tiles,
        [
            (scalars, pl.BlockSpec(memory_space=pltpu.SMEM)),
            (x, by_row),
            (y, pl.BlockSpec((across, lanes), lambda i, j: (j, 0))),
            *(operand for operands in anchors.values() for operand in operands),
        ],
        (jax.ShapeDtypeStruct(x.shape, dtype), by_row),
        pl.CostEstimate(
            flops=4 * x.shape[0] * y.size,
            transcendentals=exponentials * x.shape[0] * y.shape[0],
            bytes_accessed=(x.size + tiles[0] * y.size) * narrow.itemsize + x.size * dtype.itemsize,
        ),
    )
    return total[:count, :dim]


def _anchors_along(
    axis: int,
    blocks: tuple[int, int],
    anchors: RowsAndCoefficients,
    candidates: RowsAndCoefficients,
    dtype: Any,
) -> list[Operand]:
    """Anchors along an axis of the tile: their coefficients and the keys of both."""

    def lanes(values: Any, axis: int) -> Operand:
        array = in_lanes(values, blocks[axis])
        index = (lambda i, j: (0, i)) if axis == 0 else (lambda i, j: (0, j))
        return array, pl.BlockSpec((array.shape[0], blocks[axis]), index)

    excluded = narrow_keys(anchors[0].as_anchor.excluded, candidates[0].as_candidate.excluded)
    return [
        lanes([values.astype(dtype) for values in anchors[1] or ()], axis),
        lanes(excluded[:1], axis),
        lanes(excluded[1:], 1 - axis),
    ]
