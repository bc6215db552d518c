"""Dtype and shape of every array of a tree by its path, and how two trees differ.

Arrays are matched by their path in the tree (`variables/params/layers/0/kernel`), not by their
position among the leaves, so that an error can name what is missing or has another shape.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

SHOWN_DIFFERENCES = 5


class ArraySpec(NamedTuple):
    """Dtype and shape of an array, comparable and storable as JSON."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def named_leaves(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by their paths, in the order of `jax.tree.leaves`.

    TypeError names a leaf that is no array; ValueError says that there is none, or that two leaves
    have the same path.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
            raise TypeError(f"{name} must be a jax.Array, got {type(leaf).__name__}")
        if name in found:
            raise ValueError(f"two leaves of the tree are called {name}")
        found[name] = leaf
    if not found:
        raise ValueError("the tree holds no arrays")
    return found


def specs_of(leaves: Mapping[str, jax.Array | jax.ShapeDtypeStruct]) -> dict[str, ArraySpec]:
    """Dtype and shape of named arrays."""
    return {name: ArraySpec(str(leaf.dtype), tuple(leaf.shape)) for name, leaf in leaves.items()}


def differences(found: Mapping[str, ArraySpec], expected: Mapping[str, ArraySpec]) -> str | None:
    """A line for each array that differs, with what was found and expected; None if none does."""
    names = [*expected, *(name for name in found if name not in expected)]
    wrong = [name for name in names if found.get(name) != expected.get(name)]
    if not wrong:
        return None
    lines = [
        f"  {name}: found {found.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
        for name in wrong[:SHOWN_DIFFERENCES]
    ]
    if len(wrong) > SHOWN_DIFFERENCES:
        lines.append(f"  and {len(wrong) - SHOWN_DIFFERENCES} more")
    return "\n".join(lines)
