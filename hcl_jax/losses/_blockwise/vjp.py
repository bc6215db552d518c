"""What the forward and the backward pass of a hand-written gradient share.

The forms of the loss (`hcl_jax.losses._blockwise.loss`, `hcl_jax.losses.sharded`) differ
in how anchors and candidates meet, not in what is kept between the passes.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses._blockwise.block import Offsets, Side, Slopes
from hcl_jax.losses._blockwise.negatives import Statistics, Sums
from hcl_jax.losses._blockwise.positives import PositiveSums
from hcl_jax.losses._blockwise.tiles import tile_length
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.padding import pad_rows, padding, valid_rows
from hcl_jax.pairs import Pairs

POSITIVE_BLOCK = 64
"""Rows in a block of the positives' band."""


class Kernels(NamedTuple):
    """The two passes over negatives, where `hcl_jax.losses._blockwise.pallas` has them and not XLA.

    Attributes:
        sums: of law, anchors, candidates and precision; as
            `hcl_jax.losses._blockwise.negatives.absorb`.
        pull: of law, rows, columns, detached and precision; the negatives' share of the gradient
            by the features of the rows, in whichever roles rows and columns have.
    """

    sums: Callable[..., Sums]
    pull: Callable[..., Float[Array, "n dim"]]


class Settings(NamedTuple):
    """What is fixed when the loss is traced.

    Attributes:
        detached: whether the weights eta are constants to differentiation.
        precision: of matrix multiplications, see `jax.lax.Precision`.
        block: rows in a tile, or None for `hcl_jax.losses._blockwise.tiles.tile_length`.
        kernels: what goes over the tiles of negatives, or None for loops of XLA.
    """

    detached: bool = True
    precision: Any = lax.Precision.HIGHEST
    block: int | None = None
    kernels: Kernels | None = None


class Memory(NamedTuple):
    """What the forward pass leaves to the backward pass, besides its arguments: O(rows).

    Attributes:
        statistics: of the negatives of every anchor.
        slope: ``R``.
        defined: which anchors have a loss.
        constant: whether the sums less a constant were in range.
    """

    statistics: Statistics
    slope: Float[Array, " anchors"]
    defined: Bool[Array, " anchors"]
    constant: Bool[Array, ""]


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `function(settings, *arguments)` refuse differentiation with a clear message.

    It stands around the two passes of the hand-written gradient: what reaches it is a second
    differentiation.

    Args:
        function: a pass.

    Returns:
        The same function to everyone but `jax.jvp`.

    Example:
        >>> import jax
        >>> double = once_differentiable(lambda settings, x: 2 * x)
        >>> double(None, 3.0)
        6.0
    """
    guarded = jax.custom_jvp(function, nondiff_argnums=(0,))

    def refuse(settings, primals, tangents):
        raise NotImplementedError(
            "the blockwise, pallas and samples forms can be differentiated once, in reverse mode; "
            "for second derivatives or forward mode of the weights estimator "
            'use implementation="dense"'
        )

    guarded.defjvp(refuse)
    return wraps(function)(guarded)


def unwrap(law_and_arguments: Any) -> Any:
    """Takes the values out of arguments with `symbolic_zeros`; refuses perturbed numbers of a law.

    Args:
        law_and_arguments: a tuple that starts with a `Law`.

    Returns:
        The tuple of values.

    Raises:
        NotImplementedError: if a derivative by a number of the law is wanted.

    Example:
        >>> from types import SimpleNamespace
        >>> number = SimpleNamespace(value=2.0, perturbed=False)
        >>> unwrap((number, [number]))
        (2.0, [2.0])
    """

    def is_wrapped(leaf):
        return hasattr(leaf, "perturbed")

    if any(leaf.perturbed for leaf in jax.tree.leaves(law_and_arguments[0], is_leaf=is_wrapped)):
        raise NotImplementedError(
            "the blockwise, pallas and samples forms have no gradient by temperature, beta or "
            "other numbers of psi and hardening; use jax.lax.stop_gradient or, for the weights "
            'estimator, use implementation="dense"'
        )
    return jax.tree.map(lambda leaf: leaf.value, law_and_arguments, is_leaf=is_wrapped)


def cotangent_of_totals(
    cotangents: Any, like: Float[Array, " anchors"]
) -> Float[Array, " anchors"]:
    """The first of three cotangents, written out if it is a symbolic zero.

    Args:
        cotangents: of totals, numbers and flags.
        like: the totals' shape and dtype.

    Returns:
        An array.

    Example:
        >>> import jax.numpy as jnp
        >>> cotangent_of_totals((jnp.ones(2), None, None), jnp.zeros(2)).tolist()
        [1.0, 1.0]
    """
    of_totals = cotangents[0]
    return jnp.zeros_like(like) if isinstance(of_totals, SymbolicZero) else of_totals


def sort_rows(
    features: Float[Array, "n dim"], pairs: Pairs
) -> tuple[Int[Array, " n"], Int[Array, " n"], Side]:
    """Rows in both roles, sorted by group.

    Args:
        features: embeddings.
        pairs: their keys as anchors and as candidates.

    Returns:
        The order, its inverse, and the sorted rows.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> keys = supervised(rows(jnp.array([2, 0, 1])))
        >>> order, ranks, _ = sort_rows(jnp.zeros((3, 1)), keys)
        >>> order.tolist(), ranks.tolist()
        ([1, 2, 0], [2, 0, 1])
    """
    order = jnp.argsort(pairs.candidates.group)
    side = Side(features, pairs.anchors, pairs.candidates)
    return order, ranks_of(order), jax.tree.map(lambda values: values[order], side)


def whole_blocks(side: Side, settings: Settings) -> tuple[Side, int]:
    """Rows padded to whole tiles.

    Args:
        side: rows.
        settings: with the length of a tile, if it was given.

    Returns:
        The longer side, and the length of a tile.

    Example:
        >>> import jax.numpy as jnp
        >>> side, block = whole_blocks(Side(jnp.zeros((5, 1))), Settings(block=2))
        >>> side.features.shape, block
        ((6, 1), 2)
    """
    count = side.features.shape[0]
    block = min(settings.block or tile_length(count), count)
    padded = pad_rows(side, padding(count, block))
    return padded._replace(valid=valid_rows(count, block)), block


def weigh(rows: Side, memory: Memory, weight: Float[Array, " n"]) -> Side:
    """Gives anchors what the gradient needs of them.

    Args:
        rows: the anchors.
        memory: their statistics.
        weight: the derivative of the final loss by their totals.

    Returns:
        The same rows with slopes and offsets.

    Example:
        >>> import jax.numpy as jnp
        >>> two = jnp.ones(2)
        >>> stats = Statistics(two, two, two.astype(int), two > 0)
        >>> memory = Memory(stats, 3 * two, jnp.array([True, False]), jnp.array(True))
        >>> weigh(Side(jnp.ones((2, 1))), memory, two).slopes.tilted.tolist()
        [3.0, 0.0]
    """
    weight = jnp.where(memory.defined, weight, 0)
    stats, factor = memory.statistics, weight * memory.slope
    return rows._replace(
        slopes=Slopes(factor, factor, stats.tilted, stats.plain),
        offsets=Offsets(stats.tilted - stats.plain, stats.number, weight),
    )


def finish(
    stats: Statistics, sums: PositiveSums, constant: Bool[Array, ""]
) -> tuple[AnchorLosses, Memory]:
    """Leaves out undefined anchors.

    Args:
        stats: of the negatives.
        sums: over the positives.
        constant: see `Memory`.

    Returns:
        The losses, and what the backward pass needs.

    Example:
        >>> import jax.numpy as jnp
        >>> two = jnp.ones(2)
        >>> stats = Statistics(two, two, two.astype(int), jnp.array([True, False]))
        >>> losses, memory = finish(stats, PositiveSums(two, two, two.astype(int)), jnp.array(True))
        >>> losses[0].tolist()
        [1.0, 0.0]
    """
    defined = stats.live & (sums.number > 0)
    total = jnp.where(defined, sums.total, 0)
    losses = AnchorLosses(total, jnp.where(defined, sums.number, 0), defined)
    return losses, Memory(stats, jnp.where(defined, sums.slope, 0), defined, constant)


def offsets(stats: Statistics) -> Offsets:
    """The offsets of anchors, before a gradient is asked for.

    Args:
        stats: of their negatives.

    Returns:
        Offsets with weight one.

    Example:
        >>> import jax.numpy as jnp
        >>> two = jnp.ones(2)
        >>> offsets(Statistics(3 * two, two, two.astype(int), two > 0)).offset.tolist()
        [2.0, 2.0]
    """
    return Offsets(stats.tilted - stats.plain, stats.number, jnp.ones_like(stats.tilted))


def ranks_of(order: Int[Array, " n"]) -> Int[Array, " n"]:
    """The inverse of a permutation.

    Args:
        order: a permutation.

    Returns:
        Where each number stands in it.

    Example:
        >>> import jax.numpy as jnp
        >>> ranks_of(jnp.array([1, 2, 0])).tolist()
        [2, 0, 1]
    """
    return jnp.zeros_like(order).at[order].set(jnp.arange(len(order), dtype=order.dtype))
