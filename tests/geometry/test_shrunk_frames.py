"""Threshold and optimum of HUCL in float64, against balls and the shipped loss."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flint import arb, ctx

from hcl_jax import geometry, hucl, psi
from hcl_jax.geometry import hucl_optimum, hucl_threshold, shrunk_frames
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.profile import ProfileParameters, limit_minimum, limit_threshold, taylor


@pytest.mark.parametrize("x", [0.0, 1e-300, 1e-5, 0.3, 1.0, 40.0, 1e9, 1e300])
def test_the_function_of_lambert_is_that_of_scipy(x):
    np.testing.assert_allclose(shrunk_frames._lambert_w(x), scipy.special.lambertw(x), rtol=1e-15)


@pytest.mark.parametrize("per_class", [None, 2, 10])
@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1, 0.02])
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_threshold_and_optimum_are_those_of_the_balls(num_classes, temperature, per_class):
    """To a few roundings, of which a low temperature T makes 1 / T."""
    psi_of_balls = InfoNCE(tau=Fraction(temperature))
    profile = ProfileParameters(num_classes, None, psi_of_balls, per_class)
    rounding = 4e-16 * (1 + 1 / temperature)
    with ctx.workprec(200):
        threshold = float(limit_threshold(profile))
        found = hucl_threshold(num_classes, temperature, per_class=per_class)
        np.testing.assert_allclose(found, threshold, rtol=rounding)
        for beta in (1.5 * found, 20 * found + 5):
            gap, norm, loss = hucl_optimum(num_classes, beta, temperature, per_class=per_class)
            least = limit_minimum(profile, arb(beta))
            np.testing.assert_allclose(gap, float(least.delta), rtol=rounding)
            np.testing.assert_allclose(loss, float(least.value), rtol=rounding)
            np.testing.assert_allclose(norm**2, gap * (num_classes - 1) / num_classes, rtol=1e-15)
        collapsed = taylor(profile, arb(found / 2), ball(nc_gap(num_classes)), terms=1)[0]
        at_nc = hucl_optimum(num_classes, found / 2, temperature, per_class=per_class).loss
        np.testing.assert_allclose(at_nc, float(collapsed), rtol=rounding)


@pytest.mark.parametrize(
    ("num_classes", "beta", "members"),
    [(3, 3.0, 2), pytest.param(2, 0.5, 3, marks=pytest.mark.slow)],
)
def test_the_frame_is_where_the_shipped_loss_is_least(x64, num_classes, beta, members):
    optimum = hucl_optimum(num_classes, beta, 0.8, alpha=0.5, q=2.0, per_class=members)
    labels = jnp.repeat(jnp.arange(num_classes), members)
    frame = geometry.simplex_etf(num_classes, num_classes - 1)[labels]

    @functools.partial(jax.jit, static_argnames="detached")
    def loss(norm, *, detached):
        return hucl(
            norm * frame,
            labels,
            beta=beta,
            psi=psi.infonce(alpha=0.5, q=2.0, temperature=0.8),
            stop_gradient_hardening=detached,
            quiet=True,
        )

    value, slope = jax.value_and_grad(loss)(jnp.asarray(optimum.norm), detached=False)
    assert 0 < optimum.norm < 1
    np.testing.assert_allclose(value, optimum.loss, rtol=1e-14)
    np.testing.assert_allclose(slope, 0, atol=1e-14)
    norms = jnp.linspace(0.0, 1.0, 21)
    assert (jax.vmap(lambda norm: loss(norm, detached=False))(norms) >= value - 1e-15).all()
    assert jax.grad(loss)(jnp.asarray(optimum.norm), detached=True) < 0


def test_neural_collapse_is_the_optimum_up_to_the_threshold():
    for per_class in (None, 2, 7):
        threshold = hucl_threshold(5, 0.7, per_class=per_class)
        for beta in (0.0, 1e-30, threshold * (1 - 1e-13)):
            assert hucl_optimum(5, beta, 0.7, per_class=per_class)[:2] == (1.25, 1.0)
        beyond = hucl_optimum(5, threshold * (1 + 1e-13), 0.7, per_class=per_class)
        assert 1 - 1e-12 < beyond.norm < 1
    at_once = hucl_threshold(2, 1e-3), hucl_threshold(2, 1e30)
    assert at_once[0] == 0
    assert np.isfinite(at_once[1])
    assert hucl_optimum(2, 1e30, 1.0).norm < 1e-14


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_classes": 1}, ValueError, "num_classes must be at least 2"),
        ({"num_classes": 2**60}, ValueError, "num_classes must be at most"),
        ({"temperature": 0.0}, ValueError, "temperature must be positive"),
        ({"beta": -0.1}, ValueError, "beta must not be negative"),
        ({"per_class": 1}, ValueError, "per_class must be at least 2"),
        ({"alpha": -1.0}, ValueError, "alpha must not be negative"),
        ({"q": 0.0}, ValueError, "q must be positive"),
        ({"beta": None}, TypeError, "beta must be a real number"),
    ],
)
def test_errors_name_what_was_found(unchecked, arguments, error, message):
    with pytest.raises(error, match=message):
        hucl_optimum(**{"num_classes": 4, "beta": 1.0, "temperature": 1.0, **arguments})


def test_numbers_that_are_traced_are_refused(unchecked):
    with pytest.raises(TypeError, match="not one traced"):
        jax.jit(lambda temperature: hucl_threshold(3, temperature))(1.0)
