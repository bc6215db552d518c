"""Gradients of metrics: right where there is a derivative, finite where there is none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hcl_jax import geometry


def all_metrics(z, num_classes):
    """Metrics of embeddings (n, dim) of classes in turn, by name."""
    labels = jnp.arange(len(z)) % num_classes
    means = geometry.class_means(z, labels, num_classes)
    spectrum = geometry.singular_values(means)
    return {
        "zero_sum": geometry.zero_sum(means),
        "unit_norm": geometry.unit_norm(means),
        "equal_inner_product": geometry.equal_inner_product(means),
        "largest_singular_value": spectrum[0],
        "effective_rank": geometry.effective_rank(spectrum),
        **geometry.nc2(means)._asdict(),
        "etf_distance": geometry.etf_distance(means),
        "within_class": geometry.within_class(z, labels, num_classes),
        "nc1": geometry.nc1(z, labels, num_classes),
        "alignment": geometry.alignment(z, labels, num_classes),
        "uniformity": geometry.uniformity(z),
    }


def test_against_finite_differences(x64):
    z, step = np.random.default_rng(0).normal(size=(7, 4)), 1e-5
    metrics = functools.partial(all_metrics, num_classes=3)
    values, gradients = jax.jit(metrics), jax.jit(jax.jacrev(metrics))
    found, expected = gradients(jnp.asarray(z)), {name: np.empty(z.shape) for name in values(z)}
    for place in np.ndindex(z.shape):
        moved = np.zeros(z.shape)
        moved[place] = step
        above, below = values(jnp.asarray(z + moved)), values(jnp.asarray(z - moved))
        for name, differences in expected.items():
            differences[place] = (above[name] - below[name]) / (2 * step)
    assert found.keys() == expected.keys()
    for name, differences in expected.items():
        np.testing.assert_allclose(found[name], differences, rtol=1e-5, atol=1e-8, err_msg=name)


of_two_classes = functools.partial(all_metrics, num_classes=2)
NEURAL_COLLAPSE = np.array([[1.0, 0, 0], [-1, 0, 0], [1, 0, 0], [-1, 0, 0]])


def test_finite_where_there_is_no_derivative():
    gradients = jax.jit(jax.jacrev(of_two_classes))
    for collapsed in (NEURAL_COLLAPSE, np.zeros((4, 3)), np.ones((4, 3))):
        for name, gradient in gradients(jnp.asarray(collapsed, jnp.float32)).items():
            assert jnp.isfinite(gradient).all(), (collapsed[:2], name)


def test_no_pull_where_a_norm_or_a_deviation_is_zero(x64):
    z = jnp.asarray(NEURAL_COLLAPSE)
    values, gradients = jax.jit(of_two_classes)(z), jax.jit(jax.jacrev(of_two_classes))(z)
    names = ("zero_sum", "within_class", "equinorm", "equiangular", "etf_distance", "alignment")
    for name in names:
        assert values[name] == 0, name
        assert (gradients[name] == 0).all(), name


def test_an_embedding_at_its_class_mean_is_not_pulled(x64):
    """Of z_i - m = -1, 0, 1 with signs s_i, z_j moves the distances by sum_i s_i (d_ij - 1/3)."""
    z, labels = jnp.array([[-1.0], [0.0], [1.0], [5.0]]), jnp.array([0, 0, 0, 1])
    gradient = jax.grad(geometry.within_class)(z, labels, 2)
    np.testing.assert_allclose(gradient[:, 0], np.array([-1, 0, 1, 0]) / 6, rtol=1e-12)


def test_what_is_not_a_number_stays_so():
    """Where the numbers are traced there is no error; they must not look like neural collapse."""
    for name, value in jax.jit(of_two_classes)(jnp.full((4, 3), jnp.nan)).items():
        assert jnp.isnan(value), name
