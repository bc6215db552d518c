"""The positives' part of the loss: only where groups can match.

Rows sorted by group have their positives in a narrow band. Each block of rows therefore meets the
first block of columns whose groups reach up to its own, then the next one, and so on; all blocks
move on together, as a batch of tiles, until the last has passed its band. The number of steps is
not static: it follows from the groups, from one or two for many small classes to the whole matrix
for a single class. Rows that are not sorted are served as well, with wider bands.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from hcl_jax.losses._blockwise.block import Side, along, positives
from hcl_jax.losses._blockwise.gradients import weighted_sum
from hcl_jax.losses.law import Law
from hcl_jax.padding import pad_rows, padding, valid_rows, varying_like


class PositiveSums(NamedTuple):
    """Of every anchor, over its positives: losses, derivatives by the offset, and their number."""

    total: Float[Array, " n"]
    slope: Float[Array, " n"]
    number: Int[Array, " n"]


def no_positives(like: Float[Array, "*n"]) -> PositiveSums:
    """Empty sums, to which those of portions of candidates are added.

    Args:
        like: one number for each anchor.

    Returns:
        Zeros.

    Example:
        >>> import jax.numpy as jnp
        >>> no_positives(jnp.ones(2)).number.tolist()
        [0, 0]
    """
    zeros = jnp.zeros_like(like)
    return PositiveSums(zeros, zeros, zeros.astype(jnp.int32))


def positive_sums(
    law: Law, anchors: Side, candidates: Side, block: int, precision: Any
) -> PositiveSums:
    """The losses of anchors with the positives among some candidates.

    Args:
        law: how similarities become losses.
        anchors: features, keys and offsets.
        candidates: features and keys.
        block: the block length of both.
        precision: of the multiplications.

    Returns:
        The sums, before undefined anchors are taken out.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> from hcl_jax.losses._blockwise.block import Offsets
        >>> none = jnp.zeros(4)
        >>> side = side._replace(offsets=Offsets(none, none.astype(int), none))
        >>> positive_sums(law_of(), side, side, 2, None).total.round(4).tolist()  # log(1 + exp(-1))
        [0.3132999837398529, 0.3132999837398529, 0.3132999837398529, 0.3132999837398529]
    """
    x, y = _into_blocks(anchors, block), _into_blocks(candidates, block)

    def step(state, columns, active):
        match = positives(x, columns) & active
        value, slope = _pair_losses(law, _tiles(x, columns, precision), x, axis=0)
        return PositiveSums(
            state.total + jnp.sum(jnp.where(match, value, 0), axis=2),
            state.slope + jnp.sum(jnp.where(match, slope, 0), axis=2),
            state.number + jnp.sum(match, axis=2, dtype=jnp.int32),
        )

    assert x.offsets is not None
    sums = _over_bands(step, no_positives(x.offsets.offset), x, y)
    count = anchors.features.shape[0]
    return jax.tree.map(lambda values: values.reshape(-1)[:count], sums)


def positive_pull(
    law: Law, rows: Side, columns: Side, block: int, precision: Any
) -> Float[Array, "n dim"]:
    """The positives' part of ``G Z``, ``G^T Z`` or both, by the roles that rows and columns have.

    Args:
        law: how similarities become losses.
        rows: with offsets if they are anchors, with `as_candidate` if they are candidates.
        columns: likewise.
        block: the block length of both.
        precision: of the multiplications.

    Returns:
        The columns' share of the gradient by the features of the rows.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> from hcl_jax.losses._blockwise.block import Offsets
        >>> none = jnp.zeros(4)
        >>> side = side._replace(offsets=Offsets(none, none.astype(int), none + 1))
        >>> positive_pull(law_of(), side, side, 2, None).round(4).ravel().tolist()
        [-0.5378999710083008, -0.5378999710083008, 0.5378999710083008, 0.5378999710083008]
    """
    x, y = _into_blocks(rows, block), _into_blocks(columns, block)

    def step(total, other, active):
        similarities = _tiles(x, other, precision)
        tile = jnp.zeros_like(similarities)
        for anchors, candidates, axis in ((x, other, 0), (other, x, 1)):
            if anchors.offsets is not None and candidates.as_candidate is not None:
                match = positives(anchors, candidates, axis) & active
                slope = _pair_losses(law, similarities, anchors, axis)[1]
                tile -= jnp.where(match, slope * along(anchors.offsets.weight, axis), 0)
        tile /= jnp.asarray(law.temperature, tile.dtype)
        return total + weighted_sum(tile, other.features, precision)

    dtype = jnp.promote_types(rows.features.dtype, jnp.float32)
    total = _over_bands(step, jnp.zeros(x.features.shape, dtype), x, y)
    return total.reshape(-1, rows.features.shape[1])[: rows.features.shape[0]]


def _over_bands(step, start, x, y):
    """Runs `step` with the columns of every band; `active` says which tiles still have a band."""
    first, last = _bands(_ranges(x), _ranges(y))

    def move_on(k, state):
        at = jnp.minimum(first + k, y.features.shape[0] - 1)
        columns = jax.tree.map(lambda values: values[at], y)
        return step(state, columns, (first + k < last)[:, None, None])

    start = varying_like(start, (x, y))
    return lax.fori_loop(0, jnp.max(last - first), move_on, start)


def _bands(rows, columns):
    """Which blocks of columns may match each block of rows: from first up to but without last."""
    reach_up = lax.cummax(columns[1])
    reach_down = lax.cummin(columns[0], reverse=True)
    first = jnp.searchsorted(reach_up, rows[0], side="left")
    last = jnp.searchsorted(reach_down, rows[1], side="right")
    return first.astype(jnp.int32), last.astype(jnp.int32)


def _ranges(side):
    """The least and the greatest group of each block, in whichever roles its rows have."""
    keys = [k.group for k in (side.as_anchor, side.as_candidate) if k is not None]
    groups = jnp.concatenate(keys, axis=1)
    return groups.min(axis=1), groups.max(axis=1)


def _into_blocks(side, block):
    count = side.features.shape[0]
    extra = padding(count, block)
    padded = Side(
        features=pad_rows(side.features, extra),
        as_anchor=pad_rows(side.as_anchor, extra, mode="edge"),
        as_candidate=pad_rows(side.as_candidate, extra, mode="edge"),
        valid=valid_rows(count, block),
        offsets=pad_rows(side.offsets, extra),
    )
    return jax.tree.map(lambda v: v.reshape(-1, block, *v.shape[1:]), padded)


def _tiles(x, y, precision):
    dtype = jnp.promote_types(x.features.dtype, jnp.float32)
    return lax.dot_general(
        x.features,
        y.features,
        (((2,), (2,)), ((0,), (0,))),
        precision=precision,
        preferred_element_type=dtype,
    )


def _pair_losses(law, similarities, anchors, axis):
    """The loss of every pair of a tile, and its derivative by the offset."""
    offset, count = along(anchors.offsets.offset, axis), along(anchors.offsets.number, axis)
    x = offset - similarities / jnp.asarray(law.temperature, similarities.dtype)
    return jax.jvp(lambda x: law.link(x, count), (x,), (jnp.ones_like(x),))
