"""One set of few rows, in one tile: the dense form is the definition, and it is equal."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import assert_same, batch, corner_pairs, float64_truth, weighted

from hcl_jax import hardening, hucl, pairs, psi, without_false_negatives
from hcl_jax.losses import contrastive_loss
from hcl_jax.losses._blockwise import loss, one_tile

Z, LABELS, WEIGHTS = batch()
MANY = pairs.rows(LABELS % 2)
"""Classes whose runs take two steps."""


@pytest.fixture(autouse=True)
def whole(monkeypatch):
    """One tile, and nothing of the other forms of one set."""
    monkeypatch.setattr(one_tile, "ONE_TILE", 512)
    for name in ("_one_set_forward", "_one_set_backward", "_one_set_hyperparameters"):
        monkeypatch.setattr(loss, name, None)


def assert_equal_forms(all_keys, numbers, function, **options):
    """Values, statistics and gradients with respect to embeddings and numbers, in float64."""

    z, weights = Z.astype(jnp.float64), WEIGHTS.astype(jnp.float64)

    @functools.partial(jax.jit, static_argnums=(2,))
    def run(keys, numbers, implementation):
        def of(z, numbers):
            parts = function(z, keys, *numbers, implementation=implementation, **options)
            return weighted(weights, parts)

        (value, parts), gradients = jax.value_and_grad(of, (0, 1), has_aux=True)(z, numbers)
        return value, parts, jax.tree.leaves(gradients)

    for keys in all_keys:
        for some in numbers:
            found, wanted = (run(keys, some, name) for name in ("blockwise", "dense"))
            assert_same(found, wanted, rtol=1e-12)
            for one, other in zip(
                jax.tree.leaves(found[1].statistics),
                jax.tree.leaves(wanted[1].statistics),
                strict=True,
            ):
                np.testing.assert_allclose(one, other, rtol=1e-10)


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.usefixtures("x64")
def test_all_corners_and_numbers(detached):
    def function(z, keys, beta, temperature, alpha, **options):
        law, chosen = hardening.exponential(beta), psi.infonce(temperature=temperature, alpha=alpha)
        return contrastive_loss(z, keys, psi=chosen, hardening=law, **options)

    keys = [
        corner_pairs(rows, None, supervised, reference)
        for rows in (pairs.rows(LABELS), MANY)
        for supervised in (True, False)
        for reference in (True, False)
    ]
    numbers = [(beta, 0.4, 0.7) for beta in (0.0, 5.0)]
    assert_equal_forms(keys, numbers, function, stop_gradient_hardening=detached)


@pytest.mark.usefixtures("x64")
def test_rows_without_labels_a_margin_a_bound_and_statistics():
    def function(z, keys, beta, **options):
        law = without_false_negatives(hardening.exponential(beta), margin=0.1)
        return contrastive_loss(
            z, keys, psi=psi.debiased(tau_plus=0.1), hardening=law, statistics=True, **options
        )

    some = pairs.rows(jnp.where(jnp.arange(53) % 4 == 0, -1, LABELS), ignore_label=-1)
    keys = [pairs.supervised(some), pairs.unsupervised(some)]
    assert_equal_forms(keys, [(3.0,)], function)


@pytest.mark.usefixtures("x64")
def test_several_classes_a_row():
    classes = jax.random.bernoulli(jax.random.key(3), 0.2, (53, 6))
    keys = pairs.supervised(pairs.multilabel_rows(classes))
    assert_equal_forms([keys], [()], contrastive_loss)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_sums_out_of_range_and_narrow_types(dtype):
    """The bounds are those of `tests/losses/test_implementations.py`."""
    z, beta, temperature = Z.astype(dtype), 1000.0, 0.01

    def of(z, **options):
        return hucl(z, LABELS, beta=beta, temperature=temperature, **options)

    found = jax.jit(jax.value_and_grad(functools.partial(of, implementation="blockwise")))(z)
    value, gradient = float64_truth(functools.partial(of, implementation="dense"), z)
    bound = 2.0**-24 * 16 * (beta + 1 / temperature + 4)
    rounding = 2.0**-8 if dtype == jnp.bfloat16 else 0
    np.testing.assert_allclose(found[0], value, rtol=bound)
    error = np.abs(np.asarray(found[1], np.float64) - gradient).max()
    assert error <= (bound + rounding) * np.abs(gradient).max()


def test_any_labels_and_batches_of_batches():
    """One class, all alone, an anchor without positives, a batch of one; no NaN."""
    for labels in ([0] * 7, list(range(7)), [5, 3, 5, 5, 3, 9, 9], [4]):
        keys = pairs.supervised(pairs.rows(jnp.array(labels)))
        stack = jnp.stack([batch(len(labels), seed=seed)[0] for seed in range(2)])

        def gradients(implementation, stack=stack, keys=keys):
            of = functools.partial(contrastive_loss, pairs=keys, implementation=implementation)
            return jax.jit(jax.vmap(jax.value_and_grad(lambda z: of(z).total.sum())))(stack)

        with jax.debug_nans(True):
            found, wanted = gradients("blockwise"), gradients("dense")
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=3e-6, atol=3e-6)
