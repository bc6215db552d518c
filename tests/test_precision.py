"""Narrow inputs, wide results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.public_calls import CALLS

from hcl_jax.precision import (
    at_least_float32,
    inner_products,
    norms,
    row_mean,
    scale_of,
    segment_means,
    unit_vectors,
    weighted_sums,
    wide_dtype,
)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((jnp.bfloat16,), jnp.float32),
        ((jnp.float16, jnp.float32), jnp.float32),
        ((jnp.ones(2, jnp.bfloat16), jnp.ones(2, jnp.float16)), jnp.float32),
        ((np.ones(2, np.float64),), jnp.float32),
        ((jnp.float8_e4m3fn,), jnp.float32),
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


AT_ANY_SCALE = [1e-30, 1.0, 1e30, 6e37]


@pytest.mark.parametrize("size", AT_ANY_SCALE)
def test_norms_and_unit_vectors_at_any_scale(size):
    vectors = np.float32(size) * np.array([[3, -4, 0], [0, 0, 0], [1, 2, -2]], np.float32)
    np.testing.assert_allclose(norms(jnp.asarray(vectors)), [5 * size, 0, 3 * size], rtol=1e-6)
    expected = [[0.6, -0.8, 0], [0, 0, 0], [1 / 3, 2 / 3, -2 / 3]]
    np.testing.assert_allclose(unit_vectors(jnp.asarray(vectors)), expected, rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-45, 1.5e-30, 3.0, 7e30, 3.4e38])
def test_the_scale_is_a_power_of_two_that_can_be_inverted(size):
    scale = scale_of(jnp.asarray([[size, -size / 2]]))
    mantissa, _ = np.frexp(float(scale))
    assert mantissa == 0.5
    assert np.isfinite(1 / np.float32(scale))
    assert abs(np.float32(size) / np.float32(scale)) <= 4
    assert jax.grad(scale_of)(jnp.ones(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", AT_ANY_SCALE)
@pytest.mark.parametrize("count", [1, 3, 2**18 + 1])
def test_means_at_any_scale_and_of_many_rows(size, count):
    shares = np.random.default_rng(0).permutation(np.linspace(0.5, 1.5, count))
    rows = shares[:, None] * np.array([size, -2 * size])
    found = row_mean(jnp.asarray(rows, jnp.float32))
    np.testing.assert_allclose(found, rows.mean(axis=0), rtol=1e-6)
    segments = np.arange(count) % 2
    sizes = jnp.asarray([(segments == c).sum() for c in (0, 1)], jnp.int32)
    found = segment_means(jnp.asarray(rows, jnp.float32), jnp.asarray(segments), sizes)
    for c in range(min(count, 2)):
        np.testing.assert_allclose(found[c], rows[segments == c].mean(axis=0), rtol=1e-6)
    assert count > 1 or jnp.isnan(found[1]).all(), "of no row"


def test_means_of_segments_of_very_different_sizes():
    """The large one has runs of many rows; rows of a segment that there is not belong to none."""
    rng = np.random.default_rng(0)
    segments = np.where(np.arange(2**17) % 1000, 3, rng.integers(-1, 6, 2**17)).astype(np.int32)
    rows = np.float32(rng.uniform(1, 2, (len(segments), 2)))
    sizes = np.bincount(segments[segments >= 0], minlength=6)[:5]
    found = segment_means(jnp.asarray(rows), jnp.asarray(segments), jnp.asarray(sizes, jnp.int32))
    expected = [rows[segments == c].mean(axis=0, dtype=np.float64) for c in range(5)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def products_of(jaxpr):
    """Every matrix product in a jaxpr, and in the jaxprs inside it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation.params["precision"]
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from products_of(getattr(inner, "jaxpr", inner))


def traced(function, arguments):
    """The jaxpr of a function of its arrays; what is no array stays as it is."""
    arrays = {name: value for name, value in arguments.items() if isinstance(value, jax.Array)}
    others = {name: value for name, value in arguments.items() if name not in arrays}
    return jax.make_jaxpr(lambda given: function(**given, **others))(arrays).jaxpr


IN_NUMPY = ("geometry.scl_optimum",)
MEASURES = [
    name for name in CALLS if name.startswith(("geometry.", "evaluation.")) and name not in IN_NUMPY
]
OUTSIDE_JIT = ("evaluation.knn_accuracy", "evaluation.linear_probe_accuracy")
EXACT = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


@pytest.mark.parametrize("name", [name for name in MEASURES if name not in OUTSIDE_JIT])
def test_every_product_of_a_measurement_is_at_full_precision(name):
    """The default is TF32 on GPUs, with three digits."""
    assert set(products_of(traced(*CALLS[name]))) <= {EXACT}


@pytest.mark.parametrize("name", OUTSIDE_JIT)
def test_every_product_of_an_accuracy_is_at_full_precision(monkeypatch, name):
    """These cannot be traced: what is bound while they run is looked at, in jit or outside."""
    found, bind = [], jax.lax.dot_general_p.bind

    def recorded(*arguments, **parameters):
        found.append(parameters["precision"])
        return bind(*arguments, **parameters)

    jax.clear_caches()
    monkeypatch.setattr(jax.lax.dot_general_p, "bind", recorded)
    function, arguments = CALLS[name]
    function(**arguments)
    assert found
    assert set(found) == {EXACT}


@pytest.mark.parametrize("name", ["nc1", "etf_distance", "uniformity", "singular_values", "nc2"])
def test_every_product_of_a_gradient_is_at_full_precision(name):
    function, arguments = CALLS[f"geometry.{name}"]
    argument = next(iter(arguments))

    def gradient(**given):
        def total(z):
            return sum(jax.tree.leaves(jax.tree.map(jnp.sum, function(**{**given, argument: z}))))

        return jax.grad(total)(given[argument])

    assert set(products_of(traced(gradient, arguments))) <= {EXACT}


def test_a_product_at_default_precision_is_found():
    """The control: in a loop within jit, as in the metrics."""

    @jax.jit
    def product(x):
        return jax.lax.fori_loop(0, 2, lambda _, y: y @ x, x)

    assert list(products_of(jax.make_jaxpr(product)(jnp.eye(2)).jaxpr)) == [None]
