"""What the passes of one set of rows and of two have in common."""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses._blockwise.block import RowBlock
from hcl_jax.losses._blockwise.hyperparameters import (
    Differentiated,
    hyperparameter_gradients,
    hyperparameters_of_negatives,
    hyperparameters_of_positives,
    sum_of_products,
)
from hcl_jax.losses._blockwise.negatives import (
    NegativeSums,
    SoftmaxStatistics,
    accumulate,
    drop_padding,
    empty_sums,
    eta_is_constant,
    in_range,
    softmax_statistics,
    symmetric_sums,
)
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.positives import (
    largest_positives,
    positive_sums,
)
from hcl_jax.losses._blockwise.tiles import compute_if
from hcl_jax.losses._blockwise.vjp import (
    LossInputs,
    Residuals,
    anchor_terms,
    bounded,
    mask_undefined,
    softmax_coefficients,
    weighted_blocks,
    whole_blocks,
)
from hcl_jax.losses._chosen_leaves import Values
from hcl_jax.losses._derivatives import Embeddings
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.pair_statistics import Moments
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE


def bounded_by_positives(
    infonce: TiltedInfoNCE, rows: RowBlock, columns: RowBlock, options: TileOptions
) -> RowBlock:
    """Anchors with the bound of their negatives, by their positives among the columns."""
    return bounded(infonce, rows, partial(largest_positives, rows, columns, options.precision))


def sums_of_sets(
    infonce: TiltedInfoNCE,
    rows: RowBlock,
    columns: RowBlock,
    options: TileOptions,
    *,
    moments: bool = False,
) -> NegativeSums:
    """Sums over the negatives with a running maximum."""
    if options.kernels is not None:
        return options.kernels.sums(infonce, rows, columns, options.precision)
    (x, block_x), (y, block_y) = (whole_blocks(side, options) for side in (rows, columns))
    start = empty_sums(x.features, squares=options.statistics, moments=moments)
    sums = accumulate(start, infonce, x, y, (block_x, block_y), options.precision)
    return drop_padding(sums, rows.features.shape[0])


def softmax_statistics_of_one_set(
    infonce: TiltedInfoNCE, rows: RowBlock, count: Int[Array, " n"], options: TileOptions
) -> tuple[SoftmaxStatistics, Bool[Array, ""], Moments | None]:
    """The statistics of the negatives of rows that are the candidates, of which each has `count`.

    After them whether sums less a constant were in range, and the moments if asked for.
    """

    def with_running_maximum() -> SoftmaxStatistics:
        return softmax_statistics(infonce, sums_of_sets(infonce, rows, rows, options), count)

    if options.kernels is not None:
        return with_running_maximum(), jnp.array(False), None
    constant_eta = eta_is_constant(infonce, rows.features, rows.features) | infonce.has_no_hardening
    padded, block = whole_blocks(rows, options)
    observed = options.statistics
    sums = symmetric_sums(infonce, padded, block, options.precision, observed=observed)
    sums, moments = drop_padding(sums, rows.features.shape[0]), sums.moments
    common_shift = in_range(sums, count, constant_eta)
    stats = softmax_statistics(infonce, sums, count, constant_eta)
    return compute_if(~common_shift, with_running_maximum, stats), common_shift, moments


def with_positives(
    infonce: TiltedInfoNCE,
    rows: RowBlock,
    columns: RowBlock,
    stats: SoftmaxStatistics,
    common_shift: Bool[Array, ""],
    moments: Moments | None,
    options: TileOptions,
) -> tuple[AnchorLosses, Residuals]:
    """The losses, once the negatives and their moments, if wanted, are known."""
    anchors = (rows, anchor_terms(stats))
    observed = options.statistics
    sums = positive_sums(infonce, anchors, columns, options.precision, observed=observed)
    return mask_undefined(stats, sums, common_shift, rows.bound, moments)


def hyperparameters_of_sets(
    options: TileOptions,
    wanted: tuple[bool, ...],
    inputs: LossInputs,
    both: Sequence[RowBlock],
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " anchors"],
    gradients: Embeddings,
) -> LossInputs:
    """The gradient with respect to temperature, beta and the like.

    Anchors and candidates, residuals and weights are sorted by group.
    """
    rows, columns = both
    rows = rows._replace(bound=residuals.bound)

    def of_negatives(chosen: Differentiated) -> Values:
        coefficients = softmax_coefficients(residuals, weight)
        x, block_x = weighted_blocks((rows, coefficients), options)
        y, block_y = whole_blocks(columns, options)
        return hyperparameters_of_negatives(chosen, x, y, (block_x, block_y), options)

    def of_positives(chosen: Differentiated) -> Values:
        anchors = (rows, anchor_terms(residuals.softmax, weight))
        return hyperparameters_of_positives(chosen, anchors, columns, options.precision)

    infonce = hyperparameter_gradients(
        inputs.differentiated(wanted),
        options.detached,
        of_negatives=of_negatives,
        of_positives=of_positives,
        products=partial(sum_of_products, gradients, embeddings),
    )
    return inputs._replace(infonce=infonce, pairs=None)
