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
from jaxtyping import Array, Bool, Float, UInt32

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
from hcl_jax.precision import inner_products, weighted_sums, wide_dtype

Constants = tuple[Float[Array, ""], Float[Array, ""]]
"""Shifts of ``k`` and ``log eta`` common to all anchors."""

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
    constants: Constants | None = None,
) -> Float[Array, "n m"]:
    """A tile of G in its part from the negatives, which `where` marks, with anchors along `axis`.

    With ``u = exp(k - tilted_shift)``, ``w = exp(log eta - plain_shift)`` and D the derivative of
    ``log eta``, it is ``tilted u (1 / temperature + D) - plain w D``; if the weights are constants
    to differentiation (`detached`), D is zero. `constants` take the place of each anchor's shifts.
    """

    def term(
        factor: Float[Array, " k"],
        exponents: Float[Array, "n m"],
        own_shift: Float[Array, " k"],
        constant: Float[Array, ""] | None,
    ) -> Float[Array, "n m"]:
        if constant is not None:
            exponents = jnp.minimum(exponents - constant, LARGEST_EXPONENT)  # those outside `where`
        else:  # an anchor's own sum bounds its negatives' terms, but not those of other pairs
            exponents = jnp.minimum(exponents - along(own_shift, axis), 0)
        return jnp.where(where, along(factor, axis), 0) * jnp.exp(exponents)

    common = constants if constants is not None else (None, None)
    c, temperature = coefficients, jnp.asarray(infonce.temperature, similarities.dtype)
    tilted = term(c.tilted, infonce.log_tilted(similarities), c.tilted_shift, common[0])
    if detached or infonce.has_no_hardening:
        return tilted / temperature
    ones = jnp.ones_like(similarities)
    log_eta, derivative = jax.jvp(infonce.log_factor, (similarities,), (ones,))
    plain = term(c.plain, log_eta, c.plain_shift, common[1])
    return tilted / temperature + (tilted - plain) * derivative


def vjp_symmetric(
    infonce: TiltedInfoNCE,
    rows: WeightedRows,
    block: int,
    options: TileOptions,
    constants: Constants | None,
) -> Float[Array, "n dim"]:
    """``(G + G^T) Z`` for anchors that are the candidates, in whole blocks."""

    def step(total: Float[Array, "n dim"], i: Index, j: Index) -> Float[Array, "n dim"]:
        x, y = block_of(rows, i, block), block_of(rows, j, block)
        similarities = inner_products(x[0].features, y[0].features, options.precision)
        tile = _both_roles(infonce, similarities, x, y, options, constants)
        total = add_to_block(total, i, weighted_sums(tile, y[0].features, options.precision))
        others = lax.cond(
            i == j,
            lambda tile, features: jnp.zeros(features.shape, tile.dtype),
            lambda tile, features: weighted_sums(tile.T, features, options.precision),
            tile,
            x[0].features,
        )
        return add_to_block(total, j, others)

    return fold(step, _zeros(rows[0]), triangle(rows[0].features.shape[0] // block), like=rows)


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
        tile = _both_roles(infonce, similarities, x, y, options)
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


def _both_roles(
    infonce: TiltedInfoNCE,
    similarities: Float[Array, "n m"],
    x: WeightedRows,
    y: WeightedRows,
    options: TileOptions,
    constants: Constants | None = None,
) -> Float[Array, "n m"]:
    """A tile of G + G^T: rows as anchors of the columns, and columns as anchors of the rows."""
    down = negative_mask(x[0], y[0], similarities)
    across = negative_mask(y[0], x[0], similarities, axis=1)
    part = partial(
        tile_gradient, infonce, similarities, detached=options.detached, constants=constants
    )
    return part(down, x[1], 0) + part(across, y[1], 1)


def all_tiles(
    rows: RowBlock, columns: RowBlock, blocks: tuple[int, int]
) -> tuple[UInt32[np.ndarray, " k"], UInt32[np.ndarray, " k"]]:
    """The row and column numbers of all tiles."""
    return rectangle(rows.features.shape[0] // blocks[0], columns.features.shape[0] // blocks[1])


def _zeros(rows: RowBlock) -> Float[Array, "n dim"]:
    """A gradient before the first tile."""
    return jnp.zeros(rows.features.shape, wide_dtype(rows.features))
