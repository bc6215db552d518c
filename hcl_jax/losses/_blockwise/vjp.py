"""What the forward and the backward pass of a hand-written gradient share.

The forms of the loss (`hcl_jax.losses._blockwise.loss`, `hcl_jax.losses._blockwise.sharded`) differ
in how anchors and candidates meet, not in what is kept between the passes.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses._blockwise.block import AnchorTerms, RowBlock, SoftmaxCoefficients
from hcl_jax.losses._blockwise.gradients import WeightedRows
from hcl_jax.losses._blockwise.hyperparameters import Differentiated
from hcl_jax.losses._blockwise.negatives import SoftmaxStatistics
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.positives import PositiveSums
from hcl_jax.losses._blockwise.tiles import tile_length
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.pair_statistics import Moments, PairStatistics
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE, greatest_allowed
from hcl_jax.padding import pad_rows, padding, valid_rows
from hcl_jax.pairs import Pairs

T = TypeVar("T")


class LossInputs(NamedTuple):
    """What the losses depend on besides the embeddings."""

    infonce: TiltedInfoNCE
    pairs: Pairs

    def held(self, options: TileOptions) -> "LossInputs":
        """The same with an eta that takes similarities as constants where the options say so."""
        return self._replace(infonce=self.infonce.held()) if options.detached else self

    def differentiated(self, wanted: tuple[bool, ...]) -> Differentiated:
        """The hyperparameters that the losses are differentiated in, by all leaves."""
        return Differentiated(self.infonce, wanted[: len(jax.tree.leaves(self.infonce))])


class Residuals(NamedTuple):
    """What the forward pass leaves to the backward pass, besides its arguments: O(rows).

    Attributes:
        softmax: the softmax statistics of every anchor.
        slope: ``R``.
        common_shift: whether sums less one constant, the same for all anchors, were in range.
        bound: the similarity above which negatives have no weight; None for no bound.
    """

    softmax: SoftmaxStatistics
    slope: Float[Array, " anchors"]
    common_shift: Bool[Array, ""]
    bound: Float[Array, " anchors"] | None = None


def sort_rows(
    features: Float[Array, "n dim"], pairs: Pairs
) -> tuple[Int[Array, " n"], Int[Array, " n"], RowBlock]:
    """Rows in both roles, sorted by group, after the order that sorts them and its inverse."""
    order = jnp.argsort(pairs.candidates.group)
    rows = RowBlock(features, pairs.anchors, pairs.candidates)
    return order, inverse_permutation(order), take(rows, order)


def bounded(
    infonce: TiltedInfoNCE,
    anchors: RowBlock,
    largest_positives: Callable[[], Float[Array, " anchors"]],
) -> RowBlock:
    """Anchors with the bound of their negatives, if there is a margin."""
    if infonce.margin is None:
        return anchors
    return anchors._replace(bound=greatest_allowed(largest_positives(), infonce.margin))


def in_order(losses: AnchorLosses, ranks: Int[Array, " n"]) -> AnchorLosses:
    """The losses of anchors that were sorted, in their own order."""
    statistics = losses.statistics
    if statistics is not None:
        statistics = statistics._replace(effective=statistics.effective[ranks])
    return take(losses._replace(statistics=None), ranks)._replace(statistics=statistics)


def take(tree: T, order: Int[Array, " n"]) -> T:
    """Every array of a tree with its rows in this order."""
    return jax.tree.map(lambda values: values[order], tree)


def inverse_permutation(order: Int[Array, " n"]) -> Int[Array, " n"]:
    """Where each index stands in a permutation."""
    return jnp.zeros_like(order).at[order].set(jnp.arange(len(order), dtype=order.dtype))


def whole_blocks(rows: RowBlock, options: TileOptions) -> tuple[RowBlock, int]:
    """Rows padded to whole tiles, and the length of a tile."""
    count = rows.features.shape[0]
    block = min(options.block or tile_length(count), count)
    padded = pad_rows(rows, padding(count, block))
    return padded._replace(valid=valid_rows(count, block)), block


def weighted_blocks(rows: WeightedRows, options: TileOptions) -> tuple[WeightedRows, int]:
    """Rows with their coefficients, padded to whole tiles, and the length of a tile."""
    padded, block = whole_blocks(rows[0], options)
    extra = padded.features.shape[0] - rows[0].features.shape[0]
    return (padded, pad_rows(rows[1], extra)), block


def softmax_coefficients(
    residuals: Residuals, weight: Float[Array, " anchors"]
) -> SoftmaxCoefficients:
    """How negatives enter the gradient, by the derivatives with respect to the totals."""
    stats, factor = residuals.softmax, weight * residuals.slope
    return SoftmaxCoefficients(factor, factor, stats.tilted, stats.plain)


def anchor_terms(
    stats: SoftmaxStatistics, weight: Float[Array, " anchors"] | None = None
) -> AnchorTerms:
    """What positives need of an anchor; the weight is one before a gradient is asked for."""
    weight = jnp.ones_like(stats.tilted) if weight is None else weight
    return AnchorTerms(stats.tilted - stats.plain, stats.number, weight)


def mask_undefined(
    stats: SoftmaxStatistics,
    sums: PositiveSums,
    common_shift: Bool[Array, ""],
    bound: Float[Array, " anchors"] | None,
    moments: Moments | None,
) -> tuple[AnchorLosses, Residuals]:
    """The losses, 0 where an anchor is undefined, and what the backward pass needs.

    `moments` are those of the negatives, where statistics are asked for.
    """
    defined = stats.has_negatives & (sums.number > 0)
    losses = AnchorLosses(
        jnp.where(defined, sums.total, 0), jnp.where(defined, sums.number, 0), defined
    )
    if moments is not None and sums.moments is not None and stats.effective is not None:
        effective = jnp.where(defined, stats.effective, 0)
        losses = losses._replace(statistics=PairStatistics(sums.moments, moments, effective))
    slope = jnp.where(defined, sums.slope, 0)
    return losses, Residuals(stats, slope, common_shift, bound)
