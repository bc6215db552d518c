"""The passes of anchors that are other rows than the candidates.

The mathematics is in `hcl_jax.losses._blockwise.loss`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.losses._blockwise.block import (
    RowBlock,
    rows_in_one_role,
)
from hcl_jax.losses._blockwise.counting import count_negatives
from hcl_jax.losses._blockwise.gradients import vjp_two_sets
from hcl_jax.losses._blockwise.negatives import softmax_statistics
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.positives import vjp_positives
from hcl_jax.losses._blockwise.sets import (
    bounded_by_positives,
    hyperparameters_of_sets,
    sums_of_sets,
    with_positives,
)
from hcl_jax.losses._blockwise.vjp import (
    LossInputs,
    Residuals,
    anchor_terms,
    in_order,
    inverse_permutation,
    softmax_coefficients,
    take,
    weighted_blocks,
    whole_blocks,
)
from hcl_jax.losses._derivatives import Embeddings
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.pairs import Pairs


def two_sets_forward(
    options: TileOptions, inputs: LossInputs, embeddings: Embeddings
) -> tuple[AnchorLosses, Residuals]:
    """Losses of anchors that are other rows than the candidates, with a running maximum."""
    infonce, pairs = inputs
    orders, (rows, columns) = _sort_two_sets(embeddings, pairs)
    rows = bounded_by_positives(infonce, rows, columns, options)
    count = count_negatives(*pairs)[orders[0]]
    sums = sums_of_sets(infonce, rows, columns, options, moments=options.statistics)
    stats, never = softmax_statistics(infonce, sums, count), jnp.array(False)
    losses, residuals = with_positives(infonce, rows, columns, stats, never, sums.moments, options)
    return in_order(losses, inverse_permutation(orders[0])), residuals


def two_sets_backward(
    options: TileOptions,
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " anchors"],
) -> Embeddings:
    """``G Y`` and ``G^T X``."""
    infonce, pairs = inputs
    orders, (rows, columns) = _sort_two_sets(embeddings, pairs)
    rows, weight = rows._replace(bound=residuals.bound), weight[orders[0]]
    anchors = (rows, softmax_coefficients(residuals, weight))
    if options.kernels is not None:
        of_negatives = (
            options.kernels.vjp(infonce, anchors, (columns, None), options),
            options.kernels.vjp(infonce, (columns, None), anchors, options),
        )
    else:
        x, block_x = weighted_blocks(anchors, options)
        y, block_y = whole_blocks(columns, options)
        of_negatives = vjp_two_sets(infonce, x, y, (block_x, block_y), options)
    x, y = (rows, anchor_terms(residuals.softmax, weight)), (columns, None)
    of_positives = (
        vjp_positives(infonce, x, y, options.precision),
        vjp_positives(infonce, y, x, options.precision),
    )
    sums = [n[: p.shape[0]] + p for n, p in zip(of_negatives, of_positives, strict=True)]
    pairs_of_both = zip(sums, orders, strict=True)
    return tuple(gradient[inverse_permutation(order)] for gradient, order in pairs_of_both)


def two_sets_hyperparameters(
    options: TileOptions,
    wanted: tuple[bool, ...],
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " anchors"],
    gradients: Embeddings,
) -> LossInputs:
    """The gradient with respect to temperature, beta and the like."""
    orders, both = _sort_two_sets(embeddings, inputs.pairs)
    weight = weight[orders[0]]
    return hyperparameters_of_sets(
        options, wanted, inputs, both, embeddings, residuals, weight, gradients
    )


def _sort_two_sets(
    embeddings: Embeddings, pairs: Pairs
) -> tuple[list[Int[Array, " _"]], list[RowBlock]]:
    """The orders that sort anchors and candidates by group, and both sorted."""
    orders = [jnp.argsort(keys.group) for keys in pairs]
    rows = [rows_in_one_role(*side) for side in zip(embeddings, pairs, strict=True)]
    return orders, [take(side, order) for side, order in zip(rows, orders, strict=True)]
