"""The Pallas kernels, interpreted: the dense form in value and gradient, also where rows do not
fill tiles, and refusals of what they do not do."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import assert_same, batch, corner_pairs, float64_truth, weighted

from hcl_jax import hardening, hucl, pairs, psi
from hcl_jax.losses import choose_implementation, contrastive_loss
from hcl_jax.losses._blockwise.pallas.lanes import narrow_keys
from scripts.benchmarking.tpu_compilation import libtpu_installed

RAGGED = 150
"""Two tiles of 128 rows, the second with padding."""


def compare(loss, places, cases, rtol):
    """Both implementations over many cases, each compiled once."""

    @functools.partial(jax.jit, static_argnums=0)
    def run(name, *numbers):
        (value, parts), gradients = jax.value_and_grad(
            lambda *z: loss(name, *z, *numbers), range(len(places)), has_aux=True
        )(*places)
        return value, parts, gradients

    for case in cases:
        assert_same(run("pallas", *case), run("dense", *case), rtol)


@pytest.mark.parametrize(
    ("law", "detached"),
    [
        (hardening.exponential, True),
        (hardening.exponential, False),
        (lambda beta: hardening.threshold(0.02 * beta), True),
        pytest.param(
            lambda beta: hardening.sigmoid(1.0 + beta, 0.1), False, marks=pytest.mark.slow
        ),
        pytest.param(lambda beta: hardening.no_hardening(), False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("x64")
def test_one_set_equals_dense(law, detached):
    embeddings, labels, weights = batch(RAGGED)
    everyone = pairs.rows(labels)

    def loss(name, z, keys, beta):
        parts = contrastive_loss(
            z,
            keys,
            psi=psi.infonce(temperature=0.4, q="k", alpha=0.7),
            hardening=law(beta),
            stop_gradient_hardening=detached,
            implementation=name,
        )
        return weighted(weights, parts)

    corners = [(s, r) for s in (True, False) for r in (True, False)]
    cases = [(corner_pairs(everyone, None, *c), b) for c in corners for b in (0.0, 5.0, 30.0)]
    compare(loss, (embeddings,), cases, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_two_sets_equal_dense():
    embeddings, labels, weights = batch(RAGGED)
    some = pairs.rows(labels)
    shard = jax.tree.map(lambda key: key[7:30], some)

    def loss(name, x, y, keys, beta):
        parts = contrastive_loss(
            x,
            keys,
            y,
            hardening=hardening.exponential(beta),
            stop_gradient_hardening=False,
            implementation=name,
        )
        return weighted(weights, parts)

    corners = [(s, r) for s in (True, False) for r in (True, False)]
    cases = [(corner_pairs(shard, some, *c), b) for c in corners for b in (0.0, 5.0)]
    compare(loss, (embeddings[7:30] + 0.1, embeddings), cases, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_narrow_types_and_extremes(dtype):
    embeddings, labels, _ = batch(RAGGED)
    embeddings = embeddings.astype(dtype)

    def loss(z, beta, temperature, implementation="dense"):
        return hucl(z, labels, beta=beta, temperature=temperature, implementation=implementation)

    run = jax.jit(jax.value_and_grad(functools.partial(loss, implementation="pallas")))
    for beta in (0.0, 5.0, 1000.0):
        for temperature in (1.0, 0.01):
            value, gradient = run(embeddings, beta, temperature)
            true_value, true_gradient = float64_truth(loss, embeddings, beta, temperature)
            # The bounds of the blockwise implementation, see test_implementations.
            bound = 2.0**-24 * 16 * (beta + 1 / temperature + 4)
            np.testing.assert_allclose(value, true_value, rtol=bound)
            rounding = 2.0**-8 if dtype == jnp.bfloat16 else 0
            error = np.abs(np.asarray(gradient, np.float64) - true_gradient).max()
            assert error <= (bound + rounding) * np.abs(true_gradient).max()


def test_labels_of_any_count():
    """One class, all alone, undefined anchors, a batch of one: no NaN, as dense."""

    def loss(name, z, keys):
        return weighted(jnp.ones(7), contrastive_loss(z, keys, implementation=name))

    lists = [[0] * 7, list(range(7)), [0, 0, 0, 1, 2, 2, 1], [5, 3, 5, 5, 3, 9, 9]]
    cases = [(pairs.supervised(pairs.rows(jnp.array(labels))),) for labels in lists]
    with jax.debug_nans(True):
        compare(loss, (batch(7)[0],), cases, rtol=3e-6)
        alone = (pairs.supervised(pairs.rows(jnp.array([4]))),)
        compare(loss, (batch(1)[0],), [alone], rtol=3e-6)


def test_vmap_and_averages():
    z = jnp.stack([batch(seed=seed)[0] for seed in range(2)])
    labels = batch()[1]

    def gradient(name):
        def loss(z):
            return hucl(z, labels, beta=5.0, average="anchors", implementation=name)

        return jax.jit(jax.vmap(jax.grad(loss)))(z)

    np.testing.assert_allclose(gradient("pallas"), gradient("dense"), atol=1e-6)


@pytest.mark.usefixtures("x64")
def test_wide_keys_are_told_apart():
    wide = jnp.array([1, 1 + 2**32, 1])
    narrow = narrow_keys(wide, wide[1:])
    assert [keys.dtype for keys in narrow] == [jnp.int32, jnp.int32]
    np.testing.assert_array_equal(
        narrow[0][:, None] == narrow[1], wide[:, None] == wide[1:], strict=True
    )


def test_what_the_kernels_lack_is_refused():
    embeddings, labels, _ = batch()
    keys = pairs.supervised(pairs.rows(labels))

    def loss(z, **options):
        parts = contrastive_loss(z, keys, implementation="pallas", **options)
        return jnp.sum(parts.total)

    with pytest.raises(NotImplementedError, match=r'InfoNCE only; implementation="blockwise" does'):
        loss(embeddings, psi=psi.triplet_sum())
    with pytest.raises(NotImplementedError, match="float32 or bfloat16, not float16"):
        loss(embeddings.astype(jnp.float16))
    with pytest.raises(NotImplementedError, match="at most 4096 features, not 5000"):
        loss(jnp.ones((len(labels), 5000)))
    table = hardening.Hardening(jax.tree_util.Partial(_from_table, jnp.arange(3.0)))
    with pytest.raises(NotImplementedError, match=r'scalars; implementation="blockwise" takes any'):
        loss(embeddings, hardening=table)


def test_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(NotImplementedError, match=r"interpreted\), not for gpu"):
        hucl(batch()[0], batch()[1], beta=1.0, implementation="pallas")


def test_kernels_are_taken_on_request_only():
    sizes = (8, 1024, 2**20)
    assert {choose_implementation(n, n).implementation for n in sizes} == {"dense", "blockwise"}


@pytest.mark.slow
@pytest.mark.skipif(not libtpu_installed(), reason="libtpu is not installed")
def test_the_kernels_compile_for_tpu_within_their_memory():
    code = """
from scripts import compile_for_tpu as tpu
chips = tpu.tpu_devices("v5e:2x4")
row = tpu.compile_loss("", 131072, tpu.loss_on_one_device("pallas"), chips[:1], units=3)
assert row.compiles == "yes" and row.temporaries <= 256 * tpu.MIB, row
"""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(root)}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # programs for TPUs are not read back here
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=environment)


def _from_table(table, similarities):
    return table[0] * similarities
