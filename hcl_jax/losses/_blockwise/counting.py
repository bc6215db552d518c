"""How many negatives anchors have, without a look at all pairs where classes can be sorted."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from hcl_jax.losses._blockwise.block import along
from hcl_jax.padding import pad_rows, padding
from hcl_jax.pairs import Keys, is_negative

ANCHORS_AT_ONCE = 64
"""Anchors that are compared with all candidates at a time where classes cannot be sorted."""


def count_negatives(anchors: Keys, candidates: Keys) -> Int[Array, " anchors"]:
    """The number of negatives of every anchor: `hcl_jax.pairs.is_negative`, by sorting the keys.

    Several classes a row, and keys of a rule of one's own, cannot be sorted: there all pairs are
    compared, a few anchors at a time.
    """
    if anchors.unshared is not None or anchors.have_own_negatives:
        return _count_by_comparing(anchors, candidates)
    order = jnp.argsort(candidates.excluded)
    first, last = ends_of_runs(candidates.excluded[order], anchors.excluded)
    if candidates.in_negatives is None:
        number = len(order) - (last - first)
    else:
        taking_part = candidates.in_negatives[order]
        up_to = jnp.pad(jnp.cumsum(taking_part, dtype=jnp.int32), (1, 0))
        number = up_to[-1] - (up_to[last] - up_to[first])
    if anchors.in_negatives is not None:
        number = jnp.where(anchors.in_negatives, number, 0)
    return number.astype(jnp.int32)


def ends_of_runs(
    ordered: Int[Array, " n"], sought: Int[Array, " m"]
) -> tuple[Int[Array, " m"], Int[Array, " m"]]:
    """Where the run of each number begins and ends among numbers in order."""
    # ``~`` turns the order around, so that one loop searches for both ends.
    both_ways = jnp.stack([ordered, ~ordered[::-1]])
    found = jax.vmap(jnp.searchsorted)(both_ways, jnp.stack([sought, ~sought]))
    first, last = found.astype(jnp.int32)
    return first, len(ordered) - last


def _count_by_comparing(anchors: Keys, candidates: Keys) -> Int[Array, " anchors"]:
    """The number of negatives of every anchor, of all pairs, `ANCHORS_AT_ONCE` rows at a time."""
    count = anchors.group.shape[0]
    blocks = jax.tree.map(
        lambda key: key.reshape(-1, ANCHORS_AT_ONCE),
        pad_rows(anchors, padding(count, ANCHORS_AT_ONCE)),
    )
    across = along(candidates, 1)

    def numbers(block: Keys) -> Int[Array, " rows"]:
        return jnp.sum(is_negative(along(block, 0), across), axis=1, dtype=jnp.int32)

    return lax.map(numbers, blocks).reshape(-1)[:count]
