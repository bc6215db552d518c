"""Numbers of at least single precision, multiplications that keep them so, and norms at any scale.

What is squared or summed is so in at least float32, and is divided by a power of two before it is
squared (`scale_of`), so that neither large nor small numbers leave the range of the dtype.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Float, Int

ROUNDED = (lax.Precision.DEFAULT, "default")
"""Precisions at which matrix units round what they multiply."""

RUN = 64
"""Rows in a running sum of a segment, where segments are of one size."""

LONGEST_RUN = 4096
"""Rows in one where all rows are of one segment, unless there are more segments than that."""


def wide_dtype(*values: Any) -> jnp.dtype:
    """float64 if an array (or dtype) is, else float32; never a dtype that JAX would refuse."""
    double = any(jnp.result_type(value) == jnp.float64 for value in values)
    return jnp.dtype(jnp.float64 if double else jnp.float32)


def at_least_float32(array: Float[Array | np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    """The array on the device, float32 where it is narrower."""
    return jnp.asarray(array).astype(wide_dtype(array))


def scale_of(
    array: Float[Array, "*shape"], axis: int | tuple[int, ...] | None = None
) -> Float[Array, "*scale"]:
    """The power of two that is nearest to the largest entry along an axis, of at least float32.

    To divide by it is exact and leaves nothing that overflows when squared. It is at least the
    smallest normal number and at most its inverse, and takes no gradient, which leaves that of
    ``scale * f(x / scale)`` right where f is homogeneous.
    """
    limits = jnp.finfo(array.dtype)
    largest = jnp.max(jnp.abs(lax.stop_gradient(array)), axis=axis, keepdims=axis is not None)
    power = lax.reduce_precision(largest, exponent_bits=limits.nexp, mantissa_bits=0)
    return jnp.clip(power, float(limits.tiny), float(1 / limits.tiny))


@jax.jit
def norms(vectors: Float[Array, "*n dim"]) -> Float[Array, "*n"]:
    """Euclidean norms along the last axis; the gradient of the norm of zero is zero."""
    scale = scale_of(vectors, axis=-1)
    return scale[..., 0] * root(jnp.sum(jnp.square(vectors / scale), axis=-1))


@jax.jit
def unit_vectors(vectors: Float[Array, "*n dim"]) -> Float[Array, "*n dim"]:
    """Vectors along the last axis divided by their norms; zero stays zero, with gradient zero."""
    scaled = vectors / scale_of(vectors, axis=-1)
    lengths = root(jnp.sum(jnp.square(scaled), axis=-1, keepdims=True))
    zero = lengths == 0
    return jnp.where(zero, 0, scaled / jnp.where(zero, 1, lengths))


def root(squares: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Square roots whose gradient at 0 is 0; the double `where` keeps NaN out of it."""
    zero = squares == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))


@jax.jit
def row_mean(rows: Float[Array, "n *shape"]) -> Float[Array, "*shape"]:
    """The mean over the first axis, whose rounding hardly grows with the number of rows."""
    shrink = _shrink(rows)
    scaled = rows / shrink
    first = scaled.mean(axis=0)
    return shrink * (first + (scaled - first[None]).mean(axis=0))


@jax.jit
def segment_means(
    rows: Float[Array, "n dim"], segments: Int[Array, " n"], sizes: Int[Array, " segments"]
) -> Float[Array, "segments dim"]:
    """The mean of the rows of every segment, as `row_mean`; NaN for a segment of size 0.

    One running sum of a segment is wrong by 1 % after a million rows in float32. Here every segment
    has 2^k of them, which take rows in turn, and which are then added in pairs.
    """
    sums = _segment_sums(rows, segments, len(sizes))

    def shrunk() -> Float[Array, "segments dim"]:
        shrink = _shrink(rows)
        return shrink * (_segment_sums(rows / shrink, segments, len(sizes)) / divisor)

    divisor = sizes.astype(rows.dtype)[:, None]
    in_range = jnp.isfinite(lax.stop_gradient(sums)).all()
    return lax.cond(in_range, lambda: sums / divisor, shrunk)


def _segment_sums(
    rows: Float[Array, "n dim"], segments: Int[Array, " n"], count: int
) -> Float[Array, "segments dim"]:
    """The sum of the rows of every segment, whose running sums are of about `RUN` rows.

    They are longer where segments differ much in size: together they may not need more memory than
    the rows. Rows of a segment that there is not are left out.
    """
    longest = min(RUN * count, max(count, LONGEST_RUN))
    turns = 2 ** max(0, math.ceil(math.log2(len(rows) / longest)))
    turn = jnp.arange(len(rows), dtype=segments.dtype) % turns
    known = (segments >= 0) & (segments < count)
    places = jnp.where(known, turn * count + segments, turns * count)  # of others is no place
    sums = jax.ops.segment_sum(rows, places, turns * count)
    sums = sums.reshape(turns, count, *rows.shape[1:])
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    return sums[0]


class Compensated(NamedTuple):
    """A running sum in two numbers, which add up to it.

    Attributes:
        total: the sum, rounded.
        rest: what the total has lost by rounding.
    """

    total: Float[Array, "*shape"]
    rest: Float[Array, "*shape"]

    def plus(self, term: Float[Array, "*shape"]) -> "Compensated":
        """The sum with one more term: what the total loses is found exactly (Knuth's two-sum)."""
        total = self.total + term
        gained = total - self.total
        lost = (self.total - (total - gained)) + (term - gained)
        return Compensated(total, self.rest + lost)

    def times(self, factor: Float[Array, "*factor"]) -> "Compensated":
        """The sum times a power of two."""
        return Compensated(self.total * factor, self.rest * factor)


def _shrink(rows: Float[Array, "n *shape"]) -> Float[Array, ""]:
    """A power of two to divide rows by before they are summed: 1, unless the sum might overflow."""
    power = 2.0 ** math.ceil(math.log2(len(rows)))
    largest = jnp.max(jnp.abs(lax.stop_gradient(rows)))
    too_large = largest > float(jnp.finfo(rows.dtype).max) / power
    return jnp.where(too_large, power, 1).astype(rows.dtype)


def inner_products(
    x: Float[Array, "*blocks n dim"], y: Float[Array, "*blocks m dim"], precision: PrecisionLike
) -> Float[Array, "*blocks n m"]:
    """``x @ y.T``, of every block if there are several, in at least float32."""
    blocks = tuple(range(x.ndim - 2))
    return lax.dot_general(
        x,
        y,
        (((x.ndim - 1,), (y.ndim - 1,)), (blocks, blocks)),
        precision=precision,
        preferred_element_type=wide_dtype(x, y),
    )


def exact_product(x: Float[Array, "n inner"], y: Float[Array, "inner m"]) -> Float[Array, "n m"]:
    """``x @ y`` at full precision, also where matrix units would round by default."""
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


def weighted_sums(
    weights: Float[Array, "*blocks n m"],
    features: Float[Array, "*blocks m dim"],
    precision: PrecisionLike,
) -> Float[Array, "*blocks n dim"]:
    """``weights @ features`` in the dtype of the weights.

    At the default precision the weights are rounded to the dtype of the features, as matrix units
    want it; at any other the features are widened.
    """
    dtype = weights.dtype
    if precision in ROUNDED:
        weights = weights.astype(features.dtype)
    else:
        features = features.astype(dtype)
    return jnp.matmul(weights, features, precision=precision, preferred_element_type=dtype)
