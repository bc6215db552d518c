"""The weights estimator for the rows of one device, with the candidates of all.

The mathematics is that of `hcl_jax.losses._blockwise.loss`; the candidates come as
`hcl_jax.losses._blockwise.exchange` says. Since anchors and candidates are the same rows of the
global batch, ``dZ = (G + G^T) Z``: device m computes its rows of the sum from features and row
statistics of the others, so no gradient travels. In a ring candidates visit twice in the forward
pass, because the losses of positives need the sums over all negatives, and once in the backward
pass. Second derivatives and forward mode are `jax.jvp` of the same passes, in which tangents of
features and row statistics travel with them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.losses._blockwise.block import (
    AnchorTerms,
    RowBlock,
    SoftmaxCoefficients,
    rows_in_one_role,
)
from hcl_jax.losses._blockwise.counting import count_negatives
from hcl_jax.losses._blockwise.exchange import Exchange, for_each_shard
from hcl_jax.losses._blockwise.gradients import vjp_rows
from hcl_jax.losses._blockwise.hyperparameters import (
    Differentiated,
    empty,
    hyperparameter_gradients,
    hyperparameters_of_negatives,
    hyperparameters_of_positives,
    sum_of_products,
)
from hcl_jax.losses._blockwise.negatives import (
    NegativeSums,
    accumulate,
    drop_padding,
    empty_sums,
    softmax_statistics,
)
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.positives import (
    PositiveSums,
    added,
    empty_positive_sums,
    largest_positives,
    positive_sums,
    vjp_positives,
)
from hcl_jax.losses._blockwise.vjp import (
    LossInputs,
    Residuals,
    anchor_terms,
    bounded,
    in_order,
    inverse_permutation,
    mask_undefined,
    softmax_coefficients,
    sort_rows,
    take,
    weighted_blocks,
    whole_blocks,
)
from hcl_jax.losses._chosen_leaves import Values
from hcl_jax.losses._derivatives import Embeddings, Passes, differentiable
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.padding import varying_like
from hcl_jax.pairs import Keys, Pairs
from hcl_jax.precision import wide_dtype

T = TypeVar("T")
State = TypeVar("State")

Visitors = tuple[Float[Array, "m dim"], Keys]
"""Candidates of other devices: features, and keys as candidates."""

WeightedRowsOfPart = tuple[RowBlock, SoftmaxCoefficients, AnchorTerms | None]
"""Rows in both roles, with what the gradient needs of them as anchors; a bank has no terms."""


class ShardOptions(NamedTuple):
    """How tiles are computed, and how and among which devices candidates travel, if they do."""

    tiles: TileOptions
    exchange: Exchange | None = None
    axis_name: str | None = None

    def visited(
        self, offers: Sequence[Any], visit: Callable[[State, Any], State], state: State
    ) -> State:
        """``state = visit(state, rows)`` for the rows of all devices: first offer, then second."""
        for offer in offers:
            state = for_each_shard(self.exchange, self.axis_name, offer, visit, state)
        return state


class Part(NamedTuple):
    """The rows of this device or its bank, sorted by group, with the order and its inverse."""

    order: Int[Array, " n"]
    ranks: Int[Array, " n"]
    rows: RowBlock

    @property
    def offer(self) -> Visitors:
        """What others need to know of them as candidates."""
        return self.rows.features, self.rows.as_candidate


def sharded_losses(
    infonce: TiltedInfoNCE,
    embeddings: Float[Array, "n dim"],
    pairs: Pairs,
    options: ShardOptions,
    bank: Float[Array, "m dim"] | None = None,
) -> AnchorLosses:
    """The losses of the rows of this device, with the candidates of all and their banks.

    With a bank the keys of its rows stand after those of the embeddings among the candidates.
    """
    inputs = LossInputs(varying_like(infonce, embeddings), pairs).held(options.tiles)
    rows = (embeddings,) if bank is None else (embeddings, bank)
    alone = options._replace(tiles=options.tiles._replace(statistics=False))
    return differentiable(sharded_passes(options), sharded_passes(alone), inputs, rows)


def sharded_passes(options: ShardOptions) -> Passes:
    """The passes over the candidates of all devices, or without an exchange of one."""
    return Passes(options, _sharded_forward, _sharded_backward, _sharded_hyperparameters)


def _parts(embeddings: Embeddings, pairs: Pairs) -> list[Part]:
    """The rows of this device, and those of its bank where it has one."""
    if len(embeddings) == 1:
        return [Part(*sort_rows(embeddings[0], pairs))]
    features, bank = embeddings
    own, others = (
        jax.tree.map(lambda key: key[part], pairs.candidates)  # noqa: B023  (called at once)
        for part in (slice(len(features)), slice(len(features), None))
    )
    order = jnp.argsort(others.group)
    stored = take(rows_in_one_role(bank, others), order)
    batch = Part(*sort_rows(features, Pairs(pairs.anchors, own)))
    return [batch, Part(order, inverse_permutation(order), stored)]


def _sharded_forward(
    options: ShardOptions, inputs: LossInputs, embeddings: Embeddings
) -> tuple[AnchorLosses, Residuals]:
    """Losses, once the candidates of all devices have come twice."""
    tiles = options.tiles
    infonce, pairs = inputs
    parts = _parts(embeddings, pairs)
    order, ranks, rows = parts[0]
    offers = [part.offer for part in parts]

    def greatest(state: Float[Array, " n"], visiting: Visitors) -> Float[Array, " n"]:
        candidates = rows_in_one_role(*_by_group(options.exchange, visiting, visiting[1]))
        return jnp.maximum(state, largest_positives(rows, candidates, tiles.precision))

    nothing = varying_like(jnp.full(len(order), -jnp.inf, wide_dtype(rows.features)), rows)
    rows = bounded(infonce, rows, lambda: options.visited(offers, greatest, nothing))
    padded, block = whole_blocks(rows, tiles)

    def add_negatives(
        state: tuple[NegativeSums, Int[Array, " n"]], visiting: Visitors
    ) -> tuple[NegativeSums, Int[Array, " n"]]:
        sums, count = state
        others, length = whole_blocks(rows_in_one_role(*visiting), tiles)
        sums = accumulate(sums, infonce, padded, others, (block, length), tiles.precision)
        return sums, count + count_negatives(pairs.anchors, visiting[1])[order]

    none = jnp.zeros(len(order), jnp.int32)
    observed = tiles.statistics
    empty = empty_sums(padded.features, squares=observed, moments=observed)
    start = varying_like((empty, none), rows)
    sums, count = options.visited(offers, add_negatives, start)
    stats = softmax_statistics(infonce, drop_padding(sums, len(order)), count)
    anchors = (rows, anchor_terms(stats))

    def add_positives(state: PositiveSums, visiting: Visitors) -> PositiveSums:
        candidates = rows_in_one_role(*_by_group(options.exchange, visiting, visiting[1]))
        sums = positive_sums(infonce, anchors, candidates, tiles.precision, observed=observed)
        return added(state, sums)

    moments = sums.moments
    start = varying_like(empty_positive_sums(stats.tilted, observed=observed), rows)
    sums = options.visited(offers, add_positives, start)
    losses, residuals = mask_undefined(stats, sums, jnp.zeros((), bool), rows.bound, moments)
    return in_order(losses, ranks), residuals


def _sharded_backward(
    options: ShardOptions,
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " n"],
) -> Embeddings:
    """``(G + G^T) Z`` in the rows of this device, and ``G^T X`` in those of its bank."""
    parts = _parts(embeddings, inputs.pairs)
    weight = weight[parts[0].order]
    coefficients = softmax_coefficients(residuals, weight)
    rows = parts[0].rows._replace(bound=residuals.bound)
    batch = (rows, coefficients, anchor_terms(residuals.softmax, weight))
    if len(parts) == 1:
        met = [(batch, [batch])]
    else:
        zeros = jnp.zeros(len(parts[1].order), residuals.slope.dtype)
        bank = (parts[1].rows, SoftmaxCoefficients(zeros, zeros, zeros, zeros), None)
        met = [(batch, [batch, bank]), (bank, [batch])]
    gradients = [_gradient(options, inputs.infonce, own, others) for own, others in met]
    return tuple(gradient[part.ranks] for gradient, part in zip(gradients, parts, strict=True))


def _gradient(
    options: ShardOptions,
    infonce: TiltedInfoNCE,
    own: WeightedRowsOfPart,
    offers: Sequence[WeightedRowsOfPart],
) -> Float[Array, "n dim"]:
    """The gradient with respect to rows of this device, from offered rows of all devices."""
    tiles = options.tiles
    rows, coefficients, terms = own
    padded, block = weighted_blocks((rows, coefficients), tiles)
    count = rows.features.shape[0]

    def add_gradient(
        gradient: Float[Array, "n dim"], visiting: WeightedRowsOfPart
    ) -> Float[Array, "n dim"]:
        others, length = weighted_blocks(visiting[:2], tiles)
        gradient += vjp_rows(infonce, padded, others, (block, length), tiles)[:count]
        by_group = _by_group(options.exchange, visiting, visiting[0].as_candidate)
        return gradient + vjp_positives(
            infonce, (rows, terms), (by_group[0], by_group[2]), tiles.precision
        )

    start = varying_like(jnp.zeros(rows.features.shape, coefficients.plain.dtype), rows)
    return options.visited(offers, add_gradient, start)


def _sharded_hyperparameters(
    options: ShardOptions,
    wanted: tuple[bool, ...],
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " n"],
    gradients: Embeddings,
) -> LossInputs:
    """The part of this device; the sum over devices is the gradient in the hyperparameters."""
    tiles = options.tiles
    parts = _parts(embeddings, inputs.pairs)
    order, _, rows = parts[0]
    rows, weight = rows._replace(bound=residuals.bound), weight[order]
    padded, block = weighted_blocks((rows, softmax_coefficients(residuals, weight)), tiles)
    anchors = (rows, anchor_terms(residuals.softmax, weight))
    offers = [part.offer for part in parts]

    def of_negatives(chosen: Differentiated) -> Values:
        def add(total: Values, visiting: Visitors) -> Values:
            others, length = whole_blocks(rows_in_one_role(*visiting), tiles)
            found = hyperparameters_of_negatives(chosen, padded, others, (block, length), tiles)
            return jax.tree.map(jnp.add, total, found)

        return options.visited(offers, add, empty(chosen, (weight, rows.features)))

    def of_positives(chosen: Differentiated) -> Values:
        def add(total: Values, visiting: Visitors) -> Values:
            by_group = _by_group(options.exchange, visiting, visiting[1])
            candidates = rows_in_one_role(*by_group)
            found = hyperparameters_of_positives(chosen, anchors, candidates, tiles.precision)
            return jax.tree.map(jnp.add, total, found)

        return options.visited(offers, add, empty(chosen, (weight, rows.features)))

    infonce = hyperparameter_gradients(
        inputs.differentiated(wanted),
        tiles.detached,
        of_negatives=of_negatives,
        of_positives=of_positives,
        products=lambda: sum_of_products(gradients, embeddings),
    )
    return inputs._replace(infonce=infonce, pairs=None)


def _by_group(exchange: Exchange | None, visiting: T, keys: Keys) -> T:
    """Rows sorted by group: shards are, all of them together are not yet."""
    return take(visiting, jnp.argsort(keys.group)) if exchange == "gather" else visiting
