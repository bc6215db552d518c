"""Arrays spread over a mesh, as the loss of a whole batch meets them.

The axes of `jax.make_mesh` are Explicit by default: shardings are part of types, and an operation
that cannot tell the sharding of its result is an error. The loss sorts, gathers and loops over
blocks of rows, so it runs with the axes of its arguments turned to Auto: the compiler chooses.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec


def with_auto_axes(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, with Explicit mesh axes of the arguments turned to Auto inside.

    The results are replicated over the mesh. Without Explicit axes nothing is done.
    """
    mesh = _explicit_mesh(arguments)
    if mesh is None:
        return function(*arguments)
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.sharding.auto_axes(function, out_sharding=everywhere)(*arguments)


def _explicit_mesh(arguments: Any) -> AbstractMesh | None:
    """The mesh with Explicit axes over which one of the arrays is spread."""
    arrays = [leaf for leaf in jax.tree.leaves(arguments) if isinstance(leaf, jax.Array)]
    for array in arrays:
        mesh = jax.typeof(array).sharding.mesh
        if not mesh.empty and AxisType.Explicit in mesh.axis_types:
            return mesh
    return None
