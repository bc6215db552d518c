"""Rates of escape from dimensional collapse, against the linearised gradient of the losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax import geometry, hardening, psi
from hcl_jax.geometry import escape_matrix, escape_rate
from hcl_jax.objectives import objective

RNG = np.random.default_rng(0)
CLASSES, DIM = 5, 3
MEANS = RNG.normal(size=(CLASSES, DIM))
MEANS /= np.linalg.norm(MEANS, axis=1, keepdims=True)
NUMBERS = {"temperature": 0.4, "alpha": 0.5, "q": 2.0}


def paley(p):
    """Unit vectors in (p - 1) / 2 dimensions from the residues modulo a prime p = 4 n + 1."""
    residues = {x * x % p for x in range(1, p)}
    differences = np.subtract.outer(np.arange(p), np.arange(p)) % p
    signs = np.where(np.isin(differences, list(residues)), 1.0, -1.0) + np.eye(p)
    values, vectors = np.linalg.eigh(signs)
    frame = vectors[:, values > 1]
    return frame / np.linalg.norm(frame, axis=1, keepdims=True)


def linearised(beta, *, supervised, detached, members, **options):
    """S, from the gradient of the shipped loss of points that move into a new dimension."""
    labels = np.repeat(np.arange(CLASSES), members).astype(np.int32)

    def slopes(heights):
        def loss(coordinates):
            points = jnp.concatenate([MEANS[labels], coordinates[labels, None]], axis=1)
            points = points / jnp.linalg.norm(points, axis=1, keepdims=True)
            return objective(
                points,
                jnp.asarray(labels),
                supervised=supervised,
                hardening=hardening.exponential(beta),
                psi=psi.infonce(**NUMBERS),
                stop_gradient_hardening=detached,
                quiet=True,
                **options,
            )

        return jax.grad(loss)(heights)

    return CLASSES / 2 * jax.jacfwd(slopes)(jnp.zeros(CLASSES))


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize(
    ("supervised", "members", "options", "per_class"),
    [
        (True, 2, {}, None),
        (False, 2, {}, 2),
        (False, 1, {"self_positives": True, "self_negatives": True}, None),
    ],
)
def test_matrix_is_the_linearised_gradient(x64, supervised, members, options, per_class, detached):
    expected = jax.jit(
        jax.vmap(
            functools.partial(
                linearised, supervised=supervised, detached=detached, members=members, **options
            )
        )
    )
    found = functools.partial(
        escape_matrix,
        jnp.asarray(MEANS),
        supervised=supervised,
        stop_gradient_hardening=detached,
        per_class=per_class,
        **NUMBERS,
    )
    betas = jnp.array([0.0, 0.7, 6.0])
    matrices = jnp.stack([found(beta=beta) for beta in betas])
    np.testing.assert_allclose(matrices, expected(betas), rtol=1e-11, atol=1e-13)
    rate = escape_rate(
        jnp.asarray(np.pad(MEANS, ((0, 0), (0, 1)))),
        beta=0.7,
        supervised=supervised,
        stop_gradient_hardening=detached,
        per_class=per_class,
        **NUMBERS,
    )
    np.testing.assert_allclose(rate, -2 * np.linalg.eigvalsh(matrices[1])[0] / CLASSES, rtol=1e-11)


RATES = {
    True: ((0, 1, 2, 5), (0.007049, 0.013792, 0.019253, 0.027063)),
    False: (
        (0, 1, 1.5, 2, 3, 5, 8),
        (0.006277, 0.010290, 0.010794, 0.010294, 0.007459, 0.002256, 0.000238),
    ),
}
"""Paley 13, temperature 1: measured on the losses before this code was written."""


@pytest.mark.parametrize("supervised", [True, False])
def test_rates_of_the_paley_frame(x64, supervised):
    frame = jnp.asarray(np.pad(paley(13), ((0, 0), (0, 1))))
    betas, expected = RATES[supervised]
    rate = functools.partial(escape_rate, frame, supervised=supervised, temperature=1.0)
    rates = [rate(beta=float(beta)) for beta in betas]
    np.testing.assert_allclose(rates, expected, atol=5.1e-7)
    slope, step = jax.grad(lambda beta: rate(beta=beta))(1.0), 1e-5  # of a multiple eigenvalue
    difference = rate(beta=1 + step) - rate(beta=1 - step)
    np.testing.assert_allclose(slope, difference / (2 * step), rtol=1e-8)


def test_only_a_dimension_that_is_not_used_is_escaped_to(x64):
    rate = functools.partial(escape_rate, supervised=True, beta=1.0, temperature=1.0)
    assert rate(jnp.asarray(MEANS)) == 0
    thin = np.concatenate([MEANS, 1e-3 * RNG.normal(size=(CLASSES, 1))], axis=1)
    thick = np.concatenate([MEANS, 1e-1 * RNG.normal(size=(CLASSES, 1))], axis=1)
    open_ = rate(jnp.asarray(np.pad(MEANS, ((0, 0), (0, 1)))))
    np.testing.assert_allclose(rate(jnp.asarray(thin)), open_, rtol=1e-5)
    assert rate(jnp.asarray(thick)) == 0
    np.testing.assert_allclose(rate(jnp.asarray(3 * thin)), rate(jnp.asarray(thin)), rtol=1e-12)


@pytest.mark.parametrize("per_class", [None, 2])
def test_neural_collapse_is_left_by_the_full_gradient_of_hucl_beyond_its_threshold(x64, per_class):
    """There a common offset grows, along which the loss falls to that of the shrunk frame."""
    threshold = geometry.hucl_threshold(4, 0.5, per_class=per_class)
    rate = functools.partial(escape_rate, geometry.simplex_etf(4, 4), temperature=0.5)
    hucl = functools.partial(rate, supervised=False, per_class=per_class)
    for beta in (0.0, 0.5 * threshold, 2 * threshold):
        assert rate(supervised=True, beta=beta) == hucl(beta=beta) == 0
    assert hucl(beta=threshold * (1 - 1e-9), stop_gradient_hardening=False) < 1e-15
    assert hucl(beta=threshold * (1 + 1e-9), stop_gradient_hardening=False) > 1e-12


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("numbers", [(1e2, 1.0), (1e3, 1.0), (1e5, 1.0), (0.0, 0.01), (10.0, 1e-3)])
def test_hardness_and_cold_make_no_rate_of_rounding(x64, numbers, dtype):
    """Nothing leaves neural collapse by HSCL, at any hardness; a frame of half its rank is left."""
    beta, temperature = numbers
    problem = {"supervised": True, "beta": beta, "temperature": temperature, "alpha": 0.0}
    collapsed = geometry.simplex_etf(5, 4).astype(dtype)
    unused = jnp.concatenate([collapsed, jnp.zeros((5, 1), dtype)], axis=1)
    assert escape_rate(unused, **problem) == 0
    if beta:
        line = jnp.array([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], dtype)
        # Each class is paired with the one at its point, by a slope of 1 / temperature: S is that
        # times [[-1, 1], [1, -1]] on each pair.
        np.testing.assert_allclose(escape_rate(line, **problem), 1 / temperature, rtol=1e-5)


def test_gradients_are_right_and_finite(x64):
    def rate(means, numbers):
        wide = jnp.pad(means, ((0, 0), (0, 1)))
        return escape_rate(wide, supervised=False, **numbers)

    numbers = {name: jnp.asarray(number) for name, number in {"beta": 0.7, **NUMBERS}.items()}
    slopes = jax.jit(jax.grad(rate, argnums=(0, 1)))
    of_means, of_numbers = slopes(jnp.asarray(MEANS), numbers)
    step, value = 1e-5, jax.jit(rate)

    def differences(move):
        return (value(*move(step)) - value(*move(-step))) / (2 * step)

    direction = RNG.normal(size=MEANS.shape)
    found = differences(lambda h: (jnp.asarray(MEANS + h * direction), numbers))
    np.testing.assert_allclose(found, jnp.sum(of_means * direction), rtol=1e-8)
    for name, slope in of_numbers.items():
        found = differences(lambda h, n=name: (jnp.asarray(MEANS), {**numbers, n: numbers[n] + h}))
        np.testing.assert_allclose(found, slope, rtol=1e-8)
    at_zero = slopes(jnp.asarray(MEANS), {**numbers, "alpha": jnp.asarray(0.0)})
    assert all(jnp.isfinite(part).all() for part in jax.tree.leaves(at_zero))
    assert jnp.isnan(value(jnp.nan * MEANS, numbers))


@pytest.mark.parametrize("supervised", [True, False])
def test_extreme_numbers_stay_finite(supervised):
    means = jnp.asarray(np.pad(MEANS, ((0, 0), (0, 1))), jnp.float32)

    def rate(beta, temperature):
        return escape_rate(means, supervised=supervised, beta=beta, temperature=temperature)

    for point in ((0.0, 1e-3), (1e4, 1e-3), (1e4, 1e3), (0.0, 1e6)):
        value, slopes = jax.value_and_grad(rate, argnums=(0, 1))(*map(jnp.float32, point))
        assert jnp.isfinite(jnp.array([value, *slopes])).all(), point


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": -1.0}, "beta must not be negative"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"alpha": -1.0}, "alpha must not be negative"),
        ({"q": 0.0}, "q must be positive"),
        ({"beta": jnp.ones(2)}, "beta must be a single number"),
        ({"supervised": "yes"}, "supervised must be one of False, True"),
        ({"per_class": 1}, "per_class must be at least 2"),
        ({"class_means": jnp.ones((1, 3))}, "needs at least 2"),
        ({"class_means": jnp.eye(3)[:, :2]}, "1 of 3 are zero, the first is that of class 2"),
    ],
)
def test_errors_name_what_was_found(unchecked, change, message):
    good = {"class_means": MEANS, "supervised": False, "beta": 1.0, "temperature": 1.0}
    with pytest.raises(ValueError, match=message):
        escape_rate(**{**good, **change})
