"""One battery for all implementations: the dense form is the definition, the others equal it."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import (
    assert_same,
    batch,
    corner_pairs,
    float64_truth,
    value_and_gradients,
    weighted,
)

from hcl_jax import hardening, hucl, pairs, psi
from hcl_jax.losses import (
    _checks,
    choose_implementation,
    contrastive,
    contrastive_loss,
    sampled_contrastive_loss,
    sum_and_weight,
)
from hcl_jax.losses._blockwise.loss import blockwise_losses
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses.tilted_infonce import tilted_infonce

BETAS = (0.0, 5.0, 30.0)


LAWS = {
    "exponential": hardening.exponential,
    "threshold": lambda beta: hardening.threshold(0.02 * beta),
    "relu_power": lambda beta: hardening.relu_power(1.0, 1.0 + beta),
    "sigmoid": lambda beta: hardening.sigmoid(1.0 + beta, 0.1),
    "none": lambda beta: hardening.no_hardening(),
}


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize(
    "law",
    [
        name if name == "exponential" else pytest.param(name, marks=pytest.mark.slow)
        for name in LAWS
    ],
)
@pytest.mark.usefixtures("x64")
def test_one_set_equals_dense_in_value_and_gradient(law, detached):
    embeddings, labels, weights = batch()
    everyone = pairs.rows(labels)

    @functools.partial(jax.jit, static_argnums=(2, 3))
    def run(keys, beta, blockwise, block):
        chosen = LAWS[law](beta)
        function = psi.infonce(temperature=0.4, q="k", alpha=0.7)

        def loss(z):
            if not blockwise:
                parts = contrastive_loss(
                    z,
                    keys,
                    psi=function,
                    hardening=chosen,
                    stop_gradient_hardening=detached,
                    implementation="dense",
                )
                return weighted(weights, parts)
            tiles = TileOptions(detached=detached, block=block)
            infonce = tilted_infonce(function, chosen)
            return weighted(
                weights,
                blockwise_losses(infonce, z, keys, None, tiles),
            )

        (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(embeddings)
        return value, parts, (gradient,)

    for supervised in (True, False):
        for reference in (True, False):
            keys = corner_pairs(everyone, None, supervised, reference)
            for beta in BETAS:
                dense = run(keys, beta, False, None)
                assert_same(run(keys, beta, True, 16), dense, rtol=1e-12)


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.usefixtures("x64")
def test_two_sets_equal_dense_in_value_and_gradients(detached):
    embeddings, labels, weights = batch()
    some = pairs.rows(labels)
    shard = jax.tree.map(lambda key: key[7:30], some)

    @functools.partial(jax.jit, static_argnums=(2,))
    def run(keys, beta, implementation):
        def loss(x, y):
            parts = contrastive_loss(
                x,
                keys,
                y,
                hardening=hardening.exponential(beta),
                stop_gradient_hardening=detached,
                implementation=implementation,
            )
            return weighted(weights, parts)

        x = embeddings[7:30] + 0.1
        (value, parts), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, embeddings)
        return value, parts, gradients

    for supervised in (True, False):
        for reference in (True, False):
            keys = corner_pairs(shard, some, supervised, reference)
            for beta in BETAS:
                assert_same(run(keys, beta, "blockwise"), run(keys, beta, "dense"), rtol=1e-12)


@pytest.mark.parametrize("implementation", ["dense", "blockwise"])
@pytest.mark.usefixtures("x64")
def test_without_candidates_the_anchors_are_the_candidates(implementation):
    embeddings, labels, weights = batch()
    keys = pairs.unsupervised(pairs.rows(labels))

    def loss(given, z):
        parts = contrastive_loss(
            z,
            keys,
            z if given else None,
            hardening=hardening.exponential(5.0),
            stop_gradient_hardening=False,
            implementation=implementation,
        )
        return weighted(weights, parts)

    given, left_out = (
        value_and_gradients(functools.partial(loss, given), embeddings) for given in (True, False)
    )
    assert_same(given, left_out, rtol=1e-12)


FORMS = {
    "dense": functools.partial(contrastive_loss, implementation="dense"),
    "blockwise": functools.partial(contrastive_loss, implementation="blockwise"),
    "separable": functools.partial(contrastive_loss, psi=psi.linear(), implementation="blockwise"),
    "pallas": functools.partial(contrastive_loss, implementation="pallas"),
    "sampled": functools.partial(sampled_contrastive_loss, jax.random.key(0), num_negatives=2),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_precision_is_that_of_every_multiplication(form):
    embeddings, labels, weights = batch()
    keys = pairs.supervised(pairs.rows(labels))

    def precisions(**option):
        def loss(z):
            return weighted(weights, FORMS[form](z, keys, **option))[0]

        text = str(jax.make_jaxpr(jax.grad(loss))(embeddings))
        return set(re.findall(r"precision=(?!None)(.*)", text))

    full = "(Precision.HIGHEST, Precision.HIGHEST)"
    assert precisions() == precisions(precision="highest") == {full}
    assert precisions(precision=jax.lax.Precision.HIGH) == {full.replace("HIGHEST", "HIGH")}


def test_a_loss_that_does_not_depend_on_the_totals_has_gradient_zero():
    embeddings, labels, _ = batch()
    keys = pairs.supervised(pairs.rows(labels))

    def count(z):
        losses = contrastive_loss(z, keys, implementation="blockwise")
        return losses.positives.sum() * z[0, 0]

    gradient = jax.jit(jax.grad(count))(embeddings)
    assert gradient[0, 0] > 0
    assert not gradient.at[0, 0].set(0).any()


def test_a_concrete_array_is_checked_once(monkeypatch):
    embeddings, labels, _ = batch()
    keys, names = pairs.supervised(pairs.rows(labels)), []
    monkeypatch.setattr(_checks, "check_embeddings", lambda name, _: names.append(name))
    contrastive_loss(embeddings, keys)
    assert names == ["anchors"]
    contrastive_loss(embeddings, keys, embeddings + 1)
    assert names[1:] == ["anchors", "candidates"]


@pytest.mark.parametrize(
    "function", [psi.triplet_sum(), psi.logistic_sum(), psi.squared_hinge(), psi.linear()]
)
@pytest.mark.usefixtures("x64")
def test_separable_losses_a_few_anchors_at_a_time(function, monkeypatch):
    monkeypatch.setattr(contrastive, "ROWS_AT_ONCE", 16)
    embeddings, labels, weights = batch()
    keys = pairs.supervised(pairs.rows(labels))

    def loss(implementation, z):
        parts = contrastive_loss(
            z,
            keys,
            psi=function,
            hardening=hardening.exponential(3.0),
            implementation=implementation,
        )
        return weighted(weights, parts)

    some, all_ = (
        value_and_gradients(functools.partial(loss, name), embeddings)
        for name in ("blockwise", "dense")
    )
    assert_same(some, all_, rtol=1e-12)


QUICK = {(jnp.float32, 5.0, 1.0), (jnp.float32, 1000.0, 0.01), (jnp.bfloat16, 5.0, 0.01)}
EXTREMES = [
    case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow)
    for case in itertools.product((jnp.float32, jnp.bfloat16), (0.0, 5.0, 1000.0), (1.0, 0.01))
]


@pytest.mark.parametrize(("dtype", "beta", "temperature"), EXTREMES)
def test_narrow_types_and_extremes(dtype, beta, temperature):
    embeddings, labels, _ = batch()
    embeddings = embeddings.astype(dtype)

    def loss(z, implementation="dense"):
        return hucl(z, labels, beta=beta, temperature=temperature, implementation=implementation)

    value, gradient = jax.jit(
        jax.value_and_grad(functools.partial(loss, implementation="blockwise"))
    )(embeddings)
    true_value, true_gradient = float64_truth(loss, embeddings)
    # Exponents up to beta + 1/t carry that many rounding errors of 2^-24; bfloat16 rounds the
    # gradient to 2^-9 at the end, similarities being computed in float32 from the same inputs.
    bound = 2.0**-24 * 16 * (beta + 1 / temperature + 4)
    np.testing.assert_allclose(value, true_value, rtol=bound)
    scale = np.abs(true_gradient).max()
    rounding = 2.0**-8 if dtype == jnp.bfloat16 else 0
    error = np.abs(np.asarray(gradient, np.float64) - true_gradient).max()
    assert error <= (bound + rounding) * scale


def test_labels_in_any_order_and_of_any_count():
    """One class, all alone, an anchor without positives, a batch of one: no NaN, as dense."""
    for labels in ([0] * 7, list(range(7)), [0, 0, 0, 1, 2, 2, 1], [5, 3, 5, 5, 3, 9, 9], [4]):
        embeddings = batch(len(labels))[0]
        keys = pairs.supervised(pairs.rows(jnp.array(labels)))
        parts = {}
        for name in ("dense", "blockwise"):
            with jax.debug_nans(True):
                parts[name] = value_and_gradients(
                    lambda z, name=name, keys=keys: weighted(
                        jnp.ones(7), contrastive_loss(z, keys, implementation=name)
                    ),
                    embeddings,
                )
        assert_same(parts["blockwise"], parts["dense"], rtol=3e-6)


def test_unnormalised_features_fall_back_to_a_running_maximum():
    embeddings, labels, weights = batch()
    embeddings = 30 * embeddings.at[:20].multiply(1e-2)
    keys = pairs.supervised(pairs.rows(labels))

    def loss(implementation, z):
        parts = contrastive_loss(
            z, keys, hardening=hardening.exponential(5.0), implementation=implementation
        )
        return weighted(weights, parts)

    value, _, (gradient,) = value_and_gradients(functools.partial(loss, "blockwise"), embeddings)
    true_value, true_gradient = float64_truth(lambda z: loss("dense", z)[0], embeddings)
    np.testing.assert_allclose(value, true_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, true_gradient, atol=1e-3 * np.abs(true_gradient).max())


def test_one_trace_while_numbers_anneal():
    embeddings, labels, _ = batch()
    traces = []

    @jax.jit
    def loss(beta, temperature):
        traces.append(None)
        return jax.grad(
            lambda z: hucl(
                z, labels, beta=beta, temperature=temperature, implementation="blockwise"
            )
        )(embeddings)

    results = [loss(beta, 1.0 / (1 + beta)) for beta in (0.0, 1.0, 7.0)]
    assert len(traces) == 1
    assert not jnp.allclose(results[0], results[2])


@pytest.mark.slow
def test_vmap_over_batches():
    z = jnp.stack([batch(seed=seed)[0] for seed in range(3)])
    labels = batch()[1]

    def loss(z, implementation):
        return hucl(z, labels, beta=5.0, implementation=implementation)

    got = jax.vmap(jax.grad(functools.partial(loss, implementation="blockwise")))(z)
    wanted = jax.vmap(jax.grad(functools.partial(loss, implementation="dense")))(z)
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_unknown_implementations_are_refused():
    embeddings, labels, _ = batch()
    with pytest.raises(ValueError, match="implementation must be one of"):
        hucl(embeddings, labels, beta=1.0, implementation="fast")


def test_the_choice_says_why():
    assert choose_implementation(512, 512) == choose_implementation(1, 512 * 512)._replace(
        reason=choose_implementation(512, 512).reason
    )
    assert choose_implementation(513, 512).implementation == "blockwise"
    assert choose_implementation(256, 256, one_set=True).implementation == "dense"
    assert choose_implementation(257, 257, one_set=True).implementation == "blockwise"
    assert choose_implementation(512, 512, psi.linear(), one_set=True).implementation == "dense"
    assert choose_implementation(512, 512, backend="tpu", one_set=True).implementation == "dense"
    assert choose_implementation(4096, 4096, backend="gpu").implementation == "dense"
    assert choose_implementation(4097, 4096, backend="gpu").implementation == "blockwise"
    assert "anchors at a time" in choose_implementation(5000, 5000, psi.linear()).reason


def test_the_default_is_the_choice():
    """520 x 520 pairs take the tiles: there is no matrix of them."""
    z = jax.random.normal(jax.random.key(0), (520, 2))
    labels = jnp.arange(520) % 3
    assert "520,520" not in str(jax.make_jaxpr(lambda z: hucl(z, labels, beta=1.0))(z))
    dense = jax.make_jaxpr(lambda z: hucl(z, labels, beta=1.0, implementation="dense"))(z)
    assert "520,520" in str(dense)


@pytest.mark.slow
def test_both_averages_reach_the_gradient():
    embeddings, labels, _ = batch()
    for average in ("pairs", "anchors"):
        grads = [
            jax.grad(
                lambda z, n=name, a=average: hucl(z, labels, beta=2.0, average=a, implementation=n)
            )(embeddings)
            for name in ("dense", "blockwise")
        ]
        np.testing.assert_allclose(*grads, atol=1e-6)
    parts = contrastive_loss(embeddings, pairs.supervised(pairs.rows(labels)))
    assert sum_and_weight(parts, "anchors")[1] == parts.defined.sum()
