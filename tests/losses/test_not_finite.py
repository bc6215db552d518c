"""NaN stays NaN in every form, and a finite loss has a finite gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hcl_jax
from hcl_jax import hardening, objective, pairs, parallel, psi

FORMS = {
    "dense": {"implementation": "dense"},
    "blockwise": {"implementation": "blockwise"},
    "samples": {"num_negatives": 3, "key": jax.random.key(0)},
}
HARDENINGS = {
    "none": hardening.no_hardening(),
    "exponential": hardening.exponential(2.0),
    "threshold": hardening.threshold(-2.0),
    "relu_power": hardening.relu_power(1.0, 2.0),
    "sigmoid": hardening.sigmoid(2.0, 0.1),
}
LABELS = jnp.array([0, 0, 1, 1, 2, 2])
EMBEDDINGS = jax.random.normal(jax.random.key(0), (6, 3))
EMBEDDINGS /= jnp.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
PSIS = {
    "infonce": psi.infonce(),
    "debiased": psi.debiased(tau_plus=0.1),
    "triplet": psi.triplet_sum(),
    "squared_hinge": psi.squared_hinge(),
    "logistic": psi.logistic_sum(),
    "linear": psi.linear(),
}
SPOILED = {"all": jnp.full((6, 3), jnp.nan), "one row": EMBEDDINGS.at[2].set(jnp.nan)}


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("name", HARDENINGS)
@pytest.mark.parametrize("form", FORMS)
def test_nan_makes_the_loss_nan(form, name, supervised):
    @jax.jit
    def loss(z):
        options = {"supervised": supervised, "hardening": HARDENINGS[name]}
        return objective(z, LABELS, **options, **FORMS[form])

    assert jnp.isfinite(loss(EMBEDDINGS))
    for embeddings in SPOILED.values():
        assert jnp.isnan(loss(embeddings))


@pytest.mark.parametrize("name", PSIS)
@pytest.mark.parametrize("form", ["dense", "blockwise"])
def test_nan_makes_every_loss_nan(form, name):
    """XLA makes 0 of a maximum of NaN and 0 where it sums several at once."""
    labels = jnp.arange(64) % 3
    z = jax.random.normal(jax.random.key(1), (64, 3))

    @jax.jit
    def loss(z):
        plain = hardening.no_hardening()
        options = {"supervised": True, "hardening": plain, "implementation": form}
        return objective(z, labels, psi=PSIS[name], **options)

    assert jnp.isfinite(loss(z))
    assert jnp.isnan(loss(z.at[2].set(jnp.nan)))


def losing(**options):
    options = {"hardening": hardening.no_hardening(), "supervised": True, **options}
    return objective(EMBEDDINGS, LABELS, **options)


NUMBERS = {
    "beta": (
        lambda n, **o: hcl_jax.hucl(EMBEDDINGS, LABELS, beta=n, **o),
        (0.0, 1e6),
        (-1.0, 2e6, 1e9, np.inf),
    ),
    "beta of a product": (
        lambda n, **o: losing(hardening=hardening.exponential(n), **o),
        (-1e6, 1e6),
        (-2e6, 2e6, np.inf),
    ),
    "beta below a mask": (
        lambda n, **o: losing(
            hardening=hcl_jax.without_false_negatives(hardening.exponential(n), above=0.9),
            **o,
        ),
        (1e6,),
        (2e6,),
    ),
    "power": (
        lambda n, **o: losing(hardening=hardening.relu_power(2.0, n), **o),
        (0.5, 1e6),
        (0.0, -1.0, 2e6),
    ),
    "shift": (
        lambda n, **o: losing(hardening=hardening.relu_power(n, 2.0), **o),
        (2.0,),
        (np.nan,),
    ),
    "level": (
        lambda n, **o: losing(hardening=hardening.threshold(n), **o),
        (-2.0,),
        (np.nan,),
    ),
    "steepness": (
        lambda n, **o: losing(hardening=hardening.sigmoid(n), **o),
        (-1e6, 1e6),
        (-2e6, 2e6, np.inf),
    ),
    "temperature": (
        lambda n, **o: losing(temperature=n, **o),
        (0.01, 100.0),
        (0.0, -1.0, np.inf, np.nan),
    ),
    "alpha": (lambda n, **o: losing(psi=psi.infonce(alpha=n), **o), (0.0,), (-1.0, np.nan)),
    "q": (lambda n, **o: losing(psi=psi.infonce(q=n), **o), (0.5,), (0.0, -1.0, np.nan)),
    "tau_plus": (
        lambda n, **o: losing(psi=psi.debiased(tau_plus=n), **o),
        (0.0, 0.5),
        (-0.5, 1.0, 2.0, np.nan),
    ),
    "scale": (lambda n, **o: losing(psi=psi.logistic_sum(scale=n), **o), (0.5,), (0.0, -1.0)),
    "margin": (lambda n, **o: losing(psi=psi.triplet_sum(margin=n), **o), (-3.0,), (np.nan,)),
    "weight": (
        lambda n, **o: losing(weights=jnp.ones(6).at[1].set(n), **o),
        (0.0, 2.0),
        (-1.0, np.nan),
    ),
}
"""A loss of a number, and numbers that it takes and refuses."""


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("form", ["dense", "blockwise"])
def test_a_number_out_of_its_range_is_refused_and_makes_nan_where_it_is_traced(form, name):
    of_number, legal, refused = NUMBERS[name]
    loss = functools.partial(of_number, implementation=form)
    traced = jax.jit(loss)
    assert all(jnp.isfinite(traced(number)) for number in legal)
    for number in refused:
        with pytest.raises(ValueError, match=r"must|less than"):
            loss(number)
        assert jnp.isnan(traced(number)), number


@pytest.mark.parametrize("exchange", ["gather", "ring"])
def test_nan_on_one_device_makes_the_loss_nan_on_all(exchange):
    def loss(z, labels):
        return parallel.objective(
            z,
            labels,
            axis_name="devices",
            supervised=True,
            hardening=hardening.exponential(2.0),
            exchange=exchange,
        )

    spread = jax.jit(jax.vmap(loss, axis_name="devices"))
    labels = LABELS.reshape(2, 3)
    assert jnp.isfinite(spread(EMBEDDINGS.reshape(2, 3, 3), labels)).all()
    assert jnp.isnan(spread(SPOILED["one row"].reshape(2, 3, 3), labels)).all()


@functools.partial(jax.jit, static_argnames=("loss", "form"))
@jax.value_and_grad
def decoupled(z, labels, *, loss, form):
    return loss(z, labels, psi=psi.infonce(alpha=0.0, q="k"), implementation=form)


@pytest.mark.parametrize("form", ["dense", "blockwise"])
@pytest.mark.parametrize("labels", [(0, 0, 1, 2), (0, 0, 0), (0, 0, 1), (0, 1)])
@pytest.mark.parametrize("loss", [hcl_jax.scl, hcl_jax.ucl])
def test_the_decoupled_loss_has_finite_gradients(form, labels, loss):
    """alpha = 0 and q = k: an anchor without a negative had the derivative of log 0."""
    z = jax.random.normal(jax.random.key(len(labels)), (len(labels), 3))
    value, gradient = decoupled(z, jnp.array(labels), loss=loss, form=form)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()


@jax.jit
@jax.value_and_grad
def of_one_class(z):
    labels = jnp.zeros(len(z), jnp.int32)
    return hcl_jax.hscl(z, labels, beta=1.0, implementation="blockwise")


@pytest.mark.parametrize("norm", [1e4, 1e6, 1e7, 1e15])
def test_one_class_of_any_norm_has_no_gradient(norm):
    z = norm * jax.random.normal(jax.random.key(1), (600, 8))
    value, gradient = of_one_class(z)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("form", ["dense", "blockwise"])
def test_a_beta_that_rounds_logits_away_is_refused(form):
    """At 1e9 the sum ``beta s + s / temperature`` is beta s in float32, and the loss another."""
    z = jax.random.normal(jax.random.key(2), (64, 4))
    z /= jnp.linalg.norm(z, axis=1, keepdims=True)
    labels = np.arange(64, dtype=np.int32) % 4
    loss = functools.partial(hcl_jax.hscl, labels=jnp.asarray(labels), implementation=form)
    similarities, same = np.float64(z) @ np.float64(z).T, labels[:, None] == labels
    nearest = np.max(similarities, axis=1, where=~same, initial=-1)[:, None]
    pairs_of = same & ~np.eye(64, dtype=bool)
    wanted = np.mean(np.log1p(np.exp(nearest - similarities))[pairs_of])
    found = jax.jit(functools.partial(loss, beta=1e5))(z)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    with pytest.raises(ValueError, match=r"beta must be at most 1e\+06 in float32.*got 1e\+09"):
        loss(z, beta=1e9)


@pytest.mark.parametrize("beta", [3e5, 1e9, 1e13])
@pytest.mark.parametrize("form", ["dense", "blockwise"])
def test_weights_of_separable_losses_are_at_most_one(form, beta):
    """The triplet loss of unit vectors is at most 3, however hard the negatives."""
    z = jax.random.normal(jax.random.key(2), (64, 4))
    z /= jnp.linalg.norm(z, axis=1, keepdims=True)
    keys = pairs.supervised(pairs.rows(jnp.arange(64) % 4))

    @jax.jit
    def losses(z):
        return hcl_jax.losses.contrastive_loss(
            z,
            keys,
            psi=psi.triplet_sum(),
            hardening=hardening.exponential(beta),
            implementation=form,
        )

    found = losses(z)
    mean = found.total / found.positives
    hardest = jnp.max(jnp.where(pairs.masks(keys)[1], z @ z.T, -jnp.inf), axis=1, keepdims=True)
    expected = jnp.sum(jnp.maximum(0, hardest - z @ z.T + 1), axis=1, where=pairs.masks(keys)[0])
    np.testing.assert_allclose(mean, expected / found.positives, rtol=1e-5)
