"""Many draws from many finite laws: a guide table for each law, and random bits by counter.

For a law ``p_1 .. p_M`` let ``c_j = G (p_1 + .. + p_j)`` and let t be uniform on [0, G). The draw
is the number of ``c_j <= t`` (inversion of the cumulative law). The guide table holds it for
the integers t = 0 .. G, so a draw lies between two neighbouring entries of it: almost always one or
two comparisons are left of the ``log2 M`` of a binary search.

Bits come from Threefry-2x32 (Salmon et al., 2011), as JAX's default generator, written out so that
it fuses with the look-up, and counted by (row, number): the same key gives the same draws in
whatever portions they are made.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
UNROLLED_STEPS = 2


class Guide(NamedTuple):
    """Tables of several laws, one a row: ``c``, and the number of ``c_j <= g`` for g = 0 .. G."""

    cumulative: Float[Array, "laws candidates"]
    first: Int[Array, "laws guides"]


def guide(weights: Float[Array, "laws candidates"]) -> Guide:
    """Makes the tables.

    Args:
        weights: non-negative, proportional to the law, one law a row. A row of zeros is allowed,
            its draws mean nothing.

    Returns:
        Tables of 1 to 2 times (plus 1) as many entries as candidates.

    Example:
        >>> import jax.numpy as jnp
        >>> guide(jnp.array([[1.0, 0.0, 3.0, 0.0]])).first.tolist()
        [[0, 2, 2, 2, 4]]
    """
    laws, width = weights.shape
    size = 1 << (width - 1).bit_length()
    total = jnp.cumsum(weights, axis=1)
    # Divided by the last sum, so that the last entry is exactly G and every draw is below M.
    cumulative = total / jnp.maximum(total[:, -1:], jnp.finfo(total.dtype).tiny) * size
    slot = jnp.ceil(cumulative).astype(jnp.int32) + jnp.arange(laws, dtype=jnp.int32)[:, None] * (
        size + 1
    )
    counts = jnp.zeros(laws * (size + 1), jnp.int32).at[slot.reshape(-1)].add(1, mode="drop")
    return Guide(cumulative, jnp.cumsum(counts.reshape(laws, size + 1), axis=1))


def look_up(tables: Guide, law: Int[Array, "*n"], bits: UInt32[Array, "*n"]) -> Int[Array, "*n"]:
    """Turns random bits into draws.

    Args:
        tables: of the laws.
        law: from which row each draw is made.
        bits: 32 random bits for each draw, of which 24 (32 in float64) are used.

    Returns:
        Candidates; one of weight zero is never drawn.

    Example:
        >>> import jax.numpy as jnp
        >>> bits = jnp.array([0, 2**30, 2**32 - 1], jnp.uint32)
        >>> look_up(guide(jnp.array([[1.0, 0.0, 3.0, 0.0]])), jnp.zeros(3, int), bits).tolist()
        [0, 2, 2]
    """
    dtype = tables.cumulative.dtype
    width, guides = tables.cumulative.shape[1], tables.first.shape[1]
    flat_cumulative, flat_first = tables.cumulative.reshape(-1), tables.first.reshape(-1)
    size = guides - 1
    digits = min(32, jnp.finfo(dtype).nmant + 1)
    target = (bits >> (32 - digits)).astype(dtype) * (size * 2.0**-digits)
    entry = law * guides + target.astype(jnp.int32)
    low = jnp.minimum(_take(flat_first, entry), width - 1)
    high = jnp.minimum(_take(flat_first, entry + 1), width - 1)
    start = law * width

    def halve(bounds):
        low, high = bounds
        middle = (low + high) // 2
        below = (_take(flat_cumulative, start + middle) <= target) & (low < high)
        return jnp.where(below, middle + 1, low), jnp.where(below, high, jnp.maximum(low, middle))

    bounds = (low, high)
    for _ in range(UNROLLED_STEPS):
        bounds = halve(bounds)
    return lax.while_loop(lambda b: jnp.any(b[0] < b[1]), halve, bounds)[0]


def random_bits(
    key: PRNGKeyArray, row: UInt32[Array, "*#n"], number: UInt32[Array, "*#n"]
) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
    """Two words of random bits for each counter (row, number).

    Args:
        key: of any implementation.
        row: first word of the counter.
        number: second word.

    Returns:
        Two words that are independent of each other and of those of other counters.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> one = random_bits(jax.random.key(0), jnp.uint32(3), jnp.uint32(4))
        >>> two = random_bits(jax.random.key(0), jnp.uint32(3), jnp.uint32(5))
        >>> bool(one[0] != two[0])
        True
    """
    words = jax.random.bits(key, (2,), jnp.uint32)
    return threefry((words[0], words[1]), (row, number))


def threefry(
    key: tuple[UInt32[Array, ""], UInt32[Array, ""]],
    counter: tuple[UInt32[Array, "*#n"], UInt32[Array, "*#n"]],
) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
    """Threefry-2x32 with 20 rounds.

    Args:
        key: two words.
        counter: two words for each block.

    Returns:
        Two words for each block.

    Example:
        >>> import jax.numpy as jnp
        >>> zero = jnp.uint32(0)
        >>> [hex(word) for word in threefry((zero, zero), (zero, zero))]  # Random123's test vector
        ['0x6b200159', '0x99ba4efe']
    """
    keys = (*key, key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            y = ((y << rotation) | (y >> (32 - rotation))) ^ x
        x = x + keys[(group + 1) % 3]
        y = y + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def _take(values, indices):
    return values.at[indices].get(mode="promise_in_bounds")
