"""The negatives' part of the loss: sums over all candidates, one tile at a time.

With ``k_ij = log eta(s_ij) + s_ij / temperature`` the loss needs of every anchor i the two numbers

    a_i = logsumexp_{j in N_i} k_ij,        b_i = logsumexp_{j in N_i} log eta(s_ij),

see `hcl_jax.losses._blockwise.loss`. Two ways to keep the exponentials in range:

- `triangle_sums` subtracts one constant, a bound of ``k`` from the norms of the embeddings. Then
  ``exp(k_ij - c)`` is symmetric, and a tile (I, J) serves the anchors of I and of J. `in_range`
  tells afterwards whether nothing was lost.
- `absorb` keeps a running maximum for each anchor. It is always finite, and candidates may come in
  portions, from other devices too.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses._blockwise.block import Side, along, negatives
from hcl_jax.losses._blockwise.tiles import (
    add_to_block,
    block_of,
    fold,
    inner_products,
    rectangle,
    triangle,
)
from hcl_jax.losses.law import Law
from hcl_jax.pairs import Keys

SMALLEST_SUM = 2.0**-80
"""Below this a sum of exponentials less a constant may have lost terms to underflow."""


class LogSums(NamedTuple):
    """Sums of exponentials less a shift: the logarithm is ``shift + log(total)``."""

    shift: Float[Array, "*n"]
    total: Float[Array, " n"]

    def log(self) -> Float[Array, " n"]:
        """The logarithms; 0 where the sum is empty."""
        full = self.total > 0
        return jnp.where(full, self.shift + jnp.log(jnp.where(full, self.total, 1)), 0)


class Sums(NamedTuple):
    """Of every anchor, over its negatives: the sum of ``exp(k)`` and the sum of eta."""

    tilted: LogSums
    plain: LogSums


class Statistics(NamedTuple):
    """What an anchor knows of its negatives: ``a``, ``b``, their number, whether one is live."""

    tilted: Float[Array, " n"]
    plain: Float[Array, " n"]
    number: Int[Array, " n"]
    live: Bool[Array, " n"]


def count_negatives(anchors: Keys, candidates: Keys) -> Int[Array, " anchors"]:
    """The number of negatives of every anchor, by sorting the keys.

    Args:
        anchors: keys of the anchors.
        candidates: keys of the candidates.

    Returns:
        How many candidates have another `excluded` key.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> count_negatives(*supervised(rows(jnp.array([0, 0, 1])))).tolist()
        [1, 1, 2]
    """
    ordered = jnp.sort(candidates.excluded)
    first = jnp.searchsorted(ordered, anchors.excluded, side="left")
    last = jnp.searchsorted(ordered, anchors.excluded, side="right")
    return (ordered.shape[0] - (last - first)).astype(jnp.int32)


def triangle_sums(law: Law, rows: Side, block: int, precision: Any) -> Sums:
    """Sums for anchors that are the candidates, over tiles with I <= J, less a constant.

    Args:
        law: how similarities are weighed.
        rows: the rows, with keys in both roles; whole blocks.
        block: the block length.
        precision: of the multiplications.

    Returns:
        The sums. That of eta is not computed, and stays zero, where eta is constant (`is_flat`).

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> triangle_sums(law_of(), side, 2, None).tilted.log().tolist()  # log(2 exp(-1))
        [-0.3068528175354004, -0.3068528175354004, -0.3068528175354004, -0.3068528175354004]
    """
    shift = bounds(law, rows.features, rows.features)
    flat = is_flat(law, rows.features, rows.features)

    def step(totals, i, j):
        x, y = block_of(rows, i, block), block_of(rows, j, block)
        similarities = inner_products(x.features, y.features, precision)

        def add(total, exponents):  # masks are made here: a branch would have them read from memory
            terms = jnp.exp(exponents)
            down, across = negatives(x, y), negatives(y, x, axis=1)
            total = add_to_block(total, i, jnp.sum(jnp.where(down, terms, 0), axis=1))
            others = jnp.sum(jnp.where(across, terms, 0), axis=0)
            return add_to_block(total, j, jnp.where(i == j, 0, others))

        tilted = add(totals[0], law.log_tilted(similarities) - shift[0])
        if law.has_no_hardening:
            return tilted, totals[1]
        return tilted, lax.cond(
            flat,
            lambda total, s: total,
            lambda total, s: add(total, law.log_factor(s) - shift[1]),
            totals[1],
            similarities,
        )

    nothing = jnp.zeros(rows.features.shape[0], shift[0].dtype)
    tiles = triangle(rows.features.shape[0] // block)
    tilted, plain = fold(step, (nothing, nothing), tiles, like=rows)
    return Sums(LogSums(shift[0], tilted), LogSums(shift[1], plain))


def bounds(
    law: Law, x: Float[Array, "n dim"], y: Float[Array, "m dim"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Bounds of ``k`` and of ``log eta`` for monotone functions, from the norms of the embeddings.

    Args:
        law: how similarities are weighed.
        x: embeddings.
        y: embeddings.

    Returns:
        The two bounds; 0 in place of one that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.hardening import exponential
        >>> from hcl_jax.losses.law import law_of
        >>> law = law_of(hardening=exponential(5.0))
        >>> [float(bound) for bound in bounds(law, jnp.ones((1, 1)), 2 * jnp.ones((1, 1)))]
        [12.0, 10.0]
    """
    ends = _ends(x, y)
    largest = jnp.max(law.log_tilted(ends)), jnp.max(law.log_factor(ends))
    return jnp.where(jnp.isfinite(largest[0]), largest[0], 0), jnp.where(
        jnp.isfinite(largest[1]), largest[1], 0
    )


def is_flat(law: Law, x: Float[Array, "n dim"], y: Float[Array, "m dim"]) -> Bool[Array, ""]:
    """Whether eta, being monotone, is one positive constant over all similarities of x and y.

    Args:
        law: how similarities are weighed.
        x: embeddings.
        y: embeddings.

    Returns:
        True at beta = 0, for instance, known only when the numbers are.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.hardening import exponential
        >>> from hcl_jax.losses.law import law_of
        >>> one = jnp.ones((1, 1))
        >>> [bool(is_flat(law_of(hardening=exponential(beta)), one, one)) for beta in (0.0, 5.0)]
        [True, False]
    """
    log_eta = law.log_factor(_ends(x, y))
    return (log_eta[0] == log_eta[1]) & jnp.isfinite(log_eta[0])


def in_range(sums: Sums, count: Int[Array, " n"], flat: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether sums less a constant are exact to rounding for every anchor that has negatives.

    Args:
        sums: the sums.
        count: the number of negatives of every anchor.
        flat: whether the sum of eta was not needed.

    Returns:
        A scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> sums = triangle_sums(law_of(), side, 2, None)
        >>> bool(in_range(sums, jnp.full(4, 2), jnp.array(True)))
        True
    """

    def fine(total):
        return (total >= SMALLEST_SUM) & (total < jnp.inf)

    exact = fine(sums.tilted.total) & (flat | fine(sums.plain.total))
    return jnp.all(exact | (count == 0))


def nothing_absorbed(features: Float[Array, "n dim"]) -> Sums:
    """The state of `absorb` before any candidate.

    Args:
        features: the anchors.

    Returns:
        Empty sums.

    Example:
        >>> import jax.numpy as jnp
        >>> nothing_absorbed(jnp.ones((2, 1))).tilted.total.tolist()
        [0.0, 0.0]
    """
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    empty = jnp.zeros(features.shape[0], dtype)
    return Sums(LogSums(empty - jnp.inf, empty), LogSums(empty - jnp.inf, empty))


def absorb(
    state: Sums,
    law: Law,
    anchors: Side,
    candidates: Side,
    blocks: tuple[int, int],
    precision: Any,
) -> Sums:
    """Adds candidates to the sums of anchors, with a running maximum.

    Args:
        state: the sums so far.
        law: how similarities are weighed.
        anchors: the rows whose sums these are; whole blocks.
        candidates: the rows to add; whole blocks.
        blocks: the block lengths of anchors and of candidates.
        precision: of the multiplications.

    Returns:
        The new sums. That of eta is left alone where there is no hardening.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> sums = absorb(nothing_absorbed(side.features), law_of(), side, side, (2, 4), None)
        >>> sums.tilted.log().tolist()  # log(2 exp(-1))
        [-0.3068528175354004, -0.3068528175354004, -0.3068528175354004, -0.3068528175354004]
    """

    def step(state, i, j):
        x, y = block_of(anchors, i, blocks[0]), block_of(candidates, j, blocks[1])
        similarities = inner_products(x.features, y.features, precision)
        where = negatives(x, y)
        old = block_of(state, i, blocks[0])
        tilted = enlarge(old.tilted, law.log_tilted(similarities), where, 1)
        plain = old.plain
        if not law.has_no_hardening:
            plain = enlarge(plain, law.log_factor(similarities), where, 1)
        return jax.tree.map(
            lambda whole, part: lax.dynamic_update_slice_in_dim(whole, part, i * blocks[0], 0),
            state,
            Sums(tilted, plain),
        )

    counts = [s.features.shape[0] // b for s, b in zip((anchors, candidates), blocks, strict=True)]
    return fold(step, state, rectangle(*counts), like=(anchors, candidates))


def enlarge(
    sums: LogSums, exponents: Float[Array, "n m"], where: Bool[Array, "n m"], axis: int
) -> LogSums:
    """Adds the exponentials of a tile to sums, with a running maximum.

    Args:
        sums: of the anchors.
        exponents: the tile.
        where: which of its pairs count.
        axis: the axis along which the candidates run.

    Returns:
        The new sums.

    Example:
        >>> import jax.numpy as jnp
        >>> one = LogSums(jnp.zeros(1), jnp.ones(1))
        >>> enlarge(one, jnp.zeros((1, 2)), jnp.array([[True, False]]), 1).total.tolist()
        [2.0]
    """
    exponents = jnp.where(where, exponents, -jnp.inf)
    shift = jnp.maximum(sums.shift, jnp.max(exponents, axis=axis))
    finite = jnp.where(shift > -jnp.inf, shift, 0)
    added = jnp.sum(jnp.exp(exponents - along(finite, 1 - axis)), axis=axis)
    return LogSums(shift, sums.total * jnp.exp(sums.shift - finite) + added)


def statistics(
    law: Law, sums: Sums, count: Int[Array, " n"], flat: Bool[Array, ""] | None = None
) -> Statistics:
    """Turns sums into logarithms.

    Args:
        law: how similarities are weighed.
        sums: over all negatives.
        count: the number of negatives.
        flat: whether the sum of eta was left out because eta is constant.

    Returns:
        The statistics; zeros for an anchor without negatives.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> keys = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> side = Side(jnp.array([[1.0], [1.0], [-1.0], [-1.0]]), *keys)
        >>> sums = triangle_sums(law_of(), side, 2, None)
        >>> statistics(law_of(), sums, jnp.full(4, 2)).plain.round(4).tolist()  # log 2
        [0.6930999755859375, 0.6930999755859375, 0.6930999755859375, 0.6930999755859375]
    """
    number = count.astype(sums.tilted.total.dtype)
    plain = sums.plain
    if law.has_no_hardening:
        plain = LogSums(jnp.zeros_like(number), number)
    elif flat is not None:
        plain = LogSums(plain.shift, jnp.where(flat, number, plain.total))
    return Statistics(sums.tilted.log(), plain.log(), count, plain.total > 0)


def cut(sums: Sums, count: int) -> Sums:
    """Takes padding off.

    Args:
        sums: of padded rows; common shifts are scalars.
        count: the number of real rows.

    Returns:
        The first `count` sums.

    Example:
        >>> import jax.numpy as jnp
        >>> empty = nothing_absorbed(jnp.ones((4, 1)))
        >>> cut(empty, 3).plain.total.shape
        (3,)
    """
    return jax.tree.map(lambda values: values[:count] if values.ndim else values, sums)


def _ends(x, y):
    """The least and the greatest similarity that the norms allow."""
    dtype = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
    squares = [jnp.max(jnp.sum(jnp.square(z.astype(dtype)), axis=1)) for z in (x, y)]
    radius = jnp.sqrt(squares[0]) * jnp.sqrt(squares[1])
    return jnp.stack([-radius, radius])
