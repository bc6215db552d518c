"""The positives' part of the loss: only where groups can match.

Rows sorted by group have their positives in a narrow band. Each block of rows therefore meets the
first block of columns whose groups reach up to its own, then the next one, and so on; all blocks
move on together, as a batch of tiles, until the last has passed its band. The number of steps is
not static: it follows from the groups, from one or two for many small classes to the whole matrix
for a single class. Rows that are not sorted are served as well, with wider bands.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses._blockwise.block import AnchorTerms, RowBlock, along, positive_mask
from hcl_jax.losses.pair_statistics import Moments, merged, moments_of, no_pairs
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.padding import pad_rows, padding, valid_rows, varying_like
from hcl_jax.precision import inner_products, weighted_sums, wide_dtype

State = TypeVar("State")
Terms = TypeVar("Terms", bound=AnchorTerms | None)

BAND_BLOCK = {"cpu": 32}
"""Rows in a block of the band, by backend; elsewhere `BAND_BLOCK_ELSEWHERE`.

Short blocks meet fewer rows beside the band, long ones are fewer.
"""

BAND_BLOCK_ELSEWHERE = 64


class PositiveSums(NamedTuple):
    """Of every anchor, over its positives.

    Attributes:
        total: the sum of losses.
        slope: the sum of their derivatives with respect to the offset.
        number: the number of positives.
        moments: of all positives of all anchors, where statistics are asked for.
    """

    total: Float[Array, "*n"]
    slope: Float[Array, "*n"]
    number: Int[Array, "*n"]
    moments: Moments | None = None


Ranges = tuple[Int[Array, " blocks"], Int[Array, " blocks"]]
"""The least and the greatest group of every block, the other way round where a block has none."""

RowsAndTerms = tuple[RowBlock, AnchorTerms | None]
"""Rows, with the terms of their losses where they are anchors."""


def band_block() -> int:
    """The length of a block of the band on the backend that JAX uses."""
    return BAND_BLOCK.get(jax.default_backend(), BAND_BLOCK_ELSEWHERE)


def empty_positive_sums(like: Float[Array, "*n"], *, observed: bool = False) -> PositiveSums:
    """Sums over no positives, of as many anchors as `like` has numbers."""
    zeros = jnp.zeros_like(like)
    moments = no_pairs(zeros) if observed else None
    return PositiveSums(zeros, zeros, zeros.astype(jnp.int32), moments)


def added(one: PositiveSums, other: PositiveSums) -> PositiveSums:
    """The sums over the positives of both."""
    sums = jax.tree.map(jnp.add, one._replace(moments=None), other._replace(moments=None))
    if one.moments is None or other.moments is None:
        return sums
    return sums._replace(moments=merged(one.moments, other.moments))


def positive_sums(
    infonce: TiltedInfoNCE,
    anchors: tuple[RowBlock, AnchorTerms],
    candidates: RowBlock,
    precision: PrecisionLike,
    block: int | None = None,
    *,
    observed: bool = False,
) -> PositiveSums:
    """Sums over the positives among some candidates, before undefined anchors are taken out."""
    block = block or band_block()
    real = valid_rows(anchors[0].features.shape[0], block)

    def add(
        state: PositiveSums,
        similarities: Float[Array, "blocks n m"],
        match: Bool[Array, "blocks n m"],
        terms: AnchorTerms,
    ) -> PositiveSums:
        sums = sums_of_tile(infonce, similarities, match, terms)
        if observed:
            of_real = match if real is None else match & real.reshape(shape)[:, :, None]
            sums = sums._replace(moments=moments_of(similarities, of_real))
        return added(state, sums)

    count = anchors[0].features.shape[0]
    shape = ((count + padding(count, block)) // block, block)
    start = empty_positive_sums(jnp.zeros(shape, anchors[1].offset.dtype), observed=observed)
    sums = over_positives(add, start, anchors, candidates, precision, block)
    of_rows = sums._replace(moments=None)
    kept = jax.tree.map(lambda values: values.reshape(-1)[:count], of_rows)
    return kept._replace(moments=sums.moments)


def sums_of_tile(
    infonce: TiltedInfoNCE,
    similarities: Float[Array, "*blocks n m"],
    match: Bool[Array, "*blocks n m"],
    terms: AnchorTerms,
) -> PositiveSums:
    """Sums over the positives of one tile, which `match` marks, without their moments."""
    value, slope, _ = pair_losses(infonce, similarities, terms, axis=0)
    return PositiveSums(
        jnp.sum(jnp.where(match, value, 0), axis=-1),
        jnp.sum(jnp.where(match, slope, 0), axis=-1),
        jnp.sum(match, axis=-1, dtype=jnp.int32),
    )


def largest_positives(
    anchors: RowBlock, candidates: RowBlock, precision: PrecisionLike, block: int | None = None
) -> Float[Array, " anchors"]:
    """The largest similarity of every anchor to a positive among some candidates, or ``-inf``."""
    block = block or band_block()

    def add(
        state: Float[Array, "blocks n"],
        similarities: Float[Array, "blocks n m"],
        match: Bool[Array, "blocks n m"],
        _: None,
    ) -> Float[Array, "blocks n"]:
        return jnp.maximum(state, jnp.max(similarities, axis=2, where=match, initial=-jnp.inf))

    count = anchors.features.shape[0]
    shape = ((count + padding(count, block)) // block, block)
    start = jnp.full(shape, -jnp.inf, wide_dtype(anchors.features))
    return over_positives(add, start, (anchors, None), candidates, precision, block).reshape(-1)[
        :count
    ]


def over_positives(
    add: Callable[..., State],
    start: State,
    anchors: RowsAndTerms,
    candidates: RowBlock,
    precision: PrecisionLike,
    block: int | None = None,
) -> State:
    """Runs ``state = add(state, similarities, positives, terms)`` over the tiles of the bands."""
    block = block or band_block()
    x, y = _into_blocks(anchors, block), _into_blocks((candidates, None), block)

    def step(state: State, columns: RowsAndTerms, active: Bool[Array, "blocks 1 1"]) -> State:
        match = positive_mask(x[0], columns[0]) & active
        similarities = inner_products(x[0].features, columns[0].features, precision)
        return add(state, similarities, match, x[1])

    return _over_bands(step, start, x, y)


def vjp_positives(
    infonce: TiltedInfoNCE,
    rows: RowsAndTerms,
    columns: RowsAndTerms,
    precision: PrecisionLike,
    block: int | None = None,
) -> Float[Array, "n dim"]:
    """The positives' part of ``G Z``, ``G^T Z`` or both: the gradient with respect to the rows.

    Where the rows have terms they are anchors of the columns, where the columns have, of the rows.
    """
    block = block or band_block()
    x, y = _into_blocks(rows, block), _into_blocks(columns, block)

    def step(
        total: Float[Array, "blocks b dim"], other: RowsAndTerms, active: Bool[Array, "blocks 1 1"]
    ) -> Float[Array, "blocks b dim"]:
        similarities = inner_products(x[0].features, other[0].features, precision)
        tile = jnp.zeros_like(similarities)
        for (anchors, terms), (candidates, _), axis in ((x, other, 0), (other, x, 1)):
            if terms is not None:
                match = positive_mask(anchors, candidates, axis) & active
                pull = pair_losses(infonce, similarities, terms, axis)[2]
                tile -= jnp.where(match, pull * along(terms.weight, axis), 0)
        tile /= jnp.asarray(infonce.temperature, tile.dtype)
        return total + weighted_sums(tile, other[0].features, precision)

    count, dim = rows[0].features.shape
    start = jnp.zeros(x[0].features.shape, wide_dtype(rows[0].features))
    return _over_bands(step, start, x, y).reshape(-1, dim)[:count]


def _over_bands(
    step: Callable[[State, RowsAndTerms, Bool[Array, "blocks 1 1"]], State],
    start: State,
    x: RowsAndTerms,
    y: RowsAndTerms,
) -> State:
    """Runs `step` with the columns of every band; `active` says which tiles still have a band."""
    first, last = _bands(_ranges(x[0]), _ranges(y[0]))

    def move_on(k: Int[Array, ""] | int, state: State) -> State:
        at = jnp.minimum(first + k, y[0].features.shape[0] - 1)
        columns = jax.tree.map(lambda values: values[at], y)
        return step(state, columns, (first + k < last)[:, None, None])

    start = varying_like(start, (x, y))
    return lax.fori_loop(0, jnp.max(last - first), move_on, start)


def _bands(
    rows: Ranges, columns: tuple[Int[Array, " others"], Int[Array, " others"]]
) -> tuple[Int[Array, " blocks"], Int[Array, " blocks"]]:
    """Which blocks of columns may match each block of rows: from first up to but without last."""
    (least, greatest), (columns_from, columns_to) = (along(rows, 0), along(columns, 1))
    meet = (columns_from <= greatest) & (least <= columns_to)
    number = jnp.arange(meet.shape[1], dtype=jnp.int32)[None]
    first = jnp.min(jnp.where(meet, number, meet.shape[1]), axis=1)
    return first, jnp.max(jnp.where(meet, number + 1, 0), axis=1)


def _ranges(rows: RowBlock) -> Ranges:
    """The least and the greatest group of each block, in either role, of rows with positives."""
    least, greatest = [], []
    for keys in (rows.as_anchor, rows.as_candidate):
        limits, among = jnp.iinfo(keys.group.dtype), keys.in_positives
        least.append(jnp.min(keys.group, axis=1, where=among, initial=limits.max))
        greatest.append(jnp.max(keys.group, axis=1, where=among, initial=limits.min))
    return jnp.minimum(*least), jnp.maximum(*greatest)


def _into_blocks(rows: tuple[RowBlock, Terms], block: int) -> tuple[RowBlock, Terms]:
    """Rows padded to whole blocks, with a leading axis over blocks."""
    (features, as_anchor, as_candidate, *_), terms = rows
    count = features.shape[0]
    extra = padding(count, block)
    padded = RowBlock(
        features=pad_rows(features, extra),
        as_anchor=pad_rows(as_anchor, extra, mode="edge"),
        as_candidate=pad_rows(as_candidate, extra, mode="edge"),
        valid=valid_rows(count, block),
    )
    whole = (padded, pad_rows(terms, extra))
    return jax.tree.map(lambda v: v.reshape(-1, block, *v.shape[1:]), whole)


def pair_losses(
    infonce: TiltedInfoNCE,
    similarities: Float[Array, "*blocks n m"],
    terms: AnchorTerms,
    axis: int,
) -> tuple[Float[Array, "*blocks n m"], Float[Array, "*blocks n m"], Float[Array, "*blocks n m"]]:
    """The loss of every pair of a tile, its derivative with respect to the offset, and its pull.

    The pull is the derivative with respect to the logit of the positive, with the other sign. The
    two are equal unless there is a lower bound, which knows the positive and not the negatives.
    """
    offset, number = along(terms.offset, axis), along(jnp.maximum(terms.number, 1), axis)
    logits = similarities / jnp.asarray(infonce.temperature, similarities.dtype)
    x = offset - logits
    value, slope = jax.jvp(lambda x: infonce.link(x, number), (x,), (jnp.ones_like(x),))
    if infonce.lower is None:
        return value, slope, slope
    lower = infonce.lower
    least, rise = jax.jvp(lambda x: lower(x, number), (logits,), (jnp.ones_like(logits),))
    free = value > least
    return jnp.maximum(value, least), jnp.where(free, slope, 0), jnp.where(free, slope, -rise)
