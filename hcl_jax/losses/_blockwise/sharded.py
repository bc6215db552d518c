"""The weights estimator for the rows of one device, with the candidates of all.

The mathematics is that of `hcl_jax.losses._blockwise.loss`; the candidates come as
`hcl_jax.losses._blockwise.exchange` says. Since anchors and candidates are the same rows of the
global batch, ``dZ = (G + G^T) Z``: device m computes its rows of the sum from features and row
statistics of the others, so no gradient travels. In a ring candidates visit twice in the forward
pass, because the losses of positives need the sums over all negatives, and once in the backward
pass.
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.losses._blockwise.block import (
    AnchorTerms,
    RowBlock,
    SoftmaxCoefficients,
    rows_in_one_role,
)
from hcl_jax.losses._blockwise.exchange import Exchange, for_each_shard
from hcl_jax.losses._blockwise.gradients import vjp_rows
from hcl_jax.losses._blockwise.negatives import (
    NegativeSums,
    accumulate,
    count_negatives,
    drop_padding,
    empty_sums,
    statistics,
)
from hcl_jax.losses._blockwise.numbers import (
    Differentiated,
    Values,
    empty,
    number_gradients,
    numbers_of_negatives,
    numbers_of_positives,
    sum_of_products,
)
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.positives import (
    PositiveSums,
    empty_positive_sums,
    positive_sums,
    vjp_positives,
)
from hcl_jax.losses._blockwise.vjp import (
    LossInputs,
    Residuals,
    anchor_terms,
    mask_undefined,
    softmax_coefficients,
    sort_rows,
    take,
    weighted_blocks,
    whole_blocks,
)
from hcl_jax.losses._differentiable_once import Embeddings, differentiable_once
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.padding import varying_like
from hcl_jax.pairs import Keys, Pairs

T = TypeVar("T")

Visitors = tuple[Float[Array, "m dim"], Keys]
"""Candidates of other devices: features, and keys as candidates."""

WeightedVisitors = tuple[RowBlock, SoftmaxCoefficients, AnchorTerms]
"""Rows of other devices in both roles, with what the gradient needs of them as anchors."""


class ShardOptions(NamedTuple):
    """How tiles are computed, and how and among which devices candidates travel."""

    tiles: TileOptions
    exchange: Exchange
    axis_name: str


def sharded_losses(
    infonce: TiltedInfoNCE,
    embeddings: Float[Array, "n dim"],
    pairs: Pairs,
    options: ShardOptions,
) -> AnchorLosses:
    """The losses of the rows of this device, with the candidates of all."""
    inputs = LossInputs(varying_like(infonce, embeddings), pairs)
    return _sharded(options, inputs, (embeddings,))


def _sharded_forward(
    options: ShardOptions, inputs: LossInputs, embeddings: Embeddings
) -> tuple[AnchorLosses, Residuals]:
    """Losses, once the candidates of all devices have come twice."""
    tiles, exchange, axis_name = options
    infonce, pairs = inputs
    (features,) = embeddings
    order, ranks, rows = sort_rows(features, pairs)
    padded, block = whole_blocks(rows, tiles)
    offer = (rows.features, rows.as_candidate)

    def add_negatives(
        state: tuple[NegativeSums, Int[Array, " n"]], visiting: Visitors
    ) -> tuple[NegativeSums, Int[Array, " n"]]:
        sums, count = state
        others, length = whole_blocks(rows_in_one_role(*visiting), tiles)
        sums = accumulate(sums, infonce, padded, others, (block, length), tiles.precision)
        return sums, count + count_negatives(pairs.anchors, visiting[1])[order]

    none = jnp.zeros(len(order), jnp.int32)
    start = varying_like((empty_sums(padded.features), none), rows)
    sums, count = for_each_shard(exchange, axis_name, offer, add_negatives, start)
    stats = statistics(infonce, drop_padding(sums, len(order)), count)
    anchors = (rows, anchor_terms(stats))

    def add_positives(state: PositiveSums, visiting: Visitors) -> PositiveSums:
        candidates = rows_in_one_role(*_by_group(exchange, visiting, visiting[1]))
        sums = positive_sums(infonce, anchors, candidates, tiles.precision)
        return jax.tree.map(jnp.add, state, sums)

    start = varying_like(empty_positive_sums(stats.tilted), rows)
    sums = for_each_shard(exchange, axis_name, offer, add_positives, start)
    losses, residuals = mask_undefined(stats, sums, jnp.zeros((), bool))
    return take(losses, ranks), residuals


def _sharded_backward(
    options: ShardOptions,
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " n"],
) -> Embeddings:
    """``(G + G^T) Z`` in the rows of this device."""
    tiles, exchange, axis_name = options
    infonce, pairs = inputs
    (features,) = embeddings
    order, ranks, rows = sort_rows(features, pairs)
    weight = weight[order]
    coefficients = softmax_coefficients(residuals, weight)
    terms = anchor_terms(residuals.statistics, weight)
    padded, block = weighted_blocks((rows, coefficients), tiles)

    def add_gradient(
        gradient: Float[Array, "n dim"], visiting: WeightedVisitors
    ) -> Float[Array, "n dim"]:
        others, length = weighted_blocks(visiting[:2], tiles)
        gradient += vjp_rows(infonce, padded, others, (block, length), tiles)[: len(order)]
        columns, _, of_columns = _by_group(exchange, visiting, visiting[0].as_candidate)
        return gradient + vjp_positives(
            infonce, (rows, terms), (columns, of_columns), tiles.precision
        )

    start = varying_like(jnp.zeros(features.shape, residuals.slope.dtype), rows)
    offer = (rows, coefficients, terms)
    gradient = for_each_shard(exchange, axis_name, offer, add_gradient, start)
    return (gradient[ranks],)


def _sharded_numbers(
    options: tuple[ShardOptions, tuple[bool, ...]],
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " n"],
    gradients: Embeddings,
) -> LossInputs:
    """The part of this device, whose sum over devices is the gradient with respect to numbers."""
    (tiles, exchange, axis_name), wanted = options
    (features,) = embeddings
    order, _, rows = sort_rows(features, inputs.pairs)
    weight = weight[order]
    coefficients = softmax_coefficients(residuals, weight)
    anchors = (rows, anchor_terms(residuals.statistics, weight))
    padded, block = weighted_blocks((rows, coefficients), tiles)
    offer = (rows.features, rows.as_candidate)

    def of_negatives(numbers: Differentiated) -> Values:
        def add(total: Values, visiting: Visitors) -> Values:
            others, length = whole_blocks(rows_in_one_role(*visiting), tiles)
            found = numbers_of_negatives(numbers, padded, others, (block, length), tiles)
            return jax.tree.map(jnp.add, total, found)

        start = empty(numbers, (weight, features))
        return for_each_shard(exchange, axis_name, offer, add, start)

    def of_positives(numbers: Differentiated) -> Values:
        def add(total: Values, visiting: Visitors) -> Values:
            candidates = rows_in_one_role(*_by_group(exchange, visiting, visiting[1]))
            found = numbers_of_positives(numbers, anchors, candidates, tiles.precision)
            return jax.tree.map(jnp.add, total, found)

        start = empty(numbers, (weight, features))
        return for_each_shard(exchange, axis_name, offer, add, start)

    infonce = number_gradients(
        inputs.differentiated(wanted),
        tiles.detached,
        of_negatives=of_negatives,
        of_positives=of_positives,
        products=lambda: sum_of_products(gradients[0], features) / 2,
    )
    return inputs._replace(infonce=infonce, pairs=None)


_sharded = differentiable_once(_sharded_forward, _sharded_backward, _sharded_numbers)


def _by_group(exchange: Exchange, visiting: T, keys: Keys) -> T:
    """Rows sorted by group: shards are, all of them together are not yet."""
    return visiting if exchange == "ring" else take(visiting, jnp.argsort(keys.group))
