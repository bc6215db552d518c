"""Alignment and uniformity of embeddings on the sphere."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hcl_jax.validation import (
    check_embeddings,
)


def alignment(
    embeddings: Float[Array, "n dim"], positives: Float[Array, "n dim"]
) -> Float[Array, ""]:
    """The mean squared distance of positive pairs (Wang and Isola, 2020).

    Args:
        embeddings: one member of each pair.
        positives: the other member.

    Returns:
        ``mean |z - z+|^2``.

    Raises:
        ValueError, TypeError: if the shapes differ or are wrong, on wrong dtypes, and on NaN where
            the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> alignment(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])).item()
        2.0
    """
    check_embeddings("embeddings", embeddings)
    check_embeddings("positives", positives)
    if embeddings.shape != positives.shape:
        raise ValueError(f"pairs must have one shape, got {embeddings.shape} and {positives.shape}")
    return jnp.mean(jnp.sum(jnp.square(embeddings - positives), axis=1))


def uniformity(embeddings: Float[Array, "n dim"], *, scale: float = 2.0) -> Float[Array, ""]:
    """The log of the mean Gaussian potential of different embeddings (Wang and Isola, 2020).

    Args:
        embeddings: one a row, at least two.
        scale: the t of ``exp(-t |z - z'|^2)``.

    Returns:
        ``log mean_{i != j} exp(-t |z_i - z_j|^2)``; lower is more uniform.

    Raises:
        ValueError: for fewer than two embeddings.

    Example:
        >>> import jax.numpy as jnp
        >>> round(uniformity(jnp.array([[1.0], [-1.0]])).item(), 4)
        -8.0
    """
    check_embeddings("embeddings", embeddings)
    count = len(embeddings)
    if count < 2:
        raise ValueError("uniformity needs at least two embeddings, got one")
    norms = jnp.sum(jnp.square(embeddings), axis=1)
    inner = jnp.matmul(embeddings, embeddings.T, precision=jax.lax.Precision.HIGHEST)
    squared = jnp.maximum(norms[:, None] + norms - 2 * inner, 0)
    different = ~jnp.eye(count, dtype=bool)
    total = jax.nn.logsumexp(-scale * squared, where=different)
    return total - jnp.log(count * (count - 1))
