"""Hardening functions against their formulas; monotone; finite gradients; errors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax import hardening
from hcl_jax.hardness import largest_hardness, with_bounded_hardness

TUPLES = np.random.default_rng(0).uniform(-1, 1, size=(40, 3))
FAMILIES = {
    "none": (hardening.no_hardening(), lambda t: 1.0),
    "exponential": (hardening.exponential(2.0), lambda t: math.exp(2 * sum(t))),
    "threshold": (hardening.threshold(-0.5), lambda t: float(all(x >= -0.5 for x in t))),
    "relu_power": (
        hardening.relu_power(0.5, 3.0),
        lambda t: math.prod(max(0, x + 0.5) ** 3 for x in t),
    ),
    "sigmoid": (
        hardening.sigmoid(3.0, 0.2),
        lambda t: math.prod(1 / (1 + math.exp(-3 * (x - 0.2))) for x in t),
    ),
    "sum_relu_power": (hardening.sum_relu_power(0.5, 2.0), lambda t: max(0, 0.5 + sum(t)) ** 2),
    "threshold_any": (hardening.threshold_any(0.6), lambda t: float(max(t) >= 0.6)),
    "weighted_exponential": (
        hardening.weighted_exponential(jnp.array([1.0, 0.0, 2.0])),
        lambda t: math.exp(t[0] + 2 * t[2]),
    ),
}
PRODUCTS = {"none", "exponential", "threshold", "relu_power", "sigmoid"}


@pytest.mark.parametrize("name", FAMILIES)
def test_formula(x64, name):
    eta, formula = FAMILIES[name]
    found = np.exp(eta.log_eta(jnp.asarray(TUPLES)))
    expected = [formula(list(row)) for row in TUPLES]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert eta.is_product == (name in PRODUCTS)


@pytest.mark.parametrize("name", FAMILIES)
def test_non_decreasing_in_every_argument(x64, name):
    eta, _ = FAMILIES[name]
    before = eta.log_eta(jnp.asarray(TUPLES))
    for place in range(3):
        harder = TUPLES.copy()
        harder[:, place] += np.random.default_rng(place).uniform(0, 1, len(TUPLES))
        assert (eta.log_eta(jnp.asarray(harder)) >= before).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_finite_gradients_at_kinks_and_zeros(name):
    eta, _ = FAMILIES[name]
    for value in (-1.0, -0.5, 0.0, 0.2, 0.6, 1.0):
        with jax.debug_nans(True):
            gradient = jax.grad(lambda t: eta.log_eta(t))(jnp.full(3, value))
        assert jnp.isfinite(gradient).all()


def test_beta_anneals_without_a_new_trace():
    traces = []

    @jax.jit
    def log_eta(t, eta):
        traces.append(None)
        return eta.log_eta(t)

    for beta in (0.0, 1.0, 1000.0):
        found = log_eta(jnp.ones(2), hardening.exponential(jnp.float32(beta)))
        assert found == 2 * beta
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hardening.exponential(float("nan")), "beta must be finite, got nan"),
        (lambda: hardening.threshold(float("inf")), "level must be finite, got inf"),
        (lambda: hardening.relu_power(1.0, 0.0), "power must be positive, got 0.0"),
        (lambda: hardening.sum_relu_power(1.0, -2.0), "power must be positive, got -2.0"),
        (lambda: hardening.sigmoid(float("inf")), "beta must be finite"),
        (
            lambda: hardening.weighted_exponential(jnp.ones(2)).log_eta(jnp.ones(3)),
            "2 betas but got tuples of 3 negatives",
        ),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sigmoid_is_one_half_at_zero_unless_told_where():
    for place, eta in ((0.0, hardening.sigmoid(3.0)), (0.5, hardening.sigmoid(3.0, 0.5))):
        found = eta.log_eta(jnp.array([place], jnp.float32))
        np.testing.assert_allclose(found, np.log(0.5), rtol=1e-6)


@pytest.mark.parametrize("name", hardening.HARDENINGS)
def test_no_number_of_a_family_makes_logits_that_cannot_be_added(name):
    """Above the largest hardness a family refuses, or its weights are 0 and 1 whatever it is."""
    make, largest = hardening.HARDENINGS[name].make, largest_hardness("float32")
    with_bounded_hardness(make(0.99 * largest), "float32")
    beyond = make(1.01 * largest)
    hardness = hardening.LOG_FACTORS[beyond.log_factor.func]
    if hardness is None:
        log_factors = beyond.log_factor(jnp.array([-1.0, 0.0, 1e-3, 0.5, 1.0, 2 * largest]))
        assert set(log_factors.tolist()) == {0.0, -math.inf}
    else:
        with pytest.raises(ValueError, match=f"{hardness[0]} must be at most 1e.06 in float32"):
            with_bounded_hardness(beyond, "float32")
