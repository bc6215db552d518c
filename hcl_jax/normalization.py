"""Embeddings: projections mapped into the unit ball, onto the unit sphere, or left as they are.

The bounds of arXiv 2311.05139 (Theorems 2 and 3) hold in the unit ball and on the unit sphere; its
training code uses the ball. All three functions act on the last axis, have finite values and
gradients for every finite input, zero included, and compute norms in at least float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hcl_jax.precision import at_least_float32

Normalization = Callable[[Float[Array, "*n dim"]], Float[Array, "*n dim"]]


def unit_ball(projections: Float[Array, "*n dim"]) -> Float[Array, "*n dim"]:
    """Divides every vector longer than one by its norm: ``z / max(1, |z|)``.

    Args:
        projections: vectors along the last axis.

    Returns:
        Vectors of norm at most one, in the dtype of the input.

    Example:
        >>> import jax.numpy as jnp
        >>> unit_ball(jnp.array([[3.0, 4.0], [0.3, 0.4]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.30000001192092896, 0.4000000059604645]]
    """
    vectors = at_least_float32(projections)
    scale, scaled_norm = _norm(vectors)
    outside = scale * scaled_norm > 1
    safe = jnp.where(outside, scaled_norm, 1)
    normalized = jnp.where(outside, (vectors / scale) / safe, vectors)
    return normalized.astype(projections.dtype)


def unit_sphere(projections: Float[Array, "*n dim"]) -> Float[Array, "*n dim"]:
    """Divides every vector by its norm: ``z / |z|``; zero stays zero, with gradient zero.

    Args:
        projections: vectors along the last axis.

    Returns:
        Vectors of norm one (zero for a zero vector), in the dtype of the input.

    Example:
        >>> import jax.numpy as jnp
        >>> unit_sphere(jnp.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    vectors = at_least_float32(projections)
    scale, scaled_norm = _norm(vectors)
    nonzero = scaled_norm > 0
    safe = jnp.where(nonzero, scaled_norm, 1)
    normalized = jnp.where(nonzero, (vectors / scale) / safe, 0)
    return normalized.astype(projections.dtype)


def unnormalized(projections: Float[Array, "*n dim"]) -> Float[Array, "*n dim"]:
    """Returns the projections as they are: the control, under which no bound holds.

    Args:
        projections: vectors along the last axis.

    Returns:
        The same array.

    Example:
        >>> import jax.numpy as jnp
        >>> unnormalized(jnp.array([3.0, 4.0])).tolist()
        [3.0, 4.0]
    """
    return projections


def _norm(
    vectors: Float[Array, "*n dim"],
) -> tuple[Float[Array, "*n 1"], Float[Array, "*n 1"]]:
    """The Euclidean norm as ``scale * norm(vectors / scale)``, so that squares cannot overflow.

    The scale is the largest entry, within what can be inverted. It takes no gradient, which leaves
    the gradient of the product right because the norm is homogeneous.
    """
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(vectors)), axis=-1, keepdims=True)
    smallest_normal = float(jnp.finfo(vectors.dtype).tiny)
    scale = jnp.clip(largest, smallest_normal, 1 / smallest_normal)
    squared = jnp.sum(jnp.square(vectors / scale), axis=-1, keepdims=True)
    positive = squared > 0
    return scale, jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1)), 0)
