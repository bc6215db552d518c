"""The pseudo-inverse of a matrix of a known scale, with the derivative of constant rank.

`jnp.linalg.pinv` takes for zero what is below the largest singular value times the larger side of
the matrix, so that columns of zeros change what it returns. Here the caller says what rounding may
have left of a zero.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hcl_jax.precision import exact_product


@jax.custom_jvp
def pseudo_inverse(matrix: Float[Array, "n m"], cutoff: Float[Array, ""]) -> Float[Array, "m n"]:
    """The pseudo-inverse, with singular values up to the cutoff taken for zero."""
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    kept = values > cutoff
    inverses = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)
    # NaN must not pass for zero.
    inverses = jnp.where(jnp.isnan(values), values, inverses)
    return exact_product(right.T * inverses[None, :], left.T)


@pseudo_inverse.defjvp
def _derivative(
    primals: tuple[Float[Array, "n m"], Float[Array, ""]],
    tangents: tuple[Float[Array, "n m"], Float[Array, ""]],
) -> tuple[Float[Array, "m n"], Float[Array, "m n"]]:
    """Golub and Pereyra (1973): the derivative where the rank stays what it is."""
    (matrix, cutoff), (moved, _) = primals, tangents
    inverse = pseudo_inverse(matrix, cutoff)
    outside_rows = moved.T - exact_product(exact_product(moved.T, matrix), inverse)
    outside_columns = moved.T - exact_product(inverse, exact_product(matrix, moved.T))
    first = exact_product(exact_product(inverse, moved), inverse)
    second = exact_product(exact_product(inverse, inverse.T), outside_rows)
    third = exact_product(outside_columns, exact_product(inverse.T, inverse))
    return inverse, second + third - first
