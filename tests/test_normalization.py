"""Normalisations against numpy, their geometry, and their gradients at the awkward places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from hcl_jax.normalization import unit_ball, unit_sphere, unnormalized

AWKWARD = [0.0, 1e-40, 1e-30, 1e-10, 1.0, 1e10, 1e30, 3e38]


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(50, 3)) * np.geomspace(1e-3, 1e3, 50)[:, None]


def test_formulas(x64, vectors):
    norms = np.array([np.sqrt(sum(x * x for x in row)) for row in vectors])
    ball = np.array([row / max(1, norm) for row, norm in zip(vectors, norms, strict=True)])
    np.testing.assert_allclose(unit_ball(jnp.asarray(vectors)), ball, rtol=1e-12)
    sphere = vectors / norms[:, None]
    np.testing.assert_allclose(unit_sphere(jnp.asarray(vectors)), sphere, rtol=1e-12)
    np.testing.assert_array_equal(unnormalized(jnp.asarray(vectors)), vectors)


@pytest.mark.parametrize("normalize", [unit_ball, unit_sphere])
def test_rotation_commutes(x64, vectors, normalize):
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turned = normalize(jnp.asarray(vectors @ rotation))
    np.testing.assert_allclose(turned, normalize(jnp.asarray(vectors)) @ rotation, atol=1e-12)


def test_ball_leaves_the_inside_alone():
    inside = jnp.array([[0.3, -0.4], [0.6, 0.8], [0.0, 0.0]])
    np.testing.assert_array_equal(unit_ball(inside), inside)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", AWKWARD)
@pytest.mark.parametrize("normalize", [unit_ball, unit_sphere])
def test_finite_values_and_gradients(normalize, size, dtype):
    vector = jnp.asarray([size, -size, 0.0], dtype)

    def weighted(v):
        return (normalize(v).astype(jnp.float32) * jnp.array([1.0, 2.0, 3.0])).sum()

    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(weighted)(vector)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    assert normalize(vector).dtype == dtype
    norm = jnp.linalg.norm(normalize(vector).astype(jnp.float32))
    assert norm <= 1 + 2 * float(jnp.finfo(dtype).eps)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30, 3e38])
def test_sphere_has_norm_one_at_any_scale(size):
    vector = unit_sphere(jnp.asarray([size, -size, size / 2], jnp.float32))
    np.testing.assert_allclose(jnp.linalg.norm(vector), 1, rtol=1e-6)


def test_zero_stays_zero_with_gradient_zero_on_the_sphere():
    zero = jnp.zeros(3)
    np.testing.assert_array_equal(unit_sphere(zero), zero)
    np.testing.assert_array_equal(jax.jacobian(unit_sphere)(zero), jnp.zeros((3, 3)))
    np.testing.assert_array_equal(jax.jacobian(unit_ball)(zero), jnp.eye(3))


@pytest.mark.parametrize("normalize", [unit_ball, unit_sphere])
def test_gradients_to_second_order(x64, normalize):
    for vector in ([0.3, 0.2, -0.1], [2.0, -3.0, 0.5]):
        check_grads(lambda v: normalize(jnp.asarray(v)), (jnp.array(vector),), order=2)


@pytest.mark.parametrize("normalize", [unit_ball, unit_sphere])
def test_what_is_not_a_number_stays_so(normalize):
    """NaN must not look like the zero vector, where an objective is finite."""
    vectors = jnp.array([[jnp.nan, 1.0], [3.0, 4.0]])
    found = np.asarray(normalize(vectors))
    assert np.isnan(found[0]).any()
    np.testing.assert_allclose(found[1], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("normalize", [unit_ball, unit_sphere, unnormalized])
def test_what_is_no_vector_is_refused(unchecked, normalize):
    for shape in ((), (0,), (3, 0)):
        with pytest.raises(ValueError, match=r"projections must be vectors .*got shape"):
            normalize(jnp.ones(shape))
    for dtype in (jnp.int32, jnp.complex64, bool):
        with pytest.raises(TypeError, match="projections must be floating point, got dtype"):
            normalize(jnp.ones((2, 3), dtype))
    with pytest.raises(TypeError, match="at least 16 bits, got dtype float8_e4m3fn"):
        normalize(jnp.ones((2, 3), jnp.float8_e4m3fn))
    for nothing in ([[1.0, 2.0]], None, "text"):
        with pytest.raises(TypeError, match="projections must be a NumPy or JAX array"):
            normalize(nothing)


@pytest.mark.parametrize("normalize", [unit_ball, unit_sphere, unnormalized])
def test_numpy_in_double_precision_is_taken_without_a_warning(unchecked, normalize):
    found = normalize(np.array([[3.0, 4.0]]))
    assert isinstance(found, np.ndarray) or found.dtype == jnp.float32
