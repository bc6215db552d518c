"""Gradients with respect to temperature, beta and every other hyperparameter, in every form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import batch
from references.loss_forms import every_pair, supervised_forms

import hcl_jax
from hcl_jax import hardening, parallel, psi

Z, LABELS, _ = batch(count=24, dim=4, classes=4)
NUMBERS = {"beta": 2.0, "center": 0.3, "alpha": 0.7, "q": 2.0, "log_temperature": -1.0}


def made(numbers):
    """A psi and a hardening function in which every number has its part."""
    return {
        "hardening": hardening.sigmoid(numbers["beta"], numbers["center"]),
        "psi": psi.infonce(
            alpha=numbers["alpha"],
            q=numbers["q"],
            temperature=jnp.exp(numbers["log_temperature"]),
        ),
    }


FORMS = supervised_forms(LABELS)
ONE_SET, DENSE = FORMS["blockwise"][0], functools.partial(FORMS["blockwise"][1], "dense")
QUICK = {("blockwise", True), ("ring", False)}


@pytest.mark.parametrize(
    ("form", "detached"),
    every_pair(FORMS, (True, False), QUICK),
)
@pytest.mark.usefixtures("x64")
def test_every_form_has_the_gradients_of_the_dense_form(form, detached):
    loss, dense = FORMS[form]
    if form == "pallas":
        z, rtol = Z, 1e-5
    else:
        z, rtol = jnp.float64(Z), 1e-11

    def gradients(function):
        def of_numbers(z, numbers):
            return function(z, made(numbers), stop_gradient_hardening=detached)

        return jax.jit(jax.grad(of_numbers, argnums=(0, 1)))(z, NUMBERS)

    found, wanted = gradients(loss), gradients(functools.partial(dense, "dense"))
    for name in NUMBERS:
        np.testing.assert_allclose(found[1][name], wanted[1][name], rtol=rtol, err_msg=name)
    np.testing.assert_allclose(found[0], wanted[0], atol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["blockwise", "two sets", "ring"])
@pytest.mark.usefixtures("x64")
def test_the_debiased_loss_too(form):
    loss, dense = FORMS[form]

    def gradients(function):
        def of_numbers(tau_plus, temperature, z):
            debiased = psi.debiased(tau_plus=tau_plus, temperature=temperature)
            return function(z, {**made(NUMBERS), "psi": debiased})

        return jax.jit(jax.grad(of_numbers, argnums=(0, 1, 2)))(0.9, 0.3, jnp.float64(Z))

    found, wanted = gradients(loss), gradients(functools.partial(dense, "dense"))
    assert wanted[0] != 0
    for got, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-15)


@jax.jit
def of_one_number_each(numbers):
    """The gradient with respect to each number alone, as it needs no pass for the others."""
    return {
        name: jax.grad(lambda x, name=name: ONE_SET(Z, made({**numbers, name: x})))(value)
        for name, value in numbers.items()
    }


@pytest.mark.slow
def test_numbers_one_by_one():
    wanted = jax.grad(lambda numbers: DENSE(Z, made(numbers)))(NUMBERS)
    found = of_one_number_each(NUMBERS)
    for name in NUMBERS:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, err_msg=name)


def test_what_does_not_depend_on_a_number_has_gradient_zero():
    """No anchor is defined, or the number is multiplied by nothing: 0, not a NaN."""

    @jax.jit
    def gradients(labels, beta, temperature):
        def loss(beta, temperature):
            return hcl_jax.hscl(
                Z, labels, beta=beta, temperature=temperature, implementation="blockwise"
            )

        return jax.grad(loss, argnums=(0, 1))(beta, temperature)

    with jax.debug_nans(True):
        for labels in (jnp.arange(24), jnp.zeros(24, jnp.int32)):
            np.testing.assert_array_equal(gradients(labels, 0.0, 1.0), (0, 0))
        assert gradients(LABELS, 0.0, 1.0)[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_a_learned_temperature_in_narrow_types(dtype, temperature):
    z = Z.astype(dtype)

    def loss(log_temperature, z, implementation="blockwise"):
        t = jnp.exp(log_temperature)
        return hcl_jax.supcon(z, LABELS, temperature=t, implementation=implementation)

    found = jax.grad(loss)(jnp.log(temperature), z)
    with jax.enable_x64(True):
        wide = jnp.asarray(np.asarray(z, np.float64))
        wanted = jax.grad(functools.partial(loss, implementation="dense"))(
            np.log(temperature), wide
        )
    # Exponents up to 2 / t carry that many rounding errors of 2^-24; similarities of bfloat16 are
    # computed in float32 from the same numbers.
    np.testing.assert_allclose(found, wanted, rtol=2.0**-24 * 32 * (2 / temperature + 4))


@pytest.mark.slow
def test_vmap_over_numbers():
    betas = jnp.array([0.0, 1.0, 5.0])

    def gradients(implementation):
        loss = functools.partial(hcl_jax.hucl, Z, LABELS, implementation=implementation)
        return jax.jit(jax.vmap(jax.grad(lambda beta: loss(beta=beta))))(betas)

    np.testing.assert_allclose(gradients("blockwise"), gradients("dense"), rtol=1e-4)


@pytest.mark.slow
def test_parts_of_devices_add_up_to_the_gradient_of_a_temperature():
    def local(temperature, x, y):
        where = parallel.over_axis("devices", exchange="ring")
        return hcl_jax.clip(x, y, temperature=temperature, collectives=where)

    x, y = Z[:12], Z[12:]
    shards = (jnp.full(3, 0.3), x.reshape(3, 4, 4), y.reshape(3, 4, 4))
    parts = jax.pmap(jax.grad(local), axis_name="devices", devices=jax.devices()[:3])(*shards)
    wanted = jax.grad(lambda t: hcl_jax.clip(x, y, temperature=t, implementation="dense"))(0.3)
    np.testing.assert_allclose(parts.sum(), wanted, rtol=1e-5)
