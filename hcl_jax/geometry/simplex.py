"""The simplex equiangular tight frame, and the distance to it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hcl_jax.geometry._checks import check_two_classes
from hcl_jax.precision import at_least_float32, exact_product, norms, scale_of
from hcl_jax.validation.numbers import check_count


def simplex_etf(num_classes: int, dim: int) -> Float[Array, "classes dim"]:
    """C unit vectors with all inner products ``-1/(C-1)``: the class means at neural collapse.

    Their sum is zero. At them SCL, HSCL and UCL are least in the unit ball (arXiv 2311.05139,
    Theorems 2 and 3).

    Args:
        num_classes: the number C of vectors, at least 2.
        dim: the dimension of the vectors, at least C - 1.

    Returns:
        The vectors, one per row; coordinates beyond the first C - 1 are zero.

    Raises:
        ValueError: if C < 2, or no such frame exists because ``dim < C - 1``.

    Example:
        >>> simplex_etf(2, 1).tolist()
        [[1.0], [-1.0]]
    """
    num_classes = check_count("num_classes", num_classes, minimum=2)
    dim = check_count("dim", dim)
    _check_room(num_classes, dim)
    frame = np.zeros((num_classes, dim))
    for k in range(num_classes - 1):
        # Column k: row k takes the rest of its norm, the rows below share the opposite of that.
        left = num_classes - 1 - k
        height = np.sqrt((left / (left + 1)) * (num_classes / (num_classes - 1)))
        frame[k, k] = height
        frame[k + 1 :, k] = -height / left
    return jnp.asarray(frame, dtype=jnp.result_type(float))


def etf_distance(means: Float[Array, "classes dim"]) -> Float[Array, ""]:
    """The distance of the class means to the nearest rotated simplex ETF.

    ``min_Q |M - E Q| / |E|`` (Frobenius norms) over isometries Q, with M the class means and E the
    simplex ETF: the orthogonal Procrustes problem, solved by a singular value decomposition.

    Args:
        means: class means, one per row.

    Returns:
        A non-negative number: 0 exactly at NC of the class means, 1 for means at zero. The gradient
        is taken at the nearest Q, which is exact since Q is a minimum; second derivatives are not.

    Raises:
        ValueError: if C < 2 or ``dim < C - 1``.

    Example:
        >>> round(etf_distance(0.5 * simplex_etf(4, 3)).item(), 5)
        0.5
    """
    check_two_classes(means)
    means = at_least_float32(means)
    num_classes, dim = means.shape
    _check_room(num_classes, dim)
    # The frame is zero beyond its first C - 1 coordinates: that many rows of Q are all that counts.
    frame = simplex_etf(num_classes, num_classes - 1).astype(means.dtype)
    overlap = jax.lax.stop_gradient(exact_product(frame.T, means / scale_of(means)))
    left, _, right = jnp.linalg.svd(overlap, full_matrices=False)
    nearest = exact_product(frame, exact_product(left, right))
    return norms((means - nearest).ravel() / math.sqrt(num_classes))


def _check_room(num_classes: int, dim: int) -> None:
    """Raises ValueError unless the dimension has room for a simplex ETF."""
    if dim < num_classes - 1:
        raise ValueError(
            f"a simplex ETF of {num_classes} classes needs dim >= {num_classes - 1}, got {dim}"
        )
