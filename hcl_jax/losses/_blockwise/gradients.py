"""The gradient by similarities, tile by tile, and its products with the embeddings.

``G_ij``, the derivative of the final loss by the similarity of anchor i to candidate j, is never
whole in memory. A tile of it is computed again from the row statistics and multiplied at once:
``G Z`` is the gradient by the anchors, ``G^T X`` that by the candidates, and where the two are one
set, ``(G + G^T) Z``. This file has the part of the negatives, `hcl_jax.losses._blockwise.positives`
the other.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from hcl_jax.losses._blockwise.block import Side, Slopes, along, negatives
from hcl_jax.losses._blockwise.tiles import (
    add_to_block,
    block_of,
    fold,
    inner_products,
    rectangle,
    triangle,
)
from hcl_jax.losses.law import Law

Constants = tuple[Float[Array, ""], Float[Array, ""]]
"""Shifts of ``k`` and ``log eta`` common to all anchors."""


def tile_gradient(
    law: Law,
    similarities: Float[Array, "n m"],
    where: Bool[Array, "n m"],
    slopes: Slopes,
    axis: int,
    *,
    detached: bool,
    constants: Constants | None = None,
) -> Float[Array, "n m"]:
    """A tile of G, with anchors running along `axis`, in its part from the negatives.

    With ``u = exp(k - tilted_shift)``, ``w = exp(log eta - plain_shift)`` and D the derivative of
    ``log eta``, it is ``tilted u (1 / temperature + D) - plain w D``; if the weights are constants
    to differentiation, D is zero.

    Args:
        law: how similarities are weighed.
        similarities: the tile.
        where: which of its pairs are negatives.
        slopes: of the anchors.
        axis: the axis along which they run.
        detached: whether the weights eta are constants to differentiation.
        constants: the shifts, where they are the same for all anchors.

    Returns:
        The tile; zero outside the negatives.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.losses.law import law_of
        >>> slopes, where = Slopes(*jnp.ones((2, 1))), jnp.array([[True, False]])
        >>> zero = jnp.zeros(())
        >>> tile_gradient(
        ...     law_of(), jnp.zeros((1, 2)), where, slopes, 0, detached=True, constants=(zero, zero)
        ... ).tolist()
        [[1.0, 0.0]]
    """

    def term(factor, exponents, own_shift, constant):
        if constant is not None:
            exponents = exponents - constant
        else:  # an anchor's own sum bounds its negatives' terms, but not those of other pairs
            exponents = jnp.minimum(exponents - along(own_shift, axis), 0)
        return jnp.where(where, along(factor, axis), 0) * jnp.exp(exponents)

    common = constants if constants is not None else (None, None)
    temperature = jnp.asarray(law.temperature, similarities.dtype)
    tilted = term(slopes.tilted, law.log_tilted(similarities), slopes.tilted_shift, common[0])
    if detached or law.has_no_hardening:
        return tilted / temperature
    log_eta, derivative = jax.jvp(law.log_factor, (similarities,), (jnp.ones_like(similarities),))
    plain = term(slopes.plain, log_eta, slopes.plain_shift, common[1])
    return tilted / temperature + (tilted - plain) * derivative


def triangle_pull(
    law: Law,
    rows: Side,
    block: int,
    *,
    detached: bool,
    constants: Constants | None,
    precision: Any,
) -> Float[Array, "n dim"]:
    """``(G + G^T) Z`` for anchors that are the candidates, over tiles with I <= J.

    Args:
        law: how similarities are weighed.
        rows: features, keys in both roles, slopes; whole blocks.
        block: the block length.
        detached: whether the weights eta are constants to differentiation.
        constants: common shifts, or None to use each anchor's own.
        precision: of the multiplications.

    Returns:
        The gradient by the features.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> from hcl_jax.losses._blockwise.block import Slopes
        >>> side = side._replace(slopes=Slopes(*jnp.zeros((4, 4)).at[:2].set(1.0)))
        >>> options = {"detached": True, "constants": None, "precision": None}
        >>> triangle_pull(law_of(), side, 2, **options).round(4).ravel().tolist()
        [-1.4714999198913574, -1.4714999198913574, 1.4714999198913574, 1.4714999198913574]
    """

    def step(total, i, j):
        x, y = block_of(rows, i, block), block_of(rows, j, block)
        similarities = inner_products(x.features, y.features, precision)
        tile = _both_roles(law, similarities, x, y, detached=detached, constants=constants)
        total = add_to_block(total, i, weighted_sum(tile, y.features, precision))
        others = lax.cond(
            i == j,
            lambda tile, features: jnp.zeros(features.shape, tile.dtype),
            lambda tile, features: weighted_sum(tile.T, features, precision),
            tile,
            x.features,
        )
        return add_to_block(total, j, others)

    start = jnp.zeros(rows.features.shape, _sum_dtype(rows.features))
    return fold(step, start, triangle(rows.features.shape[0] // block), like=rows)


def pull(
    law: Law,
    rows: Side,
    columns: Side,
    blocks: tuple[int, int],
    *,
    detached: bool,
    precision: Any,
) -> Float[Array, "n dim"]:
    """``(G + G^T) Z`` for some rows, from the columns that have come so far.

    Args:
        law: how similarities are weighed.
        rows: features, keys in both roles, slopes with own shifts; whole blocks.
        columns: the same of the others.
        blocks: the block lengths of rows and columns.
        detached: whether the weights eta are constants to differentiation.
        precision: of the multiplications.

    Returns:
        The columns' share of the gradient by the features of the rows.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> from hcl_jax.losses._blockwise.block import Slopes
        >>> side = side._replace(slopes=Slopes(*jnp.zeros((4, 4)).at[:2].set(1.0)))
        >>> whole = pull(law_of(), side, side, (4, 4), detached=True, precision=None)
        >>> whole.round(4).ravel().tolist()
        [-1.4714999198913574, -1.4714999198913574, 1.4714999198913574, 1.4714999198913574]
    """

    def step(total, i, j):
        x, y = block_of(rows, i, blocks[0]), block_of(columns, j, blocks[1])
        similarities = inner_products(x.features, y.features, precision)
        tile = _both_roles(law, similarities, x, y, detached=detached, constants=None)
        return add_to_block(total, i, weighted_sum(tile, y.features, precision))

    start = jnp.zeros(rows.features.shape, _sum_dtype(rows.features))
    return fold(step, start, _tiles(rows, columns, blocks), like=(rows, columns))


def pull_apart(
    law: Law,
    anchors: Side,
    candidates: Side,
    blocks: tuple[int, int],
    *,
    detached: bool,
    precision: Any,
) -> tuple[Float[Array, "anchors dim"], Float[Array, "candidates dim"]]:
    """``G Y`` and ``G^T X`` for candidates that are not the anchors.

    Args:
        law: how similarities are weighed.
        anchors: features, keys, slopes with own shifts; whole blocks.
        candidates: features and keys; whole blocks.
        blocks: the block lengths of anchors and of candidates.
        detached: whether the weights eta are constants to differentiation.
        precision: of the multiplications.

    Returns:
        The gradients by the anchors and by the candidates.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> from hcl_jax.losses._blockwise.block import Slopes
        >>> side = side._replace(slopes=Slopes(*jnp.zeros((4, 4)).at[:2].set(1.0)))
        >>> apart = pull_apart(law_of(), side, side, (4, 4), detached=True, precision=None)
        >>> sum(apart).round(4).ravel().tolist()
        [-1.4714999198913574, -1.4714999198913574, 1.4714999198913574, 1.4714999198913574]
    """

    def step(totals, i, j):
        x, y = block_of(anchors, i, blocks[0]), block_of(candidates, j, blocks[1])
        assert x.slopes is not None
        similarities = inner_products(x.features, y.features, precision)
        tile = tile_gradient(law, similarities, negatives(x, y), x.slopes, 0, detached=detached)
        return (
            add_to_block(totals[0], i, weighted_sum(tile, y.features, precision)),
            add_to_block(totals[1], j, weighted_sum(tile.T, x.features, precision)),
        )

    start = tuple(
        jnp.zeros(s.features.shape, _sum_dtype(s.features)) for s in (anchors, candidates)
    )
    return fold(step, start, _tiles(anchors, candidates, blocks), like=(anchors, candidates))


def weighted_sum(
    tile: Float[Array, "*blocks n m"], features: Float[Array, "*blocks m dim"], precision: Any
) -> Float[Array, "*blocks n dim"]:
    """``tile @ features``, summed in the dtype of the tile.

    Args:
        tile: weights.
        features: embeddings.
        precision: of the multiplication. At `jax.lax.Precision.DEFAULT` the weights are rounded to
            the dtype of the features first, as matrix units want it; otherwise the features are
            widened.

    Returns:
        The products.

    Example:
        >>> import jax.numpy as jnp
        >>> weighted_sum(jnp.ones((1, 2)), jnp.eye(2, dtype=jnp.bfloat16), None).dtype
        dtype('float32')
    """
    dtype = tile.dtype
    if precision == lax.Precision.DEFAULT:
        tile = tile.astype(features.dtype)
    else:
        features = features.astype(dtype)
    return jnp.matmul(tile, features, precision=precision, preferred_element_type=dtype)


def _both_roles(law, similarities, x, y, *, detached, constants):
    """A tile of G + G^T: rows as anchors of the columns, and columns as anchors of the rows."""
    own = tile_gradient(
        law, similarities, negatives(x, y), x.slopes, 0, detached=detached, constants=constants
    )
    return own + tile_gradient(
        law, similarities, negatives(y, x, axis=1), y.slopes, 1, detached=detached,
        constants=constants,
    )  # fmt: skip


def _tiles(rows, columns, blocks):
    return rectangle(rows.features.shape[0] // blocks[0], columns.features.shape[0] // blocks[1])


def _sum_dtype(features):
    return jnp.promote_types(features.dtype, jnp.float32)
