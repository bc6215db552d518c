"""The positives' part of the loss where all similarities are at hand.

Candidates sorted by group have the positives of an anchor in one run. All anchors look at the first
few candidates of their runs, then at the next, until the longest run has ended: one step for many
small classes. Nothing is multiplied.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses._blockwise.block import AnchorTerms, along
from hcl_jax.losses._blockwise.counting import ends_of_runs
from hcl_jax.losses._blockwise.positives import (
    PositiveSums,
    added,
    empty_positive_sums,
    pair_losses,
    sums_of_tile,
)
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.padding import varying_like
from hcl_jax.pairs import Pairs, is_positive

State = TypeVar("State")

AT_ONCE = 16
"""Candidates of a run that are looked at in one step."""

Similarities = Float[Array, "anchors candidates"]


def sums_over_runs(
    infonce: TiltedInfoNCE, similarities: Similarities, pairs: Pairs, terms: AnchorTerms
) -> PositiveSums:
    """Sums over the positives of every anchor, without their moments."""

    def add(
        sums: PositiveSums,
        some: Float[Array, "anchors k"],
        match: Bool[Array, "anchors k"],
        _: Int[Array, "anchors k"],
    ) -> PositiveSums:
        return added(sums, sums_of_tile(infonce, some, match, terms))

    return _over_runs(add, empty_positive_sums(terms.offset), similarities, pairs)


def with_pull_of_runs(
    infonce: TiltedInfoNCE,
    similarities: Similarities,
    pairs: Pairs,
    terms: AnchorTerms,
    gradient: Float[Array, "n n"],
) -> Float[Array, "n n"]:
    """``G + G^T`` of one set, once the part of the positives is added to that of the negatives."""
    anchors = along(jnp.arange(len(similarities), dtype=jnp.int32), 0)

    def add(
        gradient: Float[Array, "n n"],
        some: Float[Array, "n k"],
        match: Bool[Array, "n k"],
        columns: Int[Array, "n k"],
    ) -> Float[Array, "n n"]:
        pull = pair_losses(infonce, some, terms, axis=0)[2] * along(terms.weight, 0)
        pull = jnp.where(match, pull, 0) / jnp.asarray(infonce.temperature, pull.dtype)
        return gradient.at[anchors, columns].add(-pull).at[columns, anchors].add(-pull)

    return _over_runs(add, gradient, similarities, pairs)


def _over_runs(
    add: Callable[..., State], start: State, similarities: Similarities, pairs: Pairs
) -> State:
    """Runs ``state = add(state, similarities, positives, columns)`` over parts of the runs."""
    anchors, candidates = pairs
    order = jnp.argsort(candidates.group)
    first, last = ends_of_runs(candidates.group[order], anchors.group)
    if anchors.in_positives is not None:
        last = jnp.where(anchors.in_positives, last, first)
    some = jnp.arange(AT_ONCE, dtype=jnp.int32)[None]

    def step(number: Int[Array, ""], state: State) -> State:
        place = first[:, None] + AT_ONCE * number + some
        columns = order[jnp.minimum(place, len(order) - 1)]
        theirs = jax.tree.map(lambda key: key[columns], candidates)
        match = is_positive(along(anchors, 0), theirs) & (place < last[:, None])
        return add(state, jnp.take_along_axis(similarities, columns, axis=1), match, columns)

    steps = (jnp.max(last - first) + AT_ONCE - 1) // AT_ONCE
    return lax.fori_loop(0, steps, step, varying_like(start, (similarities, pairs)))
