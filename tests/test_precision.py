"""Narrow inputs, wide results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax.precision import at_least_float32, inner_products, weighted_sums, wide_dtype


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((jnp.bfloat16,), jnp.float32),
        ((jnp.float16, jnp.float32), jnp.float32),
        ((jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float16)), jnp.float32),
    ],
)
def test_dtypes_are_widened_to_float32(given, wanted):
    assert wide_dtype(*given) == wanted


def test_wider_dtypes_stay(x64):
    assert wide_dtype(jnp.ones(1, jnp.bfloat16), jnp.ones(1, jnp.float64)) == jnp.float64


def test_arrays_are_widened_to_float32():
    assert at_least_float32(np.ones(2, np.float16)).dtype == jnp.float32
    assert at_least_float32(jnp.ones(2, jnp.bfloat16)).tolist() == [1, 1]


def test_products_of_narrow_numbers_are_exact():
    x = jax.random.normal(jax.random.key(0), (5, 3)).astype(jnp.bfloat16)
    found = inner_products(x, x[:2], jax.lax.Precision.HIGHEST)
    wide = np.asarray(x, np.float64)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wide @ wide[:2].T, rtol=1e-6)


def test_weights_are_rounded_at_default_precision_only():
    """1 + 2^-9 is no bfloat16."""
    weights = jnp.full((1, 1), 1 + 2.0**-9)
    features = jnp.ones((1, 1), jnp.bfloat16)
    for precision, wanted in (
        (jax.lax.Precision.HIGHEST, 1 + 2.0**-9),
        (None, 1 + 2.0**-9),
        (jax.lax.Precision.DEFAULT, 1.0),
        ("default", 1.0),
    ):
        found = weighted_sums(weights, features, precision)
        assert found.dtype == jnp.float32
        assert found.item() == wanted
