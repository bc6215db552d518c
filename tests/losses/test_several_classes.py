"""Rows of several classes: positives share one and negatives none, in every form of the loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import batch
from references.loss_forms import FORMS, every_pair

import hcl_jax
from hcl_jax import hardening, losses, pairs, psi

Z, _, _ = batch(count=18, dim=4)
CLASSES = np.random.default_rng(0).uniform(size=(18, 40)) < 0.04  # two words of bits
CLASSES[3] = False  # a row of no class
CLASSES[4] = CLASSES[9]
GROUPS = jnp.arange(18) % 6
STORED, _, _ = batch(count=6, dim=4, seed=1)
OF_STORED = np.random.default_rng(1).uniform(size=(6, 40)) < 0.1


def looped(z, *, supervised, groups, stored, of_stored, beta):
    """The mean over pairs in loops, with the sum over negatives."""
    everyone, classes = np.concatenate([z, stored]), np.concatenate([CLASSES, of_stored])
    sets = [set(np.flatnonzero(row)) for row in classes]
    total, count = 0.0, 0
    for i in range(len(z)):
        others = [j for j in range(len(everyone)) if j != i]
        positives = [
            j
            for j in others
            if (sets[i] & sets[j] if groups is None else j < len(z) and groups[i] == groups[j])
        ]
        negatives = [j for j in others if not supervised or not sets[i] & sets[j]]
        tilt = np.exp(beta * everyone[negatives] @ z[i])
        mean = tilt @ np.exp(everyone[negatives] @ z[i]) / tilt.sum()
        terms = [np.log1p(len(negatives) * mean * np.exp(-z[i] @ everyone[p])) for p in positives]
        total, count = total + sum(terms), count + len(terms)
    return total / count


NOTHING = (STORED[:0], OF_STORED[:0])
CASES = {
    "share one": (True, None, NOTHING),
    "everyone": (False, None, NOTHING),
    "of views": (True, GROUPS, NOTHING),
    "with a bank": (True, None, (STORED, OF_STORED)),
    "of views, with a bank": (True, GROUPS, (STORED, OF_STORED)),
}
QUICK = {("share one", "blockwise"), ("with a bank", "dense"), ("of views, with a bank", "gather")}


@pytest.mark.parametrize(
    ("case", "form"),
    every_pair(CASES, FORMS, QUICK),
)
@pytest.mark.usefixtures("x64")
def test_every_form_is_the_loop(case, form):
    supervised, groups, (stored, of_stored) = CASES[case]
    arrays = {"labels": jnp.asarray(CLASSES)}
    if groups is not None:
        arrays["groups"] = groups
    if len(stored):
        arrays["bank"] = hcl_jax.Bank(jnp.float64(stored), jnp.asarray(of_stored))

    def loss(z):
        return FORMS[form](
            z,
            arrays,
            supervised=supervised,
            hardening=hardening.exponential(2.0),
            psi=psi.infonce(q="k"),
            stop_gradient_hardening=False,
        )

    z = jnp.float64(Z)
    value, gradient = jax.jit(jax.value_and_grad(loss))(z)
    reference = functools.partial(
        looped,
        supervised=supervised,
        groups=None if groups is None else np.asarray(groups),
        stored=np.asarray(stored, np.float64),
        of_stored=of_stored,
        beta=2.0,
    )
    np.testing.assert_allclose(value, reference(np.asarray(z)), rtol=1e-12)
    step = 1e-6 * np.random.default_rng(2).normal(size=z.shape)
    slope = (reference(np.asarray(z) + step) - reference(np.asarray(z) - step)) / 2
    np.testing.assert_allclose(jnp.sum(gradient * step), slope, rtol=1e-5)


def test_one_class_each_is_what_labels_say():
    labels = jnp.arange(18) % 5
    one_hot = pairs.multilabel_rows(labels[:, None] == jnp.arange(5))
    for of in (pairs.supervised, pairs.unsupervised):
        for found, wanted in zip(
            pairs.masks(of(one_hot)), pairs.masks(of(pairs.rows(labels))), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_samples_of_several_classes():
    """Far from the only negatives, which have no class, every draw has the same loss."""
    z = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    classes = jnp.array([[True, False], [True, True], [False, False], [False, False]])
    rows = pairs.supervised(pairs.multilabel_rows(classes))
    found = losses.sampled_contrastive_loss(jax.random.key(0), z, rows, num_negatives=2)
    np.testing.assert_allclose(found.total[:2], np.log1p(np.exp(-1.0)), rtol=1e-6)
    np.testing.assert_array_equal(found.defined, [True, True, False, False])


@pytest.mark.parametrize(
    ("message", "call"),
    {
        "classes must be booleans": lambda: pairs.multilabel_rows(jnp.ones((3, 2), jnp.int32)),
        r"classes must have shape \(n, classes\)": lambda: pairs.multilabel_rows(jnp.ones(3, bool)),
        "ignore_label is for one class a row": lambda: hcl_jax.scl(
            Z, jnp.asarray(CLASSES), ignore_label=-1
        ),
        "as many classes": lambda: hcl_jax.scl(
            Z, jnp.asarray(CLASSES), bank=hcl_jax.Bank(STORED, jnp.asarray(OF_STORED[:, :30]))
        ),
        "the bank has several classes a row": lambda: hcl_jax.scl(
            Z, GROUPS, bank=hcl_jax.Bank(STORED, jnp.asarray(OF_STORED))
        ),
        'implementation="blockwise" serves them': lambda: hcl_jax.scl(
            Z, jnp.asarray(CLASSES), implementation="pallas"
        ),
        r"booleans \(n, classes\), got shape .* dtype int": lambda: hcl_jax.scl(Z, GROUPS[:, None]),
        r"booleans \(n, classes\), got shape .* dtype float32": lambda: hcl_jax.scl(
            Z, jnp.asarray(CLASSES, jnp.float32)
        ),
        "both have one class a row, or both several": lambda: pairs.supervised(
            pairs.rows(GROUPS), pairs.multilabel_rows(jnp.asarray(CLASSES))
        ),
    }.items(),
)
@pytest.mark.usefixtures("unchecked")
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        call()
