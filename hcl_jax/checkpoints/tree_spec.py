"""The arrays of a tree by name: what a checkpoint holds, and whether it is what a program expects.

Arrays are matched by where they stand in the tree (`variables/params/layers/0/kernel`), not by
their number.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

SHOWN_DIFFERENCES = 5


class Leaf(NamedTuple):
    """What is known of an array without its numbers."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their places, in the order of `jax.tree.leaves`.

    Args:
        tree: any pytree of arrays or `jax.ShapeDtypeStruct`.

    Returns:
        A flat dictionary.

    Raises:
        TypeError: if a leaf is neither.
        ValueError: if two leaves have the same name, or there is none.

    Example:
        >>> import jax.numpy as jnp
        >>> list(named_leaves({"layers": [{"kernel": jnp.ones(2)}], "step": jnp.array(3)}))
        ['layers/0/kernel', 'step']
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


def describe(leaf: jax.Array | jax.ShapeDtypeStruct) -> Leaf:
    """The dtype and shape of an array.

    Args:
        leaf: an array, or its shape and dtype.

    Returns:
        Both, comparable.

    Example:
        >>> import jax
        >>> str(describe(jax.random.key(0))), str(describe(jax.numpy.ones((2, 3))))
        ('key<fry>[]', 'float32[2, 3]')
    """
    return Leaf(str(leaf.dtype), tuple(leaf.shape))


def differences(found: Mapping[str, Leaf], expected: Mapping[str, Leaf]) -> str | None:
    """How the arrays of a checkpoint differ from those of a program.

    Args:
        found: by name, what the checkpoint holds.
        expected: by name, what the program needs.

    Returns:
        None if they are the same; else lines that name the arrays, what was found and what was
        expected.

    Example:
        >>> print(differences({"bias": Leaf("float32", (3,))}, {"bias": Leaf("float32", (4,))}))
          bias: found float32[3], expected float32[4]
    """
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
