"""Embeddings: projections mapped into the unit ball, onto the unit sphere, or left as they are.

The bounds of arXiv 2311.05139 (Theorems 2 and 3) hold in the unit ball and on the unit sphere; its
training code uses the ball. All three functions act on the last axis, have finite values and
gradients for every finite input, zero included, and compute norms in at least float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hcl_jax.precision import at_least_float32, norms, unit_vectors
from hcl_jax.validation.arrays import check_floating

__all__ = [
    "NORMALIZATIONS",
    "Normalization",
    "unit_ball",
    "unit_sphere",
    "unnormalized",
]


def __dir__() -> list[str]:
    return __all__


Normalization = Callable[[Float[Array, "*n dim"]], Float[Array, "*n dim"]]
"""A function of vectors along the last axis, which keeps their shape and dtype."""


def unit_ball(projections: Float[Array, "*n dim"]) -> Float[Array, "*n dim"]:
    """Divides every vector longer than one by its norm: ``z / max(1, |z|)``.

    Args:
        projections: vectors along the last axis.

    Returns:
        Vectors of norm at most one, in the dtype of the input.

    Raises:
        ValueError, TypeError: unless `projections` are floating point, with a last axis of one
            entry or more.

    Example:
        >>> import jax.numpy as jnp
        >>> unit_ball(jnp.array([[3.0, 4.0], [0.3, 0.4]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.30000001192092896, 0.4000000059604645]]
    """
    _check_vectors(projections)
    vectors = at_least_float32(projections)
    outside = norms(vectors)[..., None] > 1
    normalized = jnp.where(outside, unit_vectors(vectors), vectors)
    return normalized.astype(jnp.result_type(projections))


def unit_sphere(projections: Float[Array, "*n dim"]) -> Float[Array, "*n dim"]:
    """Divides every vector by its norm: ``z / |z|``; zero stays zero, with gradient zero.

    Args:
        projections: vectors along the last axis.

    Returns:
        Vectors of norm one (zero for a zero vector), in the dtype of the input.

    Raises:
        ValueError, TypeError: as `unit_ball`.

    Example:
        >>> import jax.numpy as jnp
        >>> unit_sphere(jnp.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    _check_vectors(projections)
    return unit_vectors(at_least_float32(projections)).astype(jnp.result_type(projections))


def unnormalized(projections: Float[Array, "*n dim"]) -> Float[Array, "*n dim"]:
    """Returns the projections as they are: the control, under which no bound holds.

    Args:
        projections: vectors along the last axis.

    Returns:
        The same array.

    Raises:
        ValueError, TypeError: as `unit_ball`.

    Example:
        >>> import jax.numpy as jnp
        >>> unnormalized(jnp.array([3.0, 4.0])).tolist()
        [3.0, 4.0]
    """
    _check_vectors(projections)
    return projections


NORMALIZATIONS: Mapping[str, Normalization] = {
    "unit_ball": unit_ball,
    "unit_sphere": unit_sphere,
}
"""The normalisations by name, for the option `normalize` of the losses and for the commands."""


def _check_vectors(projections: Any) -> None:
    """Raises unless projections are floating point along a last axis of at least one entry."""
    check_floating("projections", projections)
    shape = jnp.shape(projections)
    if not shape or not shape[-1]:
        raise ValueError(
            f"projections must be vectors along the last axis, of dim >= 1, got shape {shape}"
        )
