"""A batch without any loss, or outside the unit ball, is said, and why."""

import inspect
import warnings

import jax
import jax.numpy as jnp
import pytest
from references.places import EMBEDDINGS, LABELS

import hcl_jax
from hcl_jax import hardening

WITHOUT_LOSS = {
    "no anchor of this batch has a positive, as the labels or groups of all 8 rows differ": (
        hcl_jax.ucl,
        jnp.arange(8),
    ),
    "no anchor of this batch has a negative, as all 8 labels are the same": (
        hcl_jax.scl,
        jnp.zeros(8, jnp.int32),
    ),
}


@pytest.mark.parametrize("message", WITHOUT_LOSS)
def test_a_batch_without_any_loss_is_said(message):
    loss, labels = WITHOUT_LOSS[message]
    with pytest.warns(hcl_jax.BatchWarning, match=message) as said:
        assert inspect.unwrap(loss)(EMBEDDINGS, labels) == 0
    assert said[0].filename == __file__
    with pytest.warns(hcl_jax.BatchWarning, match=message):
        jax.grad(loss)(EMBEDDINGS, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(EMBEDDINGS, labels, quiet=True)
        loss(EMBEDDINGS, LABELS)
        jax.jit(loss)(EMBEDDINGS, labels)


SEVERAL = jnp.arange(16).reshape(8, 2) == 16


RULE = hcl_jax.PairRule(lambda a, c: (a == c) & (a > 9), lambda a, c: a != c)


ALONE = hcl_jax.PairRule(lambda a, c: a + c == 4, lambda a, c: (a == 1) & (c != 1))


OTHERS = hcl_jax.Bank(EMBEDDINGS, 9 + jnp.arange(8))


ODDLY_WITHOUT_LOSS = {
    "no anchor .* a positive, as no row has a class": {"labels": SEVERAL},
    "no anchor .* a positive, as no two rows share a class": {"labels": jnp.eye(8, dtype=bool)},
    "no anchor .* a negative, as all rows share a class": {"labels": ~SEVERAL},
    "no anchor .* a positive by the pair rule": {"pair_rule": RULE},
    "no anchor .* a negative by the pair rule": {
        "pair_rule": hcl_jax.PairRule(lambda a, c: (a >= 0) & (c >= 0))
    },
    "no anchor .* has both a positive and a negative": {"pair_rule": ALONE},
    "no anchor .* a positive in the batch or the bank": {"labels": jnp.arange(8), "bank": OTHERS},
    "no anchor .* a negative in the batch or the bank": {
        "labels": jnp.zeros(8, int),
        "bank": hcl_jax.Bank(EMBEDDINGS, jnp.zeros(8, int)),
    },
    "no row of this batch has a label": {"labels": -jnp.ones(8, int), "ignore_label": -1},
    "the weights of all anchors that have a loss are 0": {"weights": jnp.zeros(8)},
    "the hardening function gives all negatives of this batch the weight 0": {
        "hardening": hardening.threshold(1.0)
    },
}


@pytest.mark.parametrize("message", ODDLY_WITHOUT_LOSS)
def test_whatever_leaves_no_loss_is_said(message):
    given = {"labels": LABELS, "hardening": hardening.no_hardening(), **ODDLY_WITHOUT_LOSS[message]}
    with pytest.warns(hcl_jax.BatchWarning, match=message):
        assert hcl_jax.objective(EMBEDDINGS, supervised=True, **given) == 0


def test_weights_of_some_anchors_and_a_bank_of_positives_are_no_cause_for_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hcl_jax.scl(EMBEDDINGS, LABELS, weights=jnp.arange(8.0)) > 0
        stored = hcl_jax.Bank(EMBEDDINGS[::-1], jnp.arange(8))
        assert hcl_jax.scl(EMBEDDINGS, jnp.arange(8), bank=stored) > 0


def test_embeddings_outside_the_unit_ball_are_said():
    with pytest.warns(hcl_jax.BatchWarning, match="embeddings have norms up to 10,") as said:
        inspect.unwrap(hcl_jax.hscl)(10 * EMBEDDINGS, LABELS, beta=2.0)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hcl_jax.hscl(10 * EMBEDDINGS, LABELS, beta=2.0, quiet=True)
        hcl_jax.hscl(EMBEDDINGS.astype(jnp.bfloat16), LABELS, beta=2.0)
        jax.jit(lambda z: hcl_jax.hscl(z, LABELS, beta=2.0))(10 * EMBEDDINGS)
