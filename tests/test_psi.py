"""The psi family against its formulas; convex; non-decreasing; limits for many negatives."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from hcl_jax import psi

TUPLES = np.random.default_rng(0).uniform(-2, 2, size=(40, 3))


def hinge(x):
    return max(0.0, x)


FAMILY = {
    "infonce": (psi.infonce(), lambda v: math.log(1 + sum(map(math.exp, v)) / 3)),
    "infonce_general": (
        psi.infonce(alpha=0.5, q=2.0, temperature=0.5),
        lambda v: math.log(0.5 + 2 * sum(math.exp(x / 0.5) for x in v) / 3),
    ),
    "infonce_sum": (psi.infonce(q="k"), lambda v: math.log(1 + sum(map(math.exp, v)))),
    "infonce_decoupled": (psi.infonce(alpha=0.0), lambda v: math.log(sum(map(math.exp, v)) / 3)),
    "triplet_sum": (psi.triplet_sum(margin=0.5), lambda v: sum(hinge(x + 0.5) for x in v)),
    "triplet_max": (psi.triplet_max(margin=0.5), lambda v: hinge(max(v) + 0.5)),
    "logistic_sum": (
        psi.logistic_sum(scale=2.0),
        lambda v: sum(math.log(1 + math.exp(2 * x)) for x in v),
    ),
    "squared_hinge": (psi.squared_hinge(margin=0.5), lambda v: sum(hinge(x + 0.5) ** 2 for x in v)),
    "linear": (psi.linear(), lambda v: sum(v) / 3),
}


@pytest.mark.parametrize("name", FAMILY)
def test_formula(x64, name):
    function, formula = FAMILY[name]
    found = function.of_differences(jnp.asarray(TUPLES))
    np.testing.assert_allclose(found, [formula(list(v)) for v in TUPLES], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", FAMILY)
def test_convex_and_non_decreasing(x64, name):
    function = FAMILY[name][0].of_differences
    rng = np.random.default_rng(1)
    left, right = jnp.asarray(TUPLES), jnp.asarray(rng.permutation(TUPLES))
    middle = function((left + right) / 2)
    assert (middle <= (function(left) + function(right)) / 2 + 1e-12).all()
    for place in range(3):
        harder = left.at[:, place].add(jnp.asarray(rng.uniform(0, 1, len(left))))
        assert (function(harder) >= function(left)).all()


@pytest.mark.parametrize("name", ["infonce", "infonce_general", "infonce_sum", "logistic_sum"])
def test_gradients_to_second_order(x64, name):
    function = FAMILY[name][0].of_differences
    check_grads(lambda v: function(jnp.asarray(v)), (TUPLES,), order=2)


@pytest.mark.parametrize("name", ["infonce", "infonce_general", "infonce_sum", "infonce_decoupled"])
def test_link_of_the_log_mean_is_psi(x64, name):
    function = FAMILY[name][0]
    differences = jnp.asarray(TUPLES)
    scaled = differences / function.temperature
    log_mean = jax.nn.logsumexp(scaled, axis=1) - math.log(3)
    np.testing.assert_allclose(
        function.link(log_mean, 3), function.of_differences(differences), rtol=1e-12
    )


@pytest.mark.parametrize("name", ["triplet_sum", "logistic_sum", "squared_hinge"])
def test_terms_add_up_to_psi(x64, name):
    function = FAMILY[name][0]
    differences = jnp.asarray(TUPLES)
    np.testing.assert_allclose(
        function.term(differences).sum(axis=1), function.of_differences(differences), rtol=1e-12
    )


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_finite_where_exponentials_overflow(name, dtype):
    function = FAMILY[name][0].of_differences
    for size in (-1e4, 1e4):
        with jax.debug_nans(True):
            value, gradient = jax.value_and_grad(function)(jnp.full(3, size, dtype))
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: psi.infonce(alpha=-1.0), "alpha must not be negative, got -1.0"),
        (lambda: psi.infonce(q=0.0), "q must be positive, got 0.0"),
        (lambda: psi.infonce(q="N"), "q must be one of 'k', got 'N'"),
        (lambda: psi.infonce(temperature=0.0), "temperature must be positive, got 0.0"),
        (lambda: psi.triplet_sum(margin=float("nan")), "margin must be finite, got nan"),
        (lambda: psi.logistic_sum(scale=-1.0), "scale must be positive, got -1.0"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
