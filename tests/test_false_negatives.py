"""Negatives above a similarity have no weight, in every form of the loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from references.loss_cases import batch

from hcl_jax import hardening, objective, parallel, without_false_negatives

Z, LABELS, _ = batch(count=18, dim=4, classes=4)
MESH = jax.make_mesh((3,), ("devices",), devices=jax.devices()[:3], axis_types=(AxisType.Auto,))


def over_devices(z, exchange, **options):
    def local(z, labels):
        return parallel.objective(z, labels, axis_name="devices", exchange=exchange, **options)

    spec = PartitionSpec("devices")
    shards = jax.shard_map(local, mesh=MESH, in_specs=spec, out_specs=PartitionSpec())
    return shards(z, LABELS)


FORMS = {
    name: functools.partial(
        lambda z, name, **o: objective(z, LABELS, implementation=name, **o), name=name
    )
    for name in ("dense", "blockwise", "pallas")
} | {name: functools.partial(over_devices, exchange=name) for name in ("gather", "ring")}


def looped(z, above, beta):
    labels, total, count = np.asarray(LABELS), 0.0, 0
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        kept = [n for n in range(len(z)) if labels[n] != labels[i] and z[i] @ z[n] <= above]
        if not positives or not kept:
            continue
        tilt = np.exp(beta * z[kept] @ z[i])
        mean = tilt @ np.exp(z[kept] @ z[i]) / tilt.sum()
        total += sum(np.log1p(mean * np.exp(-z[i] @ z[p])) for p in positives)
        count += len(positives)
    return total / count


@pytest.mark.parametrize(
    "form",
    [n if n in ("dense", "blockwise") else pytest.param(n, marks=pytest.mark.slow) for n in FORMS],
)
@pytest.mark.usefixtures("x64")
def test_every_form_is_the_loop(form):
    z = Z if form == "pallas" else jnp.float64(Z)
    rtol = 1e-5 if form == "pallas" else 1e-12

    @jax.jit
    def loss(z, above, beta):
        eta = without_false_negatives(hardening.exponential(beta), above=above)
        options = {"stop_gradient_hardening": False, "supervised": True, "hardening": eta}
        return jax.value_and_grad(lambda z: FORMS[form](z, **options))(z)

    exact = np.asarray(z, np.float64)
    for above, beta in ((0.5, 3.0), (-0.6, 0.0), (2.0, 3.0)):
        value, gradient = loss(z, above, beta)
        np.testing.assert_allclose(value, looped(exact, above, beta), rtol=rtol)
        if form != "pallas":
            step = 1e-7 * np.random.default_rng(0).normal(size=z.shape)
            slope = (looped(exact + step, above, beta) - looped(exact - step, above, beta)) / 2
            np.testing.assert_allclose(jnp.sum(gradient * step), slope, rtol=1e-5)


def test_infinity_masks_nothing_to_the_bit():
    eta = hardening.exponential(2.0)
    assert without_false_negatives(eta, above=float("inf")) is eta


@pytest.mark.parametrize(
    ("message", "call"),
    {
        "must be a product Hardening": lambda: without_false_negatives(
            hardening.threshold_any(0.0), above=0.5
        ),
        "is a plain function": lambda: without_false_negatives(
            hardening.Hardening(lambda t: 2 * t), above=0.5
        ),
        "above must be finite, got nan": lambda: without_false_negatives(
            hardening.no_hardening(), above=float("nan")
        ),
    }.items(),
)
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
