"""The sampler of the four laws against the exact values; Gaussian classes against known limits."""

import random
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax import hardening, normalization
from hcl_jax import psi as shipped_psi
from theory.claims.evaluators import dependent_model
from theory.exact.balls import exact_losses
from theory.model import eta_kinds
from theory.model.gaussian_model import GaussianModel, estimate_losses
from theory.model.sampling import sampler

COUNT = 20_000
ETAS = [
    eta_kinds.Exponential(Fraction(3)),
    eta_kinds.WeightedExponential((Fraction(5), Fraction(1))),
    eta_kinds.SumReluPower(Fraction(1, 2), Fraction(2)),
    eta_kinds.Threshold(Fraction(3)),
]


def model_with(eta):
    return dependent_model(random.Random(0), eta)


def z_value(model, draws, exact):
    gram = np.array(model.gram, dtype=float)
    s = gram[draws.anchor, draws.positive]
    t = gram[np.asarray(draws.anchor)[:, None], draws.negatives]
    losses = np.log1p(np.exp(t - s[:, None]).mean(axis=1))
    return (losses.mean() - float(exact)) / (losses.std(ddof=1) / len(losses) ** 0.5)


@pytest.mark.parametrize("eta", ETAS, ids=lambda eta: eta.kind)
def test_sampler_draws_from_the_four_laws(eta):
    model = model_with(eta)
    exact = exact_losses(model)
    expected = {
        (True, False): exact.scl,
        (True, True): exact.hscl,
        (False, False): exact.ucl_joint,
        (False, True): exact.hucl_joint,
    }
    for i, ((supervised, hard), value) in enumerate(expected.items()):
        draw = sampler(model, supervised=supervised, hard=hard)
        draws = draw(jax.random.key(i), COUNT)
        assert abs(z_value(model, draws, value)) < 4.2


def test_independent_positives_are_a_choice():
    model = model_with(ETAS[0])
    draws = sampler(model, supervised=False, hard=True, joint=False)(jax.random.key(0), COUNT)
    assert abs(z_value(model, draws, exact_losses(model).hucl)) < 4.2


def test_untilted_draws_are_rejected_as_tilted():
    model = model_with(ETAS[0])
    draws = sampler(model, supervised=True, hard=False)(jax.random.key(0), COUNT)
    assert abs(z_value(model, draws, exact_losses(model).hscl)) > 4.2


def test_order_matters_for_weighted_tilts():
    """The first negative, tilted five times as much, is the more similar one on average."""
    model = model_with(ETAS[1])
    draws = sampler(model, supervised=False, hard=True)(jax.random.key(0), COUNT)
    gram = np.array(model.gram, dtype=float)
    first, second = (gram[draws.anchor, draws.negatives[:, place]].mean() for place in (0, 1))
    assert first > second + 0.05


def test_gaussian_classes_without_noise_are_a_finite_model():
    """At NC, with no noise, every draw of SCL is the bound."""
    angles = 2 * jnp.pi * jnp.arange(3) / 3
    model = GaussianModel(jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1), 0.0)
    options = {
        "psi": shipped_psi.infonce(),
        "hardening": hardening.exponential(2.0),
        "k": 2,
        "anchors": 100,
        "tuples": 50,
    }
    found = estimate_losses(
        jax.random.key(0), model, normalization.unnormalized, supervised=True, **options
    )
    bound = float(jnp.log1p(jnp.exp(-1.5)))
    assert float(found.plain) == pytest.approx(bound, rel=1e-5)
    assert float(found.hard) == pytest.approx(bound, rel=1e-5)
    found = estimate_losses(
        jax.random.key(0), model, normalization.unnormalized, supervised=False, **options
    )
    assert abs(float(found.plain) - 0.3786248) < 5 * float(found.plain_error)
