"""The gradient with respect to similarities, tile by tile, and its products with the embeddings.

``G_ij``, the derivative of the final scalar with respect to the similarity of anchor i to candidate
j, is never whole in memory. A tile of it is computed again from the row statistics and multiplied
at once: ``G Z`` is the gradient with respect to the anchors, ``G^T X`` that with respect to the
candidates, and where the two are one set, ``(G + G^T) Z``. This file has the part of the negatives,
`hcl_jax.losses._blockwise.positives` the other.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from hcl_jax.losses._blockwise.block import RowBlock, SoftmaxCoefficients, along, negative_mask
from hcl_jax.losses._blockwise.negatives import LARGEST_EXPONENT
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.tiles import (
    Index,
    add_to_block,
    block_of,
    fold,
    rectangle,
    triangle,
)
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.padding import varying_like
from hcl_jax.precision import inner_products, weighted_sums, wide_dtype

TwoGradients = tuple[Float[Array, "anchors dim"], Float[Array, "candidates dim"]]
"""The gradients with respect to anchors and to candidates."""

WeightedRows = tuple[RowBlock, SoftmaxCoefficients]
"""Rows, and how the negatives of each enter the gradient."""


def tile_gradient(
    infonce: TiltedInfoNCE,
    similarities: Float[Array, "n m"],
    where: Bool[Array, "n m"],
    coefficients: SoftmaxCoefficients,
    axis: int,
    *,
    detached: bool,
) -> Float[Array, "n m"]:
    """A tile of G in its part from the negatives, those in `where`, with anchors along `axis`."""
    factors, shifts = coefficients[:2], coefficients[2:]
    of_pairs = SoftmaxCoefficients(
        *(jnp.where(where, along(factor, axis), 0) for factor in factors),
        *(along(shift, axis) for shift in shifts),
    )
    # An anchor's own sum bounds its negatives' terms, but not those of other pairs.
    return _softmax_gradient(infonce, similarities, of_pairs, 0, detached)


def _softmax_gradient(
    infonce: TiltedInfoNCE,
    similarities: Float[Array, "n m"],
    coefficients: SoftmaxCoefficients,
    largest: Float[Array, ""] | float,
    detached: bool,
) -> Float[Array, "n m"]:
    """A tile of G in its part from the negatives, by coefficients of its pairs.

    With ``u = exp(k - tilted_shift)``, ``w = exp(log eta - plain_shift)`` and D the derivative of
    ``log eta``, it is ``tilted u (1 / temperature + D) - plain w D``; if the weights are constants
    to differentiation (`detached`), D is zero. Exponents are at most `largest`, which no negative
    exceeds: pairs with factor 0 may.
    """

    def term(
        factor: Float[Array, "n m"], exponents: Float[Array, "n m"], shift: Float[Array, "#n #m"]
    ) -> Float[Array, "n m"]:
        return factor * jnp.exp(jnp.minimum(exponents - shift, largest))

    c, temperature = coefficients, jnp.asarray(infonce.temperature, similarities.dtype)
    tilted = term(c.tilted, infonce.log_tilted(similarities), c.tilted_shift)
    if detached or infonce.has_no_hardening:
        return tilted / temperature
    ones = jnp.ones_like(similarities)
    log_eta, derivative = jax.jvp(infonce.log_factor, (similarities,), (ones,))
    plain = term(c.plain, log_eta, c.plain_shift)
    return tilted / temperature + (tilted - plain) * derivative


def vjp_symmetric(
    infonce: TiltedInfoNCE,
    rows: WeightedRows,
    block: int,
    options: TileOptions,
    common_shift: Bool[Array, ""],
) -> Float[Array, "n dim"]:
    """``(G + G^T) Z`` for anchors that are the candidates, in whole blocks.

    Where all anchors have one shift (`common_shift`), one exponential serves both anchors of a pair
    and one pass over the tiles both terms. Else there are two: ``G Z``, then ``G^T Z``.
    """
    largest = jnp.where(common_shift, LARGEST_EXPONENT, 0)

    def one_pass(number: Int[Array, ""], total: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
        first = number == 0

        def step(total: Float[Array, "n dim"], i: Index, j: Index) -> Float[Array, "n dim"]:
            x, y = block_of(rows, i, block), block_of(rows, j, block)
            similarities = inner_products(x[0].features, y[0].features, options.precision)
            down = negative_mask(x[0], y[0], similarities) & (common_shift | first)
            across = negative_mask(y[0], x[0], similarities, axis=1) & (common_shift | ~first)
            of_pairs = _of_pairs(x[1], y[1], down, across, first)
            tile = _softmax_gradient(infonce, similarities, of_pairs, largest, options.detached)
            total = add_to_block(total, i, weighted_sums(tile, y[0].features, options.precision))
            others = lax.cond(
                i == j,
                lambda tile, features: jnp.zeros(features.shape, tile.dtype),
                lambda tile, features: weighted_sums(tile.T, features, options.precision),
                tile,
                x[0].features,
            )
            return add_to_block(total, j, others)

        return fold(step, total, triangle(rows[0].features.shape[0] // block), like=rows)

    start = varying_like(_zeros(rows[0]), (rows, common_shift))
    return lax.fori_loop(0, jnp.where(common_shift, 1, 2), one_pass, start)


def _of_pairs(
    x: SoftmaxCoefficients,
    y: SoftmaxCoefficients,
    down: Bool[Array, "n m"],
    across: Bool[Array, "n m"],
    of_x: Bool[Array, ""],
) -> SoftmaxCoefficients:
    """Coefficients of pairs, negatives by either side; the shifts are those of x, or else of y."""
    sides = list(zip(x, y, strict=True))
    factors = [
        jnp.where(down, along(a, 0), 0) + jnp.where(across, along(b, 1), 0) for a, b in sides
    ]
    shifts = [jnp.where(of_x, along(a, 0), along(b, 1)) for a, b in sides]
    return SoftmaxCoefficients(*factors[:2], *shifts[2:])


def vjp_rows(
    infonce: TiltedInfoNCE,
    rows: WeightedRows,
    columns: WeightedRows,
    blocks: tuple[int, int],
    options: TileOptions,
) -> Float[Array, "n dim"]:
    """``(G + G^T) Z`` for some rows, from the columns that have come so far, in whole blocks."""

    def step(total: Float[Array, "n dim"], i: Index, j: Index) -> Float[Array, "n dim"]:
        x, y = block_of(rows, i, blocks[0]), block_of(columns, j, blocks[1])
        similarities = inner_products(x[0].features, y[0].features, options.precision)
        tile = both_roles(infonce, similarities, x, y, options)
        return add_to_block(total, i, weighted_sums(tile, y[0].features, options.precision))

    tiles = all_tiles(rows[0], columns[0], blocks)
    return fold(step, _zeros(rows[0]), tiles, like=(rows, columns))


def vjp_two_sets(
    infonce: TiltedInfoNCE,
    anchors: WeightedRows,
    candidates: RowBlock,
    blocks: tuple[int, int],
    options: TileOptions,
) -> TwoGradients:
    """``G Y`` and ``G^T X`` for candidates that are not the anchors, both in whole blocks."""

    def step(totals: TwoGradients, i: Index, j: Index) -> TwoGradients:
        x, coefficients = block_of(anchors, i, blocks[0])
        y = block_of(candidates, j, blocks[1])
        similarities = inner_products(x.features, y.features, options.precision)
        where = negative_mask(x, y, similarities)
        tile = tile_gradient(
            infonce, similarities, where, coefficients, 0, detached=options.detached
        )
        return (
            add_to_block(totals[0], i, weighted_sums(tile, y.features, options.precision)),
            add_to_block(totals[1], j, weighted_sums(tile.T, x.features, options.precision)),
        )

    start = (_zeros(anchors[0]), _zeros(candidates))
    tiles = all_tiles(anchors[0], candidates, blocks)
    return fold(step, start, tiles, like=(anchors, candidates))


def both_roles(
    infonce: TiltedInfoNCE,
    similarities: Float[Array, "n m"],
    x: WeightedRows,
    y: WeightedRows,
    options: TileOptions,
) -> Float[Array, "n m"]:
    """A tile of G + G^T: rows as anchors of the columns, and columns as anchors of the rows."""
    down = negative_mask(x[0], y[0], similarities)
    across = negative_mask(y[0], x[0], similarities, axis=1)
    part = partial(tile_gradient, infonce, similarities, detached=options.detached)
    return part(down, x[1], 0) + part(across, y[1], 1)


def all_tiles(
    rows: RowBlock, columns: RowBlock, blocks: tuple[int, int]
) -> tuple[UInt32[np.ndarray, " k"], UInt32[np.ndarray, " k"]]:
    """The row and column indices of all tiles."""
    return rectangle(rows.features.shape[0] // blocks[0], columns.features.shape[0] // blocks[1])


def _zeros(rows: RowBlock) -> Float[Array, "n dim"]:
    """A gradient before the first tile."""
    return jnp.zeros(rows.features.shape, wide_dtype(rows.features))
