"""Some leaves of a pytree, which a loss is differentiated with respect to, and their gradients."""

from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Tree = TypeVar("Tree")

Values = list[Any]
"""The leaves that are chosen, in the order of the tree, or their gradients."""


def chosen_leaves(tree: Any, wanted: Sequence[bool]) -> Values:
    """The leaves that are wanted, as arrays."""
    leaves = jax.tree.leaves(tree)
    return [jnp.asarray(leaf) for leaf, is_ in zip(leaves, wanted, strict=True) if is_]


def with_leaves(tree: Tree, wanted: Sequence[bool], values: Values) -> Tree:
    """The tree with these values in the places of the leaves that are wanted."""
    leaves, structure = jax.tree.flatten(tree)
    given = iter(values)
    return structure.unflatten(
        [next(given) if is_ else leaf for leaf, is_ in zip(leaves, wanted, strict=True)]
    )


def as_cotangents(tree: Tree, wanted: Sequence[bool], gradients: Values) -> Tree:
    """Gradients in the places and dtypes of the leaves that are wanted, None in other places."""
    leaves, structure = jax.tree.flatten(tree)
    given = iter(gradients)
    return structure.unflatten(
        [
            next(given).astype(jnp.result_type(leaf)) if is_ else None
            for leaf, is_ in zip(leaves, wanted, strict=True)
        ]
    )


def no_gradients(values: Values, like: Float[Array, "..."]) -> Values:
    """Sums of gradients before the first term, in at least the dtype of `like`."""
    return [jnp.zeros(v.shape, jnp.promote_types(v.dtype, like.dtype)) for v in values]


def added(total: Values, gradients: Values) -> Values:
    """Sums with the next terms, in the dtypes of the sums."""
    return [old + part.astype(old.dtype) for old, part in zip(total, gradients, strict=True)]
