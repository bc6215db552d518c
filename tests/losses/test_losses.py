"""The dense loss and the four objectives against loops, closed forms, and every edge."""

import functools
import itertools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import hcl_jax
from hcl_jax import hardening, losses, pairs, psi
from hcl_jax.geometry import simplex_etf

LABELS = np.array([0, 0, 1, 2, 1, 0, 2, 2, 1, 3])  # class 3 has one member: no positive
CORNERS = {
    "scl": (hcl_jax.scl, True, 0.0),
    "hscl": (functools.partial(hcl_jax.hscl, beta=3.0), True, 3.0),
    "ucl": (hcl_jax.ucl, False, 0.0),
    "hucl": (functools.partial(hcl_jax.hucl, beta=3.0), False, 3.0),
}


def embeddings(n=10, dim=4, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    return vectors / np.maximum(1, np.linalg.norm(vectors, axis=1, keepdims=True))


def looped(z, labels, supervised, beta, *, tau=1.0, self_positives=False, self_negatives=False):
    """Every (anchor, positive) pair's loss, transcribed with loops from the definition."""
    found = {}
    for i, p in itertools.product(range(len(z)), repeat=2):
        if labels[i] != labels[p] or (i == p and not self_positives):
            continue
        if supervised:
            negatives = [n for n in range(len(z)) if labels[n] != labels[i]]
        else:
            negatives = [n for n in range(len(z)) if n != i or self_negatives]
        if not negatives:
            continue
        weights = [math.exp(beta * float(z[i] @ z[n])) for n in negatives]
        mean = sum(
            w * math.exp(float(z[i] @ z[n] - z[i] @ z[p]) / tau)
            for w, n in zip(weights, negatives, strict=True)
        ) / sum(weights)
        found[i, p] = math.log(1 + mean)
    return found


def averaged(found, average):
    if average == "pairs":
        return sum(found.values()) / len(found)
    anchors = {i for i, _ in found}
    means = [np.mean([v for (j, _), v in found.items() if j == i]) for i in anchors]
    return float(np.mean(means))


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("tau", [1.0, 0.3])
@pytest.mark.parametrize("self_positives", [False, True])
@pytest.mark.parametrize("self_negatives", [False, True])
@pytest.mark.parametrize("average", ["pairs", "anchors"])
def test_loops(x64, name, tau, self_positives, self_negatives, average):
    objective, supervised, beta = CORNERS[name]
    z = embeddings()
    conventions = {"self_positives": self_positives, "self_negatives": self_negatives}
    if supervised and self_negatives:  # the option of UCL and HUCL; a preset may have it for all
        given = {"reference_conventions": True, "self_positives": self_positives}
    else:
        given = conventions
    found = objective(
        jnp.asarray(z), jnp.asarray(LABELS), temperature=tau, average=average, **given
    )
    expected = averaged(looped(z, LABELS, supervised, beta, tau=tau, **conventions), average)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", CORNERS)
def test_reference_conventions(x64, name):
    objective, supervised, beta = CORNERS[name]
    z = embeddings()
    found = objective(jnp.asarray(z), jnp.asarray(LABELS), reference_conventions=True)
    expected = looped(z, LABELS, supervised, beta, self_positives=True, self_negatives=True)
    np.testing.assert_allclose(found, averaged(expected, "pairs"), rtol=1e-12)


@pytest.mark.parametrize("term", ["triplet_sum", "squared_hinge", "logistic_sum", "linear"])
@pytest.mark.parametrize("detached", [True, False])
def test_separable_losses_in_loops(x64, term, detached):
    function = getattr(psi, term)()
    z, beta = embeddings(), 2.0
    found = hcl_jax.objective(
        jnp.asarray(z),
        jnp.asarray(LABELS),
        supervised=True,
        hardening=hardening.exponential(beta),
        psi=function,
        stop_gradient_hardening=detached,
    )
    expected = []
    for i, p in itertools.product(range(len(z)), repeat=2):
        negatives = LABELS != LABELS[i]
        if i == p or negatives[p] or not negatives.any():
            continue
        weights = np.exp(beta * z[negatives] @ z[i])
        terms = [
            function.term(jnp.float64(z[i] @ z[n] - z[i] @ z[p])) for n in np.flatnonzero(negatives)
        ]
        expected.append(weights @ np.array(terms) / weights.sum())
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-12)


@pytest.mark.parametrize(
    "eta",
    [
        hardening.threshold(-0.2),
        hardening.relu_power(0.3, 2.0),
        hardening.sigmoid(4.0, 0.1),
    ],
    ids=["threshold", "relu_power", "sigmoid"],
)
def test_other_hardening_in_loops(x64, eta):
    z = embeddings()
    found = losses.contrastive_loss(
        jnp.asarray(z),
        pairs.supervised(pairs.rows(jnp.asarray(LABELS))),
        hardening=eta,
    )
    for i in range(len(z)):
        negatives = np.flatnonzero(LABELS != LABELS[i])
        weights = np.exp(eta.log_factor(jnp.asarray(z[negatives] @ z[i])))
        positives = [p for p in np.flatnonzero(LABELS == LABELS[i]) if p != i]
        defined = bool(positives) and weights.sum() > 0
        assert bool(found.defined[i]) == defined
        mean = weights @ np.exp(z[negatives] @ z[i]) / weights.sum() if defined else 0
        total = (
            sum(math.log(1 + mean * math.exp(-z[i] @ z[p])) for p in positives) if defined else 0
        )
        np.testing.assert_allclose(found.total[i], total, rtol=1e-12)
        assert found.positives[i] == (len(positives) if defined else 0)


@pytest.mark.parametrize("name", CORNERS)
def test_closed_forms(x64, name):
    objective, supervised, beta = CORNERS[name]
    labels = jnp.repeat(jnp.arange(5), 4)
    equal = jnp.ones((20, 3)) / math.sqrt(3)
    collapsed = simplex_etf(5, 4)[labels]
    gap = 5 / 4
    found = jax.jit(lambda: (objective(equal, labels), objective(collapsed, labels)))()
    if supervised:
        expected = math.log(1 + math.exp(-gap))
    else:
        same, different = 3, 16 * math.exp(-beta * gap)
        mean = (same + different * math.exp(-gap)) / (same + different)
        expected = math.log(1 + mean)
    np.testing.assert_allclose(found, [math.log(2), expected], rtol=1e-12)


def test_bound_at_a_hundred_classes(x64):
    labels = jnp.asarray(np.repeat(np.arange(100), 2))
    loss = jax.jit(lambda: hcl_jax.hscl(simplex_etf(100, 99)[labels], labels, beta=5.0))()
    np.testing.assert_allclose(loss, math.log1p(math.exp(-100 / 99)), rtol=1e-12)
    assert round(float(loss), 5) == 0.31056  # the number in the paper's experiments


@pytest.mark.parametrize("name", CORNERS)
def test_invariances(x64, name):
    objective, *_ = CORNERS[name]
    rng = np.random.default_rng(3)
    z, labels = jnp.asarray(embeddings()), jnp.asarray(LABELS)
    loss = objective(z, labels)
    order = rng.permutation(len(LABELS))
    np.testing.assert_allclose(objective(z[order], labels[order]), loss, rtol=1e-12)
    rotation, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    np.testing.assert_allclose(objective(z @ rotation, labels), loss, rtol=1e-12)
    relabelled = jnp.array([7, 2, 100, 0])[labels]
    np.testing.assert_allclose(objective(z, relabelled), loss, rtol=1e-12)


@pytest.mark.parametrize("hard", ["hscl", "hucl"])
def test_hardness_zero_is_the_plain_loss_and_more_is_more(x64, hard):
    plain, harder = jax.jit(getattr(hcl_jax, hard[1:])), jax.jit(getattr(hcl_jax, hard))
    for seed in range(20):
        z, labels = jnp.asarray(embeddings(seed=seed)), jnp.asarray(LABELS)
        values = [float(harder(z, labels, beta=b)) for b in (0.0, 0.5, 1.0, 5.0, 30.0, 1000.0)]
        np.testing.assert_allclose(values[0], plain(z, labels), rtol=1e-12)
        assert values == sorted(values)


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("detached", [True, False])
def test_gradients(x64, name, detached):
    objective, supervised, beta = CORNERS[name]
    z, labels = jnp.asarray(embeddings()), jnp.asarray(LABELS)
    loss = functools.partial(objective, labels=labels, stop_gradient_hardening=detached)
    if not detached or beta == 0:
        check_grads(jax.jit(loss), (z,), order=2, modes=["rev"])
        return

    @jax.jit
    def gradients(z):
        frozen = _loss_with_frozen_weights(jax.lax.stop_gradient(z), labels, supervised, beta)
        attached = functools.partial(loss, stop_gradient_hardening=False)
        return [jax.grad(of)(z) for of in (loss, frozen, attached)]

    found, expected, full = gradients(z)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)
    assert jnp.abs(full - expected).max() > 1e-3


def _loss_with_frozen_weights(z, labels, supervised, beta):
    """The same value with weights computed once, from other code than the library's."""
    same = labels[:, None] == labels
    themselves = jnp.eye(len(labels), dtype=bool)
    positive = same & ~themselves
    negative = ~same if supervised else ~themselves
    tilt = jnp.where(negative, jnp.exp(beta * z @ z.T), 0)
    weights = tilt / tilt.sum(axis=1, keepdims=True)

    def loss(x):
        s = x @ x.T
        terms = jnp.log1p((weights * jnp.exp(s)).sum(axis=1)[:, None] * jnp.exp(-s))
        return jnp.where(positive, terms, 0).sum() / positive.sum()

    return loss


def test_value_does_not_depend_on_the_gradient_convention(x64):
    z, labels = jnp.asarray(embeddings()), jnp.asarray(LABELS)
    values = [
        hcl_jax.hucl(z, labels, beta=5.0, stop_gradient_hardening=detached)
        for detached in (True, False)
    ]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize(
    "labels",
    [[0, 1, 2, 3], [0, 0, 0, 0], [0], [0, 0, 0, 1], [5, 5]],
    ids=["no positives", "one class", "batch of one", "one without", "two"],
)
def test_undefined_anchors_cost_nothing(name, labels):
    objective, supervised, _ = CORNERS[name]
    z = jnp.asarray(embeddings(n=len(labels)), jnp.float32)
    labels = np.array(labels)
    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(objective)(z, jnp.asarray(labels))
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    nothing = looped(np.asarray(z), labels, supervised, 0.0) == {}
    assert (value == 0) == nothing
    if nothing:
        np.testing.assert_array_equal(gradient, jnp.zeros_like(z))


def test_an_undefined_anchor_is_flagged():
    z = jnp.asarray(embeddings(), jnp.float32)
    keys = pairs.supervised(pairs.rows(jnp.asarray(LABELS)))
    found = jax.jit(losses.contrastive_loss)(z, keys)
    np.testing.assert_array_equal(found.defined, LABELS != 3)
    assert found.total[-1] == 0


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("beta", [1000.0, 0.0])
@pytest.mark.parametrize("temperature", [0.01, 100.0])
def test_extremes_are_finite(name, dtype, beta, temperature):
    objective, *_ = CORNERS[name]
    keywords = {"beta": beta} if name.startswith("h") else {}
    function = objective.func if name.startswith("h") else objective
    z = jnp.asarray(embeddings(), dtype)
    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(function)(
            z, jnp.asarray(LABELS), temperature=temperature, **keywords
        )
    assert value.dtype == jnp.float32
    assert gradient.dtype == dtype
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("name", CORNERS)
def test_low_precision_is_near_double(name):
    objective = jax.jit(CORNERS[name][0])
    z = embeddings(n=64, dim=16)
    labels = np.arange(64) % 8
    with jax.enable_x64(True):
        exact = float(objective(jnp.asarray(z), jnp.asarray(labels)))
    single = objective(jnp.asarray(z, jnp.float32), jnp.asarray(labels))
    np.testing.assert_allclose(single, exact, rtol=1e-6)
    # Rounding an input to bfloat16 moves a similarity by at most 2 * 2^-9, and the loss by less
    # than (1 + beta) times that with beta = 3.
    half = objective(jnp.asarray(z, jnp.bfloat16), jnp.asarray(labels))
    np.testing.assert_allclose(half, exact, atol=2 * 2**-9 * 4)


def test_one_trace_while_scalars_anneal():
    traces = []

    @jax.jit
    def loss(z, beta, temperature):
        traces.append(None)
        return hcl_jax.hucl(z, jnp.asarray(LABELS), beta=beta, temperature=temperature)

    z = jnp.asarray(embeddings(), jnp.float32)
    for beta, temperature in [(0.0, 1.0), (5.0, 0.5), (30.0, 0.1)]:
        annealed = loss(z, beta, temperature)
        fixed = hcl_jax.hucl(z, jnp.asarray(LABELS), beta=beta, temperature=temperature)
        np.testing.assert_allclose(annealed, fixed, rtol=1e-5)
    assert len(traces) == 1


def test_a_shard_against_the_batch_sums_to_the_batch(x64):
    z, labels = jnp.asarray(embeddings()), jnp.asarray(LABELS)
    everyone = pairs.rows(labels)

    @jax.jit
    def of_shards_and_whole(z):
        shards = []
        for part in (slice(0, 3), slice(3, 10)):
            shard = pairs.rows(labels[part], first=part.start)
            keys = pairs.unsupervised(shard, everyone, same_batch=True)
            shards.append(losses.contrastive_loss(z[part], keys, z))
        whole = losses.contrastive_loss(z, pairs.unsupervised(everyone))
        return {
            average: (
                [losses.sum_and_weight(found, average) for found in shards],
                losses.average_loss(whole, average),
            )
            for average in ("pairs", "anchors")
        }

    for shards, whole in of_shards_and_whole(z).values():
        total, weight = np.sum(shards, axis=0)
        np.testing.assert_allclose(total / weight, whole)


def test_supcon_of_pairs_is_optax_ntxent(x64):
    """With two members a class, the sum over negatives and the positive is optax's NT-Xent."""
    z = embeddings(n=8, dim=3)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    labels = jnp.asarray(np.arange(8) // 2)
    ours = functools.partial(hcl_jax.scl, psi=psi.infonce(q="k", temperature=0.5))
    found = jax.jit(functools.partial(ours, average="anchors"))(z, labels)
    expected = jax.jit(functools.partial(optax.losses.ntxent, temperature=0.5))(z, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # optax adds 1e-7 to a norm


def test_two_views(x64):
    z = embeddings(n=6)
    labels, images = np.array([0, 0, 1, 0, 0, 1]), np.array([0, 1, 2, 0, 1, 2])
    found = jax.jit(functools.partial(hcl_jax.hscl, beta=2.0))(z, labels, groups=images)
    expected = []
    for i in range(6):
        p = (i + 3) % 6
        negatives = labels != labels[i]
        w = np.exp(2 * z[negatives] @ z[i])
        expected.append(math.log1p(w @ np.exp(z[negatives] @ z[i] - z[p] @ z[i]) / w.sum()))
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-12)


ERRORS = {
    r"embeddings must have shape \(n, dim\).*got shape \(3,\)": lambda z, y: hcl_jax.scl(
        z[0, :3], y
    ),
    "embeddings must be floating point, got dtype int32": lambda z, y: hcl_jax.scl(
        jnp.ones((10, 2), jnp.int32), y
    ),
    "embeddings must be finite, but 1 of 10 rows are not, the first is row 4": lambda z, y: (
        hcl_jax.scl(z.at[4, 1].set(jnp.nan), y)
    ),
    r"labels must have shape \(10,\), one for each embedding, got shape \(9,\)": lambda z, y: (
        hcl_jax.scl(z, y[:9])
    ),
    "labels must be integers, got dtype float32": lambda z, y: hcl_jax.scl(z, y * 1.0),
    "beta must not be negative, got -1.0": lambda z, y: hcl_jax.hscl(z, y, beta=-1.0),
    "beta must be finite, got nan": lambda z, y: hcl_jax.hucl(z, y, beta=float("nan")),
    "temperature must be positive, got 0.0": lambda z, y: hcl_jax.ucl(z, y, temperature=0.0),
    "average must be one of 'pairs', 'anchors', got 'mean'": lambda z, y: hcl_jax.ucl(
        z, y, average="mean"
    ),
    r"unknown options \['tau'\]": lambda z, y: hcl_jax.ucl(z, y, tau=1.0),
    "needs both num_negatives and key": lambda z, y: hcl_jax.ucl(z, y, num_negatives=4),
    "num_negatives must be at least 1, got 0": lambda z, y: hcl_jax.ucl(
        z, y, num_negatives=0, key=jax.random.key(0)
    ),
    "temperature and psi exclude each other": lambda z, y: hcl_jax.ucl(
        z, y, psi=psi.linear(), temperature=1.0
    ),
    "weights estimator needs a product hardening": lambda z, y: hcl_jax.objective(
        z, y, supervised=True, hardening=hardening.threshold_any(0.0)
    ),
    "which draws of differences do not know": lambda z, y: hcl_jax.scl(
        z, y, psi=psi.debiased(tau_plus=0.1), num_negatives=4, key=jax.random.key(0)
    ),
    "tau_plus must be less than 1, got 1.0": lambda z, y: psi.debiased(tau_plus=1.0),
    "no limit for k to infinity": lambda z, y: hcl_jax.scl(z, y, psi=psi.triplet_max()),
    "one dimension, got 4 and 3": lambda z, y: losses.contrastive_loss(
        z, pairs.supervised(pairs.rows(y)), z[:, :3]
    ),
    "embeddings must be a NumPy or JAX array of numbers, got a list": lambda z, y: hcl_jax.scl(
        z.tolist(), y
    ),
    "labels must be a NumPy or JAX array of numbers, got a list": lambda z, y: hcl_jax.hucl(
        z, y.tolist(), beta=1.0
    ),
    "labels must be a NumPy or JAX array of numbers, got dtype torch.int64": lambda z, y: (
        hcl_jax.scl(z, SimpleNamespace(dtype="torch.int64", __array__=None))
    ),
    "groups must be a NumPy or JAX array of numbers, got a tuple": lambda z, y: hcl_jax.ucl(
        z, y, groups=tuple(y.tolist())
    ),
    "embeddings must be a NumPy or JAX array of numbers, got dtype object": lambda z, y: (
        hcl_jax.ucl(np.asarray(z, object), y)
    ),
    "anchors must be a NumPy or JAX array of numbers, got a list": lambda z, y: (
        losses.contrastive_loss(z.tolist(), pairs.supervised(pairs.rows(y)))
    ),
    "candidates must be a NumPy or JAX array of numbers, got a list": lambda z, y: (
        losses.sampled_contrastive_loss(
            jax.random.key(0), z, pairs.supervised(pairs.rows(y)), z.tolist(), num_negatives=4
        )
    ),
    "pairs must be a Pairs, such as hcl_jax.pairs.supervised.rows., got a ": lambda z, y: (
        losses.contrastive_loss(z, z)
    ),
    "psi must be a Psi, such as hcl_jax.psi.infonce.., got 'infonce'": lambda z, y: (
        losses.contrastive_loss(z, pairs.supervised(pairs.rows(y)), psi="infonce")
    ),
    "hardening must be a Hardening.*got the function exponential": lambda z, y: (
        losses.contrastive_loss(z, pairs.supervised(pairs.rows(y)), hardening=hardening.exponential)
    ),
    "precision must be one of.*got 'exact'": lambda z, y: losses.contrastive_loss(
        z, pairs.supervised(pairs.rows(y)), precision="exact"
    ),
    "hardening must be a Hardening.*got 5.0": lambda z, y: losses.sampled_contrastive_loss(
        jax.random.key(0),
        z,
        pairs.supervised(pairs.rows(y)),
        num_negatives=4,
        hardening=5.0,
    ),
    "samples estimator needs a product hardening": lambda z, y: losses.sampled_contrastive_loss(
        jax.random.key(0),
        z,
        pairs.supervised(pairs.rows(y)),
        num_negatives=4,
        hardening=hardening.threshold_any(0.0),
    ),
    r"pair keys of the candidates must have shape \(9,\)": lambda z, y: losses.contrastive_loss(
        z, pairs.supervised(pairs.rows(y)), z[:9]
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(unchecked, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ERRORS[message](jnp.asarray(embeddings(), jnp.float32), jnp.asarray(LABELS))
