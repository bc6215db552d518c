"""Rows appended to arrays, and values marked as varying over a mesh."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool


def padding(length: int, block: int) -> int:
    """How many rows `length` lacks to a multiple of `block`.

    Args:
        length: a number of rows.
        block: the block length.

    Returns:
        Between 0 and ``block - 1``.

    Example:
        >>> padding(10, 4)
        2
    """
    return -length % block


def pad_rows(tree: Any, count: int, *, mode: str = "constant") -> Any:
    """Appends `count` rows to every array of a tree: zeros, or copies of the last row.

    Args:
        tree: arrays whose first axis is rows.
        count: how many rows to append.
        mode: "constant" for zeros, "edge" for copies.

    Returns:
        The longer arrays.

    Example:
        >>> import jax.numpy as jnp
        >>> pad_rows(jnp.array([3, 4]), 2, mode="edge").tolist()
        [3, 4, 4, 4]
    """
    if count == 0:
        return tree
    return jax.tree.map(
        lambda x: jnp.pad(x, [(0, count)] + [(0, 0)] * (x.ndim - 1), mode=mode), tree
    )


def valid_rows(length: int, block: int) -> Bool[Array, " padded"] | None:
    """Which rows of a padded array are real; None if all are.

    Args:
        length: the number of real rows.
        block: the block length.

    Returns:
        A mask of the padded length, or None.

    Example:
        >>> valid_rows(3, 2).tolist(), valid_rows(4, 2)
        ([True, True, True, False], None)
    """
    extra = padding(length, block)
    return jnp.arange(length + extra) < length if extra else None


def varying_like(tree: Any, like: Any) -> Any:
    """Marks a tree as varying over the mesh axes over which any leaf of `like` varies.

    Loops inside `jax.shard_map` need the type of their state to be that of their result. Outside
    it this does nothing.

    Args:
        tree: arrays, typically zeros.
        like: arrays computed from the data.

    Returns:
        The tree.

    Example:
        >>> import jax.numpy as jnp
        >>> varying_like(jnp.zeros(()), jnp.ones(3)).item()
        0.0
    """
    wanted = frozenset().union(*(_varying_axes(leaf) for leaf in jax.tree.leaves(like)))

    def mark(leaf):
        missing = tuple(wanted - _varying_axes(leaf))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, tree)


def _varying_axes(leaf):
    kind = jax.typeof(leaf)
    manual = getattr(kind, "manual_axis_type", None)  # JAX 0.10; later the type has it itself
    return getattr(manual, "varying", frozenset()) | getattr(kind, "vma", frozenset())
