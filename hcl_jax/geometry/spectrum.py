"""The spectrum of the class means: how many directions they span."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.geometry._checks import check_spectrum, check_two_classes
from hcl_jax.geometry.classes import centred
from hcl_jax.precision import at_least_float32, scale_of

DIRECTION_TOLERANCE = 1e-3
"""A direction counts if its singular value is above this fraction of the largest."""


def singular_values(means: Float[Array, "classes dim"]) -> Float[Array, " singular"]:
    """The spectrum: singular values of the covariance of the class means, largest first.

    The covariance is ``sum_c (mu_c - m)(mu_c - m)^T / (C - 1)``, with m the mean of the class
    means. The figures of arXiv 2311.05139 show ``log(sigma_i / sigma_1)``.

    Args:
        means: class means, one per row.

    Returns:
        The dim singular values of the ``(dim, dim)`` covariance, inf where beyond the largest
        number of their dtype. At NC in dimension C - 1 all are equal.

    Raises:
        ValueError: for fewer than two classes.

    Example:
        >>> import jax.numpy as jnp
        >>> singular_values(jnp.array([[1.0, 0.0], [-1.0, 0.0]])).round(4).tolist()
        [2.0, 0.0]
    """
    check_two_classes(means)
    spectrum, scale = scaled_spectrum(means)
    return scale * (scale * spectrum)


def scaled_spectrum(
    means: Float[Array, "classes dim"],
) -> tuple[Float[Array, " singular"], Float[Array, ""]]:
    """The spectrum of the class means divided by a scale, which keeps it in range; and the scale.

    Of the classes' C singular values the last is zero, as the means are centred.
    """
    means = at_least_float32(means)
    scale = scale_of(means)
    with jax.default_matmul_precision("highest"):  # of its derivative
        values = jnp.linalg.svd(centred(means / scale), compute_uv=False)
    values = jnp.square(values[: len(means) - 1]) / (len(means) - 1)
    return jnp.pad(values, (0, means.shape[1] - len(values))), scale


def directions(spectrum: Float[Array, " singular"]) -> Int[Array, ""]:
    """The number of directions that the class means span: those before the cliff of the spectrum.

    Args:
        spectrum: singular values, as `singular_values` returns them.

    Returns:
        The number of values above `DIRECTION_TOLERANCE` times the largest; 0 for a zero spectrum.
        It is C - 1 at NC, and less under dimensional collapse.

    Raises:
        ValueError, TypeError: unless it is a vector of floating point, and, where the numbers are
            concrete, unless they are finite and not negative.

    Example:
        >>> import jax.numpy as jnp
        >>> directions(jnp.array([1.0, 0.5, 1e-4])).item()
        2
    """
    check_spectrum(spectrum)
    shares = _scaled(spectrum)
    return jnp.sum(shares > DIRECTION_TOLERANCE * shares.max(), dtype=jnp.int32)


def effective_rank(spectrum: Float[Array, " singular"]) -> Float[Array, ""]:
    """The exponential of the entropy of the normalised spectrum (Roy and Vetterli, 2007).

    ``exp(-sum_i p_i log p_i)`` with ``p_i = sigma_i / sum_j sigma_j``.

    Args:
        spectrum: singular values, as `singular_values` returns them.

    Returns:
        A number between 1 and the length of the spectrum; 0 for a zero spectrum.

    Raises:
        ValueError, TypeError: as `directions`.

    Example:
        >>> import jax.numpy as jnp
        >>> round(effective_rank(jnp.array([1.0, 1.0, 0.0])).item(), 5)
        2.0
    """
    check_spectrum(spectrum)
    scaled = _scaled(spectrum)
    total = scaled.sum()
    shares = scaled / jnp.where(total == 0, 1, total)
    entropy = -jnp.sum(shares * jnp.log(jnp.where(shares > 0, shares, 1)))
    return jnp.where(total == 0, 0, jnp.exp(entropy))


def _scaled(spectrum: Float[Array, " singular"]) -> Float[Array, " singular"]:
    """The spectrum divided by a power of two, in at least float32."""
    spectrum = at_least_float32(spectrum)
    return spectrum / scale_of(spectrum)
