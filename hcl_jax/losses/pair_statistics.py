"""What the pairs of a batch look like: statistics that come with its loss, in the same passes.

Moments of similarities are merged tile by tile (Chan, Golub and LeVeque, 1983), which loses nothing
where all similarities are nearly equal, as sums of squares would.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.validation.numbers import check_probability

Scalar = Float[Array, ""] | float

BINS = 128
"""Intervals of similarity in a histogram."""


class SimilarityStatistics(NamedTuple):
    """Of the similarities of some pairs; zeros where there are none.

    Attributes:
        pairs: their number, exact up to 2^24 in float32.
        mean: the mean.
        variance: the mean square of differences from the mean.
        histogram: the number of pairs in each of 128 equal intervals of [-1, 1]; similarities
            beyond are in the outermost.
    """

    pairs: Float[Array, ""]
    mean: Float[Array, ""]
    variance: Float[Array, ""]
    histogram: Float[Array, " bins"]

    def quantile(self, share: Scalar) -> Float[Array, ""]:
        """The similarity below which a share of the pairs lies, within 1/64, by the histogram.

        Raises:
            ValueError: unless `share` is in [0, 1], if concrete; NaN where it is traced.
        """
        share = check_probability("share", share)
        up_to = jnp.cumsum(self.histogram)
        target = jnp.maximum(jnp.asarray(share, up_to.dtype) * up_to[-1], 1)
        last = jnp.minimum(jnp.sum(up_to < target), len(up_to) - 1)
        inside = self.histogram[last]
        part = jnp.where(inside > 0, (target - up_to[last] + inside) / jnp.maximum(inside, 1), 0)
        found = jnp.where(up_to[-1] > 0, (last + part) * (2 / len(up_to)) - 1, 0)
        return jnp.where(jnp.isnan(share), jnp.nan, found)


class LossStatistics(NamedTuple):
    """Of a batch; all are constants to differentiation.

    Attributes:
        positives: of all (anchor, positive) pairs.
        negatives: of all (anchor, negative) pairs, those without weight included.
        effective_negatives: the mean over anchors that have a loss of ``(sum w)^2 / sum w^2``, with
            the weights ``w = eta`` of an anchor's negatives: Kish's effective sample size (Survey
            Sampling, 1965), which is the number of negatives where all weigh alike and 1 where one
            has all the weight.
        defined: the number of anchors that have a loss.
        undefined: the number of anchors that have none, for want of a positive or of a negative of
            positive weight.
    """

    positives: SimilarityStatistics
    negatives: SimilarityStatistics
    effective_negatives: Float[Array, ""]
    defined: Int[Array, ""]
    undefined: Int[Array, ""]


class Moments(NamedTuple):
    """Of some pairs, so that those of others can be added.

    Attributes:
        number: their number.
        mean: the mean similarity, 0 of none.
        deviations: the sum of squares of differences from it.
        histogram: as in `SimilarityStatistics`.
    """

    number: Float[Array, ""]
    mean: Float[Array, ""]
    deviations: Float[Array, ""]
    histogram: Float[Array, " bins"]


class PairStatistics(NamedTuple):
    """Of the pairs of some anchors, not yet those of the batch.

    Attributes:
        positives: moments of the positives.
        negatives: moments of the negatives.
        effective: the effective number of negatives of every anchor, 0 where it has no loss.
    """

    positives: Moments
    negatives: Moments
    effective: Float[Array, " anchors"]


def no_pairs(like: Float[Array, "..."]) -> Moments:
    """The moments of no pairs, in the dtype of `like`."""
    zero = jnp.zeros((), like.dtype)
    return Moments(zero, zero, zero, jnp.zeros(BINS, like.dtype))


def moments_of(similarities: Float[Array, "*n m"], *masks: Bool[Array, "*n m"]) -> Moments:
    """The moments of a tile of pairs, which count as often as there are masks they are in."""
    similarities = lax.stop_gradient(similarities)
    dtype = similarities.dtype
    often = jnp.zeros_like(similarities)
    for mask in masks:
        often += mask.astype(dtype)
    number = jnp.sum(often)
    mean = jnp.sum(jnp.where(often > 0, often * similarities, 0)) / jnp.maximum(number, 1)
    squares = jnp.where(often > 0, often * jnp.square(similarities - mean), 0)
    rows = similarities.reshape(-1, similarities.shape[-1])
    place = jnp.clip(jnp.floor((rows + 1) * (BINS / 2)), 0, BINS - 1)
    place = jnp.where(jnp.isnan(place), BINS, place).astype(jnp.int32)  # NaN is in no interval
    at = (jnp.arange(len(rows))[:, None], place)
    histogram = (
        jnp.zeros((len(rows), BINS), dtype).at[at].add(often.reshape(rows.shape), mode="drop")
    )
    return Moments(number, mean, jnp.sum(squares), histogram.sum(axis=0))


def merged(one: Moments, other: Moments) -> Moments:
    """The moments of the pairs of both."""
    number = one.number + other.number
    share = other.number / jnp.maximum(number, 1)
    apart = other.mean - one.mean
    return Moments(
        number,
        one.mean + apart * share,
        one.deviations + other.deviations + jnp.square(apart) * one.number * share,
        one.histogram + other.histogram,
    )
