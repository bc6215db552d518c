"""Blocks of rows, what is kept of every anchor, and which pairs of a tile are what.

In a tile of similarities the anchors run down (axis 0) and the candidates across (axis 1), or the
other way round where a tile serves the rows of both its sides as anchors.
"""

from typing import NamedTuple, TypeVar

import jax
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.pairs import Keys, is_negative, is_positive

T = TypeVar("T")


class RowBlock(NamedTuple):
    """Rows, with the keys they have as anchors and as candidates.

    Attributes:
        features: the embeddings.
        as_anchor: the keys of the rows as anchors.
        as_candidate: the keys of the rows as candidates.
        valid: which rows are not padding; None if all are.
        bound: the similarity above which negatives of the rows as anchors have no weight; None for
            no bound.
    """

    features: Float[Array, "*blocks n dim"]
    as_anchor: Keys
    as_candidate: Keys
    valid: Bool[Array, "*blocks n"] | None = None
    bound: Float[Array, "*blocks n"] | None = None


class AnchorTerms(NamedTuple):
    """What the loss of a pair needs of its anchor, besides the similarity.

    Attributes:
        offset: ``m = a - b``, so that a pair loses ``link(m - s / temperature, number)``.
        number: the number of its negatives.
        weight: the derivative of the final scalar with respect to its total.
    """

    offset: Float[Array, "*n"]
    number: Int[Array, "*n"]
    weight: Float[Array, "*n"]


class SoftmaxCoefficients(NamedTuple):
    """How the softmax terms of an anchor's negatives enter the gradient.

    Attributes:
        tilted: the factor of ``exp(k - tilted_shift)``.
        plain: the factor of ``exp(log eta - plain_shift)``.
        tilted_shift: ``a``.
        plain_shift: ``b``.
    """

    tilted: Float[Array, " n"]
    plain: Float[Array, " n"]
    tilted_shift: Float[Array, " n"]
    plain_shift: Float[Array, " n"]


def rows_in_one_role(features: Float[Array, "n dim"], keys: Keys) -> RowBlock:
    """Rows that are anchors only or candidates only; their keys in the other role are not read."""
    return RowBlock(features, keys, keys)


def negative_mask(
    anchors: RowBlock,
    candidates: RowBlock,
    similarities: Float[Array, "*blocks n m"],
    axis: int = 0,
) -> Bool[Array, "*blocks n m"]:
    """Which pairs of a tile are negatives within the bound, with anchors along `axis`."""
    mask = _negatives(anchors, candidates, axis)
    return mask if anchors.bound is None else mask & ~(similarities > along(anchors.bound, axis))


def all_negatives(
    anchors: RowBlock, candidates: RowBlock, axis: int = 0
) -> Bool[Array, "*blocks n m"]:
    """Which pairs of a tile are negatives, whatever the bound, of anchors that are no padding."""
    return _without_padding(_negatives(anchors, candidates, axis), anchors, axis)


def positive_mask(
    anchors: RowBlock, candidates: RowBlock, axis: int = 0
) -> Bool[Array, "*blocks n m"]:
    """Which pairs of a tile are positives, with anchors along `axis`."""
    a, c = along(anchors.as_anchor, axis), along(candidates.as_candidate, 1 - axis)
    return _without_padding(is_positive(a, c), candidates, 1 - axis)


def along(values: T, axis: int) -> T:
    """Numbers of rows (last axis), shaped to run down (axis 0) or across (axis 1) a tile."""
    return jax.tree.map(lambda v: v[..., :, None] if axis == 0 else v[..., None, :], values)


def _negatives(anchors: RowBlock, candidates: RowBlock, axis: int) -> Bool[Array, "*blocks n m"]:
    """Which pairs of a tile are negatives, with anchors along `axis`, padded ones too."""
    a, c = along(anchors.as_anchor, axis), along(candidates.as_candidate, 1 - axis)
    return _without_padding(is_negative(a, c), candidates, 1 - axis)


def _without_padding(
    mask: Bool[Array, "*blocks n m"], rows: RowBlock, axis: int
) -> Bool[Array, "*blocks n m"]:
    """A mask without the rows along `axis` that are padding."""
    return mask if rows.valid is None else mask & along(rows.valid, axis)
