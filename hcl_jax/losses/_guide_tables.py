"""Many draws from many finite laws: a guide table for each law, and random bits by counter.

For a law ``p_1 .. p_M`` let ``c_j = G (p_1 + .. + p_j)`` and let t be uniform on [0, G). The draw
is the number of ``c_j <= t`` (inversion of the cumulative law). The guide table holds it for
the integers t = 0 .. G, so a draw lies between two neighbouring entries of it: two or three
comparisons are mostly left of the ``log2 M`` of a binary search, as many as the fullest cell needs.

Bits come from Threefry-2x32 (Salmon et al., 2011), as JAX's default generator, written out so that
it fuses with the sampling, and counted by (row, number): the same key gives the same draws in
whatever portions they are made.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped, UInt32

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
UNROLLED_STEPS = 2


class GuideTables(NamedTuple):
    """Tables of several laws, one a row.

    Attributes:
        cumulative: ``c``.
        first: the number of ``c_j <= g`` for g = 0 .. G.
        fullest: the most ``c_j`` that lie between neighbouring g.
        begin: the candidate at which each law begins to count, cyclically.
    """

    cumulative: Float[Array, "laws candidates"]
    first: Int[Array, "laws guides"]
    fullest: Int[Array, ""]
    begin: Int[Array, " laws"]


def build(weights: Float[Array, "laws candidates"], begin: Int[Array, " laws"]) -> GuideTables:
    """Makes the tables: 1 to 2 times (plus 1) as many entries as candidates.

    The weights are non-negative and proportional to the law. A row of zeros is allowed, its draws
    mean nothing. `begin` is the candidate at which each law begins to count: zeros that follow it
    cost nothing, a long run of them elsewhere costs the draws comparisons.
    """
    laws, width = weights.shape
    turned = _cyclic(begin[:, None] + jnp.arange(width, dtype=begin.dtype)[None], width)
    weights = jnp.take_along_axis(weights, turned, axis=1, mode="promise_in_bounds")
    size = 1 << (width - 1).bit_length()
    total = jnp.cumsum(weights, axis=1)
    # Divided by the last sum, so that the last entry is exactly G and every draw is below M.
    cumulative = total / jnp.maximum(total[:, -1:], jnp.finfo(total.dtype).tiny) * size
    slot = jnp.ceil(cumulative).astype(jnp.int32) + jnp.arange(laws, dtype=jnp.int32)[:, None] * (
        size + 1
    )
    counts = jnp.zeros(laws * (size + 1), jnp.int32).at[slot.reshape(-1)].add(1, mode="drop")
    first = jnp.cumsum(counts.reshape(laws, size + 1), axis=1)
    fullest = jnp.max(counts.reshape(laws, size + 1)[:, 1:], initial=0)
    return GuideTables(cumulative, first, fullest, begin)


def sample(
    tables: GuideTables, law: Int[Array, "*n"], bits: UInt32[Array, "*n"]
) -> Int[Array, "*n"]:
    """Candidates, none of weight zero, drawn from the laws `law` by 32 random bits each.

    Of the bits 24 are used (32 in float64).
    """
    dtype = tables.cumulative.dtype
    width, guides = tables.cumulative.shape[1], tables.first.shape[1]
    flat_cumulative, flat_first = tables.cumulative.reshape(-1), tables.first.reshape(-1)
    size = guides - 1
    digits = min(32, jnp.finfo(dtype).nmant + 1)
    target = (bits >> (32 - digits)).astype(dtype) * (size * 2.0**-digits)
    # Kept in memory: XLA would make the bits anew in every step that compares with them.
    target, low = lax.optimization_barrier(
        (target, _take(flat_first, law * guides + target.astype(jnp.int32)))
    )
    start = law * width

    def leap(exponent: Int[Array, ""] | int, low: Int[Array, "*n"]) -> Int[Array, "*n"]:
        """Moves on by ``2^exponent`` if all those ``c_j`` are at most the target."""
        last = jnp.minimum(low + ((1 << exponent) - 1), width - 1)
        return low + jnp.where(_take(flat_cumulative, start + last) <= target, 1 << exponent, 0)

    exponents = 32 - lax.clz(tables.fullest)
    low = lax.fori_loop(
        0,
        jnp.maximum(exponents - UNROLLED_STEPS, 0),
        lambda k, low: leap(exponents - 1 - k, low),
        low,
    )
    for exponent in reversed(range(UNROLLED_STEPS)):
        low = leap(exponent, low)
    return _cyclic(_take(tables.begin, law) + jnp.minimum(low, width - 1), width)


def random_bits(
    key: PRNGKeyArray, row: UInt32[Array, "*#n"], number: UInt32[Array, "*#n"]
) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
    """Two words of random bits for each counter (row, number), independent of all others."""
    words = jax.random.bits(key, (2,), jnp.uint32)
    return threefry((words[0], words[1]), (row, number))


def threefry(
    key: tuple[UInt32[Array, ""], UInt32[Array, ""]],
    counter: tuple[UInt32[Array, "*#n"], UInt32[Array, "*#n"]],
) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
    """Threefry-2x32 with 20 rounds: two words for each counter of two words."""
    keys = (*key, key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            y = ((y << rotation) | (y >> (32 - rotation))) ^ x
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def _take(values: Shaped[Array, " m"], indices: Int[Array, "*n"]) -> Shaped[Array, "*n"]:
    """The values at indices that are in bounds."""
    return values.at[indices].get(mode="promise_in_bounds")


def _cyclic(indices: Int[Array, "*n"], length: int) -> Int[Array, "*n"]:
    """Indices below twice the length, wrapped around."""
    return jnp.where(indices >= length, indices - length, indices)
