"""The negatives' part of the loss: sums over all candidates, one tile at a time.

With ``k_ij = log eta(s_ij) + s_ij / temperature`` the loss needs of every anchor i the two scalars

    a_i = logsumexp_{j in N_i} k_ij,        b_i = logsumexp_{j in N_i} log eta(s_ij),

see `hcl_jax.losses._blockwise.loss`. Two ways to keep the exponentials in range:

- `symmetric_sums` subtracts one constant, a bound of ``k`` from the norms of the embeddings. Then
  ``exp(k_ij - c)`` is symmetric, and a tile (I, J) serves the anchors of I and of J. `in_range`
  tells afterwards whether nothing was lost.
- `accumulate` keeps a running maximum for each anchor. It is always finite, and candidates may come
  in portions, from other devices too.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses._blockwise.block import RowBlock, all_negatives, along, negative_mask
from hcl_jax.losses._blockwise.tiles import (
    Index,
    add_to_block,
    block_of,
    fold,
    rectangle,
    triangle,
)
from hcl_jax.losses.pair_statistics import Moments, merged, moments_of, no_pairs
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.precision import inner_products, wide_dtype

SMALLEST_SUM = 2.0**-80
"""Below this a sum of exponentials less a constant may have lost terms to underflow."""

LARGEST_EXPONENT = 60.0
"""Exponents less a constant are at most so large where sums of them are in range."""


class LogSums(NamedTuple):
    """Sums of exponentials less a shift: the logarithm is ``shift + log(total)``."""

    shift: Float[Array, "*n"]
    total: Float[Array, " n"]

    def log(self) -> Float[Array, " n"]:
        """The logarithms; 0 where the sum is empty."""
        full = self.total != 0
        return jnp.where(full, self.shift + jnp.log(jnp.where(full, self.total, 1)), 0)


class NegativeSums(NamedTuple):
    """Of every anchor, over its negatives.

    Attributes:
        tilted: the sum of ``exp(k)``.
        plain: the sum of eta.
        squares: the sum of ``eta^2``, where statistics are asked for.
        moments: of all negatives of all anchors, where statistics are asked for.
    """

    tilted: LogSums
    plain: LogSums
    squares: LogSums | None = None
    moments: Moments | None = None


class Totals(NamedTuple):
    """`NegativeSums` less constants, of every row."""

    tilted: Float[Array, " n"]
    plain: Float[Array, " n"]
    squares: Float[Array, " n"] | None = None
    moments: Moments | None = None


class SoftmaxStatistics(NamedTuple):
    """What an anchor needs to know of its negatives, whose softmax weights follow from it.

    Attributes:
        tilted: ``a``.
        plain: ``b``.
        number: their number.
        has_negatives: whether the weight eta of any of them is positive.
        effective: their effective number, where statistics are asked for.
    """

    tilted: Float[Array, " n"]
    plain: Float[Array, " n"]
    number: Int[Array, " n"]
    has_negatives: Bool[Array, " n"]
    effective: Float[Array, " n"] | None = None


def symmetric_sums(
    infonce: TiltedInfoNCE,
    rows: RowBlock,
    block: int,
    precision: PrecisionLike,
    *,
    observed: bool = False,
) -> NegativeSums:
    """Sums for anchors that are the candidates, in whole blocks, less a constant.

    The sums of eta and of its square are not computed, and stay zero, where eta is constant
    (`eta_is_constant`). `observed` asks for what statistics need.
    """
    shift = exponent_bounds(infonce, rows.features, rows.features)
    constant_eta = eta_is_constant(infonce, rows.features, rows.features)

    def step(totals: Totals, i: Index, j: Index) -> Totals:
        x, y = block_of(rows, i, block), block_of(rows, j, block)
        similarities = inner_products(x.features, y.features, precision)

        def add(total: Float[Array, " n"], exponents: Float[Array, "b b"]) -> Float[Array, " n"]:
            terms = jnp.exp(exponents)
            # Masks are made here: a branch would have them read from memory.
            down = negative_mask(x, y, similarities)
            across = negative_mask(y, x, similarities, axis=1)
            total = add_to_block(total, i, jnp.sum(jnp.where(down, terms, 0), axis=1))
            others = jnp.sum(jnp.where(across, terms, 0), axis=0)
            return add_to_block(total, j, jnp.where(i == j, 0, others))

        def of_power(total: Float[Array, " n"], power: int) -> Float[Array, " n"]:
            return lax.cond(
                constant_eta,
                lambda total, s: total,
                lambda total, s: add(total, power * (infonce.log_factor(s) - shift[1])),
                total,
                similarities,
            )

        tilted, plain, squares, moments = totals
        tilted = add(tilted, infonce.log_tilted(similarities) - shift[0])
        if not infonce.has_no_hardening:
            plain = of_power(plain, 1)
            squares = None if squares is None else of_power(squares, 2)
        if moments is not None:
            across = all_negatives(y, x, axis=1) & (i != j)
            moments = merged(moments, moments_of(similarities, all_negatives(x, y), across))
        return Totals(tilted, plain, squares, moments)

    nothing = jnp.zeros(rows.features.shape[0], shift[0].dtype)
    tiles = triangle(rows.features.shape[0] // block)
    start = Totals(nothing, nothing)
    if observed:
        start = Totals(nothing, nothing, nothing, no_pairs(nothing))
    tilted, plain, squares, moments = fold(step, start, tiles, like=rows)
    return NegativeSums(
        LogSums(shift[0], tilted),
        LogSums(shift[1], plain),
        None if squares is None else LogSums(2 * shift[1], squares),
        moments,
    )


def exponent_bounds(
    infonce: TiltedInfoNCE, x: Float[Array, "n dim"], y: Float[Array, "m dim"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Constants near the largest ``k`` and ``log eta``; 0 for one that is not finite.

    Bounds of monotone functions. Others may exceed them, which `in_range` allows within limits.
    """
    extremes = _extreme_similarities(x, y)
    tilted, plain = jnp.max(infonce.log_tilted(extremes)), jnp.max(infonce.log_factor(extremes))
    return jnp.where(jnp.isfinite(tilted), tilted, 0), jnp.where(jnp.isfinite(plain), plain, 0)


def eta_is_constant(
    infonce: TiltedInfoNCE, x: Float[Array, "n dim"], y: Float[Array, "m dim"]
) -> Bool[Array, ""]:
    """Whether eta is known to be one positive constant over all similarities of x and y.

    So it is at beta = 0, which is known only when the hyperparameters are.
    """
    if not infonce.is_monotone:
        return jnp.array(False)
    log_eta = infonce.log_factor(_extreme_similarities(x, y))
    return (log_eta[0] == log_eta[1]) & jnp.isfinite(log_eta[0])


def in_range(
    sums: NegativeSums, count: Int[Array, " n"], constant_eta: Bool[Array, ""]
) -> Bool[Array, ""]:
    """Whether sums less a constant are exact to rounding for every anchor that has negatives.

    `count` is the number of negatives; the sum of eta is not needed where it is constant.
    """

    def fine(total: Float[Array, " n"]) -> Bool[Array, " n"]:
        return (total >= SMALLEST_SUM) & (total < math.exp(LARGEST_EXPONENT))

    weights = fine(sums.plain.total)
    if sums.squares is not None:
        weights &= fine(sums.squares.total)
    exact = fine(sums.tilted.total) & (constant_eta | weights)
    return jnp.all(exact | (count == 0))


def empty_sums(
    features: Float[Array, "n dim"], *, squares: bool = False, moments: bool = False
) -> NegativeSums:
    """The sums of `accumulate` before any candidate, with those that are asked for."""
    empty = jnp.zeros(features.shape[0], wide_dtype(features))
    nothing = LogSums(empty - jnp.inf, empty)
    return NegativeSums(
        nothing, nothing, nothing if squares else None, no_pairs(empty) if moments else None
    )


def accumulate(
    sums: NegativeSums,
    infonce: TiltedInfoNCE,
    anchors: RowBlock,
    candidates: RowBlock,
    blocks: tuple[int, int],
    precision: PrecisionLike,
) -> NegativeSums:
    """Adds candidates to the sums of anchors, both in whole blocks, with a running maximum.

    The sums of eta and of its square are left alone where there is no hardening.
    """

    def step(state: NegativeSums, i: Index, j: Index) -> NegativeSums:
        x, y = block_of(anchors, i, blocks[0]), block_of(candidates, j, blocks[1])
        similarities = inner_products(x.features, y.features, precision)
        where = negative_mask(x, y, similarities)
        moments, of_rows = state.moments, state._replace(moments=None)
        old = block_of(of_rows, i, blocks[0])
        tilted = update(old.tilted, infonce.log_tilted(similarities), where, axis=1)
        plain, squares = old.plain, old.squares
        if not infonce.has_no_hardening:
            log_eta = infonce.log_factor(similarities)
            plain = update(plain, log_eta, where, axis=1)
            squares = None if squares is None else update(squares, 2 * log_eta, where, axis=1)
        if moments is not None:
            moments = merged(moments, moments_of(similarities, all_negatives(x, y)))
        new = jax.tree.map(
            lambda whole, part: lax.dynamic_update_slice_in_dim(whole, part, i * blocks[0], 0),
            of_rows,
            NegativeSums(tilted, plain, squares),
        )
        return new._replace(moments=moments)

    counts = [s.features.shape[0] // b for s, b in zip((anchors, candidates), blocks, strict=True)]
    return fold(step, sums, rectangle(*counts), like=(anchors, candidates))


def update(
    sums: LogSums, exponents: Float[Array, "n m"], where: Bool[Array, "n m"], *, axis: int
) -> LogSums:
    """Adds the exponentials of a tile to sums; `axis` is the one along which candidates run."""
    exponents = jnp.where(where, exponents, -jnp.inf)
    shift = lax.stop_gradient(jnp.maximum(sums.shift, jnp.max(exponents, axis=axis)))
    finite = jnp.where(shift > -jnp.inf, shift, 0)
    added = jnp.sum(jnp.exp(exponents - along(finite, 1 - axis)), axis=axis)
    return LogSums(shift, sums.total * jnp.exp(sums.shift - finite) + added)


def softmax_statistics(
    infonce: TiltedInfoNCE,
    sums: NegativeSums,
    count: Int[Array, " n"],
    constant_eta: Bool[Array, ""] | None = None,
) -> SoftmaxStatistics:
    """The logarithms of sums over all negatives; zeros for an anchor without negatives.

    `constant_eta` says whether the sum of eta was left out because eta is constant.
    """
    number = count.astype(sums.tilted.total.dtype)
    plain, effective = sums.plain, None
    if sums.squares is not None:
        squares = sums.squares.log()
        effective = jnp.where(plain.total != 0, jnp.exp(2 * plain.log() - squares), 0)
        if infonce.has_no_hardening:
            effective = number
        elif constant_eta is not None:
            effective = jnp.where(constant_eta, number, effective)
    if infonce.has_no_hardening:
        plain = LogSums(jnp.zeros_like(number), number)
    elif constant_eta is not None:
        plain = LogSums(plain.shift, jnp.where(constant_eta, number, plain.total))
    weighted = (plain.total != 0) | jnp.isnan(sums.tilted.total)  # NaN is to be seen in the loss
    return SoftmaxStatistics(sums.tilted.log(), plain.log(), count, weighted, effective)


def drop_padding(sums: NegativeSums, count: int) -> NegativeSums:
    """The sums of the first `count` rows; shifts common to all rows are scalars."""
    of_rows = sums._replace(moments=None)
    kept = jax.tree.map(lambda values: values[:count] if values.ndim else values, of_rows)
    return kept._replace(moments=sums.moments)


def _extreme_similarities(x: Float[Array, "n dim"], y: Float[Array, "m dim"]) -> Float[Array, " 2"]:
    """The least and the greatest similarity that the norms allow."""
    dtype = wide_dtype(x, y)
    squares = [jnp.max(jnp.sum(jnp.square(z.astype(dtype)), axis=1)) for z in (x, y)]
    radius = jnp.sqrt(squares[0]) * jnp.sqrt(squares[1])
    return jnp.stack([-radius, radius])
