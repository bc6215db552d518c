"""Rows without a label, and weights of anchors, in every form of the loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import batch
from references.loss_forms import FORMS, every_pair

import hcl_jax
from hcl_jax import hardening, losses, pairs

Z, LABELS, WEIGHTS = batch(count=24, dim=4, classes=4)
LABELS = LABELS.at[jnp.array([2, 3, 11, 17, 18])].set(-1)
WEIGHTS = WEIGHTS.at[jnp.array([5, 6])].set(0)
KEPT = np.flatnonzero(np.asarray(LABELS) != -1)
GROUPS = jnp.arange(24) % 7


def looped(z, labels, groups, weights, *, supervised, ignored_negatives, average, beta):
    """The mean loss in loops over the rows that have a label."""
    total, count = 0.0, 0.0
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and groups[p] == groups[i]]
        positives = [p for p in positives if labels[p] != -1 and labels[i] != -1]
        negatives = [
            n
            for n in range(len(z))
            if (labels[n] != labels[i] if supervised else n != i)
            and (ignored_negatives or labels[n] != -1)
        ]
        if not positives or not negatives or weights[i] == 0:
            continue
        tilt = [np.exp(beta * z[i] @ z[n]) for n in negatives]
        mean = sum(w * np.exp(z[i] @ z[n]) for w, n in zip(tilt, negatives, strict=True)) / sum(
            tilt
        )
        own = [np.log1p(mean * np.exp(-z[i] @ z[p])) for p in positives]
        scale = weights[i] / (1 if average == "pairs" else len(own))
        total += scale * sum(own)
        count += scale * len(own)
    return total / count


CASES = {
    "scl": {"supervised": True, "beta": 0.0, "average": "pairs", "ignored_negatives": False},
    "hscl": {"supervised": True, "beta": 3.0, "average": "anchors", "ignored_negatives": True},
    "hucl": {"supervised": False, "beta": 3.0, "average": "pairs", "ignored_negatives": False},
    "ucl": {"supervised": False, "beta": 0.0, "average": "anchors", "ignored_negatives": True},
}
QUICK = {("hscl", "dense"), ("hscl", "blockwise"), ("hucl", "ring")}


@pytest.mark.parametrize(
    ("case", "form"),
    every_pair(CASES, FORMS, QUICK),
)
@pytest.mark.usefixtures("x64")
def test_every_form_is_the_loop(case, form):
    wanted = CASES[case]
    z = jnp.float64(Z)
    arrays = {"labels": LABELS, "weights": jnp.float64(WEIGHTS)}
    groups = LABELS if case == "hscl" else GROUPS
    if groups is GROUPS:
        arrays["groups"] = GROUPS

    def loss(z):
        return FORMS[form](
            z,
            arrays,
            supervised=wanted["supervised"],
            hardening=hardening.exponential(wanted["beta"]),
            stop_gradient_hardening=False,
            ignore_label=-1,
            ignored_negatives=wanted["ignored_negatives"],
            average=wanted["average"],
        )

    value, gradient = jax.jit(jax.value_and_grad(loss))(z)
    known = [np.asarray(a, np.float64) for a in (LABELS, groups, WEIGHTS)]
    step = 1e-6 * np.random.default_rng(0).normal(size=z.shape)
    here, ahead, behind = (looped(np.asarray(z) + s, *known, **wanted) for s in (0, step, -step))
    np.testing.assert_allclose(value, here, rtol=1e-12)
    np.testing.assert_allclose(jnp.sum(gradient * step), (ahead - behind) / 2, rtol=1e-6)


@jax.jit
def with_and_without_the_ignored():
    kept = np.asarray(KEPT)
    return hcl_jax.supcon(Z, LABELS, ignore_label=-1), hcl_jax.supcon(Z[kept], LABELS[kept])


def test_ignored_rows_are_as_good_as_left_out():
    np.testing.assert_allclose(*with_and_without_the_ignored(), rtol=1e-6)


@pytest.mark.parametrize("form", ["dense", "blockwise"])
@pytest.mark.parametrize("normalize", [None, "unit_sphere"])
def test_nothing_in_ignored_rows_is_seen(form, normalize):
    """NaN neither, which is what a row of zeros divided by its norm has, in batch and bank."""
    z, labels, _ = batch(count=14, dim=4, classes=3)
    stored, of_stored, _ = batch(count=5, dim=4, classes=3, seed=1)
    of_rows, of_bank = labels.at[3].set(-1), of_stored.at[2].set(-1)

    def loss(z, stored, labels, of_stored):
        return hcl_jax.hscl(
            z,
            labels,
            beta=3.0,
            bank=hcl_jax.Bank(stored, of_stored),
            ignore_label=-1,
            normalize=normalize,
            implementation=form,
        )

    value_and_gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    value, (of_z, of_s) = value_and_gradient(
        z.at[3].set(jnp.nan), stored.at[2].set(jnp.inf), of_rows, of_bank
    )
    left = [jnp.delete(x, i, axis=0) for x, i in ((z, 3), (stored, 2), (labels, 3), (of_stored, 2))]
    wanted, gradients = value_and_gradient(*left)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    np.testing.assert_array_equal(of_z[3], 0)
    np.testing.assert_array_equal(of_s[2], 0)
    for found, i, gradient in ((of_z, 3, gradients[0]), (of_s, 2, gradients[1])):
        np.testing.assert_allclose(jnp.delete(found, i, axis=0), gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("unchecked")
def test_255_of_uint8_is_not_minus_one():
    z, labels = batch(count=6, dim=4)[0], jnp.array([0, 0, 1, 1, 255, 255], jnp.uint8)

    def loss(labels):
        return hcl_jax.scl(z, labels, ignore_label=-1)

    np.testing.assert_allclose(jax.jit(loss)(labels), hcl_jax.scl(z, jnp.int32(labels)), rtol=1e-6)


STORED, OF_STORED, _ = batch(count=12, dim=4, classes=4, seed=3)


def with_every_option(log_temperature, z, bank, implementation):
    return hcl_jax.hscl(
        z,
        LABELS,
        beta=2.0,
        psi=hcl_jax.psi.infonce(q="k", temperature=jnp.exp(log_temperature)),
        ignore_label=-1,
        ignored_negatives=True,
        weights=WEIGHTS,
        bank=hcl_jax.Bank(bank, OF_STORED),
        implementation=implementation,
        quiet=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_all_options_at_once_under_vmap_and_scan(dtype):
    z, bank = Z.astype(dtype), STORED.astype(dtype)
    temperatures = jnp.array([-1.0, 0.0, 0.5])
    gradient = jax.value_and_grad(with_every_option, argnums=(0, 1, 2))

    def blockwise(t):
        return gradient(t, z, bank, "blockwise")

    mapped = jax.jit(jax.vmap(blockwise))(temperatures)
    scanned = jax.jit(lambda ts: jax.lax.scan(lambda c, t: (c, blockwise(t)), None, ts)[1])(
        temperatures
    )
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a, np.float64)) for a in (z, bank)]
        wanted = [gradient(np.float64(t), *wide, "dense") for t in np.asarray(temperatures)]
    wanted = jax.tree.map(lambda *parts: np.stack(parts), *wanted)
    # Exponents up to beta + 1/t carry that many rounding errors; bfloat16 rounds gradients at last.
    for found in (mapped, scanned):
        for got, expected in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            rounding = 2.0**-8 if got.dtype == jnp.bfloat16 else 0
            bound = (2.0**-24 * 16 * (2 + np.e + 4) + rounding) * np.abs(expected).max()
            np.testing.assert_allclose(np.asarray(got, np.float64), expected, rtol=0, atol=bound)


def test_an_anchor_of_weight_zero_costs_nothing_even_if_its_loss_is_not_a_number():
    parts = losses.AnchorLosses(
        jnp.array([1.0, jnp.nan]), jnp.array([1, 1]), jnp.array([True, True])
    )
    mean = functools.partial(losses.average_loss, weights=jnp.array([0.5, 0.0]))
    assert mean(parts) == 1
    gradient = jax.grad(lambda total: mean(parts._replace(total=total)))(parts.total)
    np.testing.assert_array_equal(gradient, [1, 0])
    nobody = losses.average_loss(parts, weights=jnp.zeros(2))
    assert nobody == 0


def test_weights_have_a_gradient_over_devices_too():
    parts = losses.AnchorLosses(
        jnp.array([[1.0, 5.0], [3.0, 2.0]]), jnp.array([[1, 2], [2, 1]]), jnp.ones((2, 2), bool)
    )
    weights = jnp.array([[0.5, 1.0], [2.0, 0.1]])

    def local(parts, weights):
        return losses.average_loss(parts, weights=weights, axis_name="devices")

    found = jax.vmap(jax.grad(local, argnums=1), axis_name="devices")(parts, weights)
    flat = jax.tree.map(jnp.ravel, parts)
    wanted = jax.grad(lambda w: losses.average_loss(flat, weights=w))(weights.ravel())
    np.testing.assert_allclose(found.ravel(), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("message", "call"),
    {
        "labels must not be negative, got -2": lambda: hcl_jax.scl(
            Z, LABELS.at[0].set(-2), ignore_label=-1
        ),
        "name theirs as ignore_label": lambda: hcl_jax.ucl(Z, GROUPS, ignored_negatives=True),
        r"weights must have shape \(24,\)": lambda: hcl_jax.ucl(Z, GROUPS, weights=WEIGHTS[1:]),
        "weights must not be negative": lambda: hcl_jax.ucl(Z, GROUPS, weights=-WEIGHTS),
        "weights must be floating point": lambda: hcl_jax.ucl(Z, GROUPS, weights=GROUPS),
        "ignore_label must be": lambda: hcl_jax.ucl(Z, GROUPS, ignore_label="none"),
        'implementation="blockwise" serves them': lambda: hcl_jax.scl(
            Z, LABELS, ignore_label=-1, implementation="pallas"
        ),
        "in_negatives of the anchors must have shape": lambda: losses.contrastive_loss(
            Z, _with_in_negatives(jnp.ones(3, bool))
        ),
        "in_negatives of the anchors must be booleans": lambda: losses.contrastive_loss(
            Z, _with_in_negatives(GROUPS)
        ),
    }.items(),
)
@pytest.mark.usefixtures("unchecked")
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        call()


def _with_in_negatives(values):
    keys = pairs.supervised(pairs.rows(GROUPS))
    return keys._replace(anchors=keys.anchors._replace(in_negatives=values))
