"""The passes of one set of rows so few that one tile holds all similarities.

The mathematics is in `hcl_jax.losses._blockwise.loss`. Nothing is sorted, and nothing is a loop
unless sums leave the range of floating point: to look at all pairs takes less than the steps of
bands, for the processor and for the compiler. XLA shares the similarities between the passes, so
that there are two multiplications, and G and its transpose are added before they are multiplied.
"""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from hcl_jax.losses._blockwise.block import RowBlock, positive_mask
from hcl_jax.losses._blockwise.counting import count_negatives
from hcl_jax.losses._blockwise.gradients import both_roles
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.runs import sums_over_runs, with_pull_of_runs
from hcl_jax.losses._blockwise.sets import hyperparameters_of_sets, softmax_statistics_of_one_set
from hcl_jax.losses._blockwise.vjp import (
    LossInputs,
    Residuals,
    anchor_terms,
    bounded,
    mask_undefined,
    softmax_coefficients,
    sort_rows,
    take,
)
from hcl_jax.losses._derivatives import Embeddings
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.pair_statistics import moments_of
from hcl_jax.precision import inner_products, weighted_sums

ONE_TILE = 512
"""At most so many rows are one tile."""


def in_one_tile(count: int, options: TileOptions) -> bool:
    """Whether so many rows are one tile, unless options say how they are cut or what cuts them."""
    return options.kernels is None and options.block is None and count <= ONE_TILE


def one_tile_forward(
    options: TileOptions, inputs: LossInputs, embeddings: Embeddings
) -> tuple[AnchorLosses, Residuals]:
    """Losses of anchors that are the candidates."""
    (features,) = embeddings
    infonce, pairs = inputs
    rows = RowBlock(features, *pairs)
    similarities = inner_products(features, features, options.precision)
    match = positive_mask(rows, rows)
    greatest = partial(jnp.max, similarities, axis=1, where=match, initial=-jnp.inf)
    rows = bounded(infonce, rows, greatest)
    count = count_negatives(*pairs)
    stats, common_shift, moments = softmax_statistics_of_one_set(infonce, rows, count, options)
    sums = sums_over_runs(infonce, similarities, pairs, anchor_terms(stats))
    if options.statistics:
        sums = sums._replace(moments=moments_of(similarities, match))
    return mask_undefined(stats, sums, common_shift, rows.bound, moments)


def one_tile_backward(
    options: TileOptions,
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " n"],
) -> Embeddings:
    """``(G + G^T) Z``."""
    (features,) = embeddings
    infonce, pairs = inputs
    rows = RowBlock(features, *pairs, bound=residuals.bound)
    similarities = inner_products(features, features, options.precision)
    weighted = (rows, softmax_coefficients(residuals, weight))
    terms = anchor_terms(residuals.softmax, weight)
    tile = both_roles(infonce, similarities, weighted, weighted, options)
    tile = with_pull_of_runs(infonce, similarities, pairs, terms, tile)
    return (weighted_sums(tile, features, options.precision),)


def one_tile_hyperparameters(
    options: TileOptions,
    wanted: tuple[bool, ...],
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " n"],
    gradients: Embeddings,
) -> LossInputs:
    """The gradient with respect to temperature, beta and the like, by bands."""
    order, _, rows = sort_rows(embeddings[0], inputs.pairs)
    of_rows = take((residuals._replace(common_shift=None), weight), order)
    residuals, weight = of_rows[0]._replace(common_shift=residuals.common_shift), of_rows[1]
    both = (rows, rows)
    return hyperparameters_of_sets(
        options, wanted, inputs, both, embeddings, residuals, weight, gradients
    )
