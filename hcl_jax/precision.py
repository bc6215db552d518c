"""Numbers of at least single precision, and the multiplications that keep them so."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Float

ROUNDED = (lax.Precision.DEFAULT, "default")
"""Precisions at which matrix units round what they multiply."""


def wide_dtype(*values: Any) -> jnp.dtype:
    """The dtype of arrays (or dtypes) together, float32 where it is narrower."""
    return jnp.promote_types(jnp.result_type(*values), jnp.float32)


def at_least_float32(array: Float[Array | np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
    """The array on the device, float32 where it is narrower."""
    array = jnp.asarray(array)
    return array.astype(wide_dtype(array))


def inner_products(
    x: Float[Array, "*blocks n dim"], y: Float[Array, "*blocks m dim"], precision: PrecisionLike
) -> Float[Array, "*blocks n m"]:
    """``x @ y.T``, of every block if there are several, in at least float32."""
    blocks = tuple(range(x.ndim - 2))
    return lax.dot_general(
        x,
        y,
        (((x.ndim - 1,), (y.ndim - 1,)), (blocks, blocks)),
        precision=precision,
        preferred_element_type=wide_dtype(x, y),
    )


def weighted_sums(
    weights: Float[Array, "*blocks n m"],
    features: Float[Array, "*blocks m dim"],
    precision: PrecisionLike,
) -> Float[Array, "*blocks n dim"]:
    """``weights @ features`` in the dtype of the weights.

    At the default precision the weights are rounded to the dtype of the features, as matrix units
    want it; at any other the features are widened.
    """
    dtype = weights.dtype
    if precision in ROUNDED:
        weights = weights.astype(features.dtype)
    else:
        features = features.astype(dtype)
    return jnp.matmul(weights, features, precision=precision, preferred_element_type=dtype)
