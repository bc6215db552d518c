"""The backward pass over negatives as a TPU kernel; see `hcl_jax.losses._blockwise.gradients`."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from hcl_jax.losses._blockwise.block import Side, Slopes, along
from hcl_jax.losses._blockwise.gradients import tile_gradient, weighted_sum
from hcl_jax.losses._blockwise.pallas.lanes import (
    in_lanes,
    narrow_keys,
    over_tiles,
    padded_features,
    scalars_of,
    tile_rows,
)
from hcl_jax.losses._blockwise.tiles import inner_products
from hcl_jax.losses.law import Law


def similarity_pull(
    law: Law, rows: Side, columns: Side, *, detached: bool, precision: Any
) -> Float[Array, "n dim"]:
    """The negatives' part of ``G Z``, ``G^T Z`` or ``(G + G^T) Z``, by the roles of the rows.

    Each tile of G is computed again from the statistics of its rows, in VMEM, and multiplied there.
    Padded rows need no mask: as anchors they have factor 0, as candidates features 0.

    Args:
        law: how similarities are weighed.
        rows: with slopes if they are anchors, with `as_candidate` if they are candidates.
        columns: likewise.
        detached: whether the weights eta are constants to differentiation.
        precision: of the multiplications.

    Returns:
        The columns' share of the gradient by the features of the rows.

    Raises:
        NotImplementedError: if the hardening function holds an array that is not a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> side = side._replace(slopes=Slopes(*jnp.zeros((4, 4)).at[:2].set(1.0)))
        >>> whole = similarity_pull(law_of(), side, side, detached=True, precision=None)
        >>> whole.round(4).ravel().tolist()
        [-1.4714999198913574, -1.4714999198913574, 1.4714999198913574, 1.4714999198913574]
    """
    (count, dim), others = rows.features.shape, columns.features.shape[0]
    narrow = jnp.result_type(rows.features, columns.features)
    dtype = jnp.promote_types(narrow, jnp.float32)
    down, across = tile_rows(count, dim), tile_rows(others, dim)
    numbers, rebuild = scalars_of(law, dtype)
    meetings = [
        _meeting(axis, down, across, anchors, candidates, dtype)
        for axis, anchors, candidates in ((0, rows, columns), (1, columns, rows))
        if anchors.slopes is not None and candidates.as_candidate is not None
    ]
    of_similarities = None if narrow == jnp.bfloat16 else precision

    def kernel(numbers, x, y, *references):
        law, out = rebuild(numbers), references[-1]

        @pl.when(pl.program_id(1) == 0)
        def begin():
            out[...] = jnp.zeros(out.shape, dtype)

        similarities = inner_products(x[...], y[...], of_similarities)
        tile = jnp.zeros_like(similarities)
        for number, (axis, _) in enumerate(meetings):
            slopes, anchors, candidates = references[3 * number : 3 * number + 3]
            where = along(anchors[0, :], axis) != along(candidates[0, :], 1 - axis)
            tile += tile_gradient(
                law,
                similarities,
                where,
                Slopes(*(slopes[kind, :] for kind in range(4))),
                axis,
                detached=detached,
            )
        out[...] += weighted_sum(tile, y[...], precision)

    x = padded_features(rows.features, down, narrow)
    y = padded_features(columns.features, across, narrow)
    tiles, lanes = (x.shape[0] // down, y.shape[0] // across), x.shape[1]
    by_row = pl.BlockSpec((down, lanes), lambda i, j: (i, 0))
    exponentials = len(meetings) * (1 if detached or law.has_no_hardening else 2)
    total = over_tiles(
        kernel,
        tiles,
        [
            (numbers, pl.BlockSpec(memory_space=pltpu.SMEM)),
            (x, by_row),
            (y, pl.BlockSpec((across, lanes), lambda i, j: (j, 0))),
            *(operand for _, operands in meetings for operand in operands),
        ],
        (jax.ShapeDtypeStruct(x.shape, dtype), by_row),
        pl.CostEstimate(
            flops=4 * x.shape[0] * y.size,
            transcendentals=exponentials * x.shape[0] * y.shape[0],
            bytes_accessed=(x.size + tiles[0] * y.size) * narrow.itemsize + x.size * dtype.itemsize,
        ),
    )
    return total[:count, :dim]


def _meeting(axis, down, across, anchors, candidates, dtype):
    """Anchors along an axis of the tile: their slopes and the keys of both, as operands."""

    def lanes(values, axis):
        block = (down, across)[axis]
        array = in_lanes(values, block)
        index = (lambda i, j: (0, i)) if axis == 0 else (lambda i, j: (0, j))
        return array, pl.BlockSpec((array.shape[0], block), index)

    excluded = narrow_keys(anchors.as_anchor.excluded, candidates.as_candidate.excluded)
    slopes = [values.astype(dtype) for values in anchors.slopes]
    return axis, [
        lanes(slopes, axis),
        lanes(excluded[:1], axis),
        lanes(excluded[1:], 1 - axis),
    ]
