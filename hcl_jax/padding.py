"""Rows appended to arrays, and values marked as varying over a mesh."""

from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

T = TypeVar("T")


def padding(length: int, block: int) -> int:
    """How many rows `length` lacks to a multiple of `block`."""
    return -length % block


def pad_rows(tree: T, count: int, *, mode: Literal["constant", "edge"] = "constant") -> T:
    """Appends `count` rows to every array of a tree: zeros, or copies of the last row ("edge")."""
    if count == 0:
        return tree
    return jax.tree.map(
        lambda x: jnp.pad(x, [(0, count)] + [(0, 0)] * (x.ndim - 1), mode=mode), tree
    )


def valid_rows(length: int, block: int) -> Bool[Array, " padded"] | None:
    """Which rows of `length`, padded to a multiple of `block`, are real; None if all are."""
    extra = padding(length, block)
    return jnp.arange(length + extra) < length if extra else None


def varying_like(tree: T, like: Any) -> T:
    """Marks a tree as varying over the mesh axes over which any leaf of `like` varies.

    Loops inside `jax.shard_map` need the type of their state to be that of their result. Outside
    it this does nothing.
    """
    wanted = frozenset().union(*(_varying_axes(leaf) for leaf in jax.tree.leaves(like)))

    def mark(leaf: Any) -> Any:  # numbers of Python too
        missing = tuple(wanted - _varying_axes(leaf))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(mark, tree)


def as_traced(leaf: Any, kind: Any) -> Any:
    """Takes back what `varying_like` marked, where a program was traced with this type of the leaf.

    The leaf is equal on all devices of the axes in question; the mean over them says so to JAX.
    """
    extra = tuple(_varying_axes(leaf) - _axes_of_type(kind))
    if not extra:
        return leaf
    if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return lax.psum(leaf, extra) / lax.psum(1, extra)
    return lax.pmax(leaf, extra)


def _varying_axes(leaf: Any) -> frozenset[str]:
    """The mesh axes over which an array varies."""
    return _axes_of_type(jax.typeof(leaf))


def _axes_of_type(kind: Any) -> frozenset[str]:
    manual = getattr(kind, "manual_axis_type", None)  # JAX 0.10; later the type has it itself
    return getattr(manual, "varying", frozenset()) | getattr(kind, "vma", frozenset())
