"""Negatives above a similarity, or above the positives, have no weight, in every form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from references.loss_cases import batch

import hcl_jax
from hcl_jax import hardening, losses, objective, pairs, parallel, without_false_negatives

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


def looped(z, above, margin, beta):
    labels, total, count = np.asarray(LABELS), 0.0, 0
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        bound = min(above, max((z[i] @ z[p] for p in positives), default=0) + margin)
        kept = [n for n in range(len(z)) if labels[n] != labels[i] and z[i] @ z[n] <= bound]
        if not positives or not kept:
            continue
        tilt = np.exp(beta * z[kept] @ z[i])
        mean = tilt @ np.exp(z[kept] @ z[i]) / tilt.sum()
        total += sum(np.log1p(mean * np.exp(-z[i] @ z[p])) for p in positives)
        count += len(positives)
    return total / count


INFINITY = float("inf")
BOUNDS = (
    (0.5, INFINITY, 3.0),
    (-0.6, INFINITY, 0.0),
    (INFINITY, -0.1, 3.0),
    (INFINITY, 0.3, 0.0),
    (0.9, 0.2, 3.0),
    (2.0, 3.0, 3.0),
)


@pytest.mark.parametrize(
    "form",
    [n if n in ("blockwise", "ring") else pytest.param(n, marks=pytest.mark.slow) for n in FORMS],
)
@pytest.mark.usefixtures("x64")
def test_every_form_is_the_loop(form):
    """Also with respect to a number of the hardening, beside the mask."""
    z = Z if form == "pallas" else jnp.float64(Z)
    rtol = 1e-5 if form == "pallas" else 1e-12

    @jax.jit
    def loss(z, above, margin, beta):
        def value(z, beta):
            bounds = {"above": above} if form == "pallas" else {"above": above, "margin": margin}
            eta = without_false_negatives(hardening.exponential(beta), **bounds)
            return FORMS[form](z, stop_gradient_hardening=False, supervised=True, hardening=eta)

        return jax.value_and_grad(value, argnums=(0, 1))(z, beta)

    exact = np.asarray(z, np.float64)
    for above, margin, beta in BOUNDS:
        if form == "pallas" and margin != INFINITY:
            continue
        value, gradients = loss(z, above, margin, beta)
        np.testing.assert_allclose(value, looped(exact, above, margin, beta), rtol=rtol)
        if form == "pallas":
            continue
        towards, step = np.random.default_rng(0).normal(size=z.shape), 1e-7
        ahead, behind = (looped(exact + t * towards, above, margin, beta) for t in (step, -step))
        along = jnp.sum(gradients[0] * towards)
        np.testing.assert_allclose(along, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-8)
        ahead, behind = (looped(exact, above, margin, beta + t) for t in (step, -step))
        slope = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(gradients[1], slope, rtol=1e-5, atol=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_two_sets():
    keys = pairs.supervised(pairs.rows(LABELS[:7]), pairs.rows(LABELS))
    eta = without_false_negatives(hardening.exponential(2.0), margin=0.1)
    z = jnp.float64(Z)

    def loss(x, y, implementation):
        found = losses.contrastive_loss(x, keys, y, hardening=eta, implementation=implementation)
        return losses.average_loss(found)

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=2)
    found, wanted = (gradient(z[:7], z, name) for name in ("blockwise", "dense"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, wanted)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_second_derivatives():
    z, direction = jnp.float64(Z), jnp.float64(Z[::-1])

    @functools.partial(jax.jit, static_argnums=1)
    def product(z, implementation):
        def loss(z, beta):
            eta = without_false_negatives(hardening.exponential(beta), margin=0.1)
            return FORMS[implementation](z, supervised=True, hardening=eta)

        return jax.jvp(jax.grad(loss, argnums=(0, 1)), (z, 2.0), (direction, 1.0))

    found, wanted = product(z, "blockwise"), product(z, "dense")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), found, wanted)


def test_draws_are_of_negatives_within_the_margin():
    """The only negative within the bound is the last row, which every draw finds."""
    z = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    eta = without_false_negatives(hardening.no_hardening(), margin=0.1)
    keys = pairs.supervised(pairs.rows(jnp.array([0, 0, 1, 2])))
    draw = functools.partial(losses.sampled_contrastive_loss, jax.random.key(0), num_negatives=3)
    found = draw(z, keys, hardening=eta).total[0]
    np.testing.assert_allclose(found, np.log1p(np.exp(-0.6)), rtol=1e-6)


def test_infinity_masks_nothing_to_the_bit():
    eta = hardening.exponential(2.0)
    assert without_false_negatives(eta, above=INFINITY, margin=INFINITY) is eta

    @functools.partial(jax.jit, static_argnums=1)
    def gradient(margin, implementation):
        bounded = eta if margin is None else without_false_negatives(eta, margin=margin)
        options = {"supervised": True, "implementation": implementation}
        return jax.value_and_grad(lambda z: objective(z, LABELS, hardening=bounded, **options))(Z)

    for name in ("dense", "blockwise"):
        found, wanted = gradient(INFINITY, name), gradient(None, name)
        jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize("form", ["dense", "blockwise"])
def test_a_positive_is_never_more_similar_than_itself(form):
    """At margin 0, where the denominator of clip holds it, and two tiles may round it otherwise."""
    keys = jax.random.split(jax.random.key(5))
    x, noise = (jax.random.normal(key, (300, 16)) for key in keys)
    images, texts = (hcl_jax.normalization.unit_sphere(z) for z in (x, x + noise / 2))
    similarities = np.float64(images) @ np.float64(texts).T
    wanted = []
    for s in (similarities, similarities.T):
        kept = (s <= np.diagonal(s)[:, None]) | np.eye(300, dtype=bool)
        mean = (np.exp(s / 0.07) * kept).sum(axis=1) / kept.sum(axis=1)
        wanted.append(np.log(300 * mean) - np.diagonal(s) / 0.07)
    eta = without_false_negatives(hardening.no_hardening(), margin=0.0)
    options = {"temperature": 0.07, "hardening": eta, "implementation": form}
    found = jax.jit(functools.partial(hcl_jax.clip, **options))(images, texts)
    np.testing.assert_allclose(found, np.mean(wanted), rtol=1e-5)


WITHIN = without_false_negatives(hardening.no_hardening(), margin=0.1)


@pytest.mark.parametrize(
    ("message", "call"),
    {
        "must be a Hardening, such as .*, got the function no_hardening": lambda: (
            without_false_negatives(hardening.no_hardening, above=0.5)
        ),
        "supcon and clip hold the positive.* got margin=-0.1": lambda: hcl_jax.clip(
            Z, Z, hardening=without_false_negatives(hardening.no_hardening(), margin=-0.1)
        ),
        "must be a product, such as": lambda: without_false_negatives(
            hardening.threshold_any(0.0), above=0.5
        ),
        "is a plain function": lambda: without_false_negatives(
            hardening.Hardening(lambda t: 2 * t), above=0.5
        ),
        "give above, a similarity, or margin": lambda: without_false_negatives(
            hardening.no_hardening()
        ),
        "has a margin already": lambda: without_false_negatives(WITHIN, margin=0.1),
        "margin must be a single number": lambda: without_false_negatives(
            hardening.no_hardening(), margin=jnp.ones(2)
        ),
        "depends on the anchor's positives": lambda: WITHIN.log_eta(jnp.ones(2)),
        "with a margin must be a product": lambda: objective(
            Z,
            LABELS,
            supervised=True,
            hardening=hardening.threshold_any(0.0)._replace(margin=0.1),
        ),
        'implementation="blockwise" does': lambda: objective(
            Z, LABELS, supervised=True, hardening=WITHIN, implementation="pallas"
        ),
        "above must be finite, got nan": lambda: without_false_negatives(
            hardening.no_hardening(), above=float("nan")
        ),
    }.items(),
)
@pytest.mark.usefixtures("unchecked")
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        call()
