"""Candidates that are no anchors, in every form of the loss, against loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import batch
from references.loss_forms import FORMS, every_pair

import hcl_jax
from hcl_jax import hardening, losses, pairs, parallel

Z, LABELS, _ = batch(count=18, dim=4, classes=4)
STORED, OF_STORED, _ = batch(count=15, dim=4, classes=5, seed=1)
GROUPS = jnp.arange(18) % 6


def looped(z, stored, *, supervised, groups, of_stored, groups_of_stored, beta):
    """The mean over pairs in loops; a label or group None is that of no row."""
    labels = np.asarray(LABELS)
    total, count, everyone = 0.0, 0, np.concatenate([z, stored])
    all_labels, all_groups = [*labels, *of_stored], [*groups, *groups_of_stored]
    for i in range(len(z)):
        others = [j for j in range(len(everyone)) if j != i]
        positives = [j for j in others if all_groups[j] == groups[i]]
        negatives = [j for j in others if not supervised or all_labels[j] != labels[i]]
        tilt = np.exp(beta * everyone[negatives] @ z[i])
        mean = tilt @ np.exp(everyone[negatives] @ z[i]) / tilt.sum()
        total += sum(np.log1p(mean * np.exp(-z[i] @ everyone[p])) for p in positives)
        count += len(positives)
    return total / count


NONE = [None] * 15
CASES = {
    "labelled": (True, None, hcl_jax.Bank(STORED, OF_STORED), (OF_STORED, OF_STORED)),
    "unlabelled": (False, None, hcl_jax.Bank(STORED), (NONE, NONE)),
    "of views": (True, GROUPS, hcl_jax.Bank(STORED, OF_STORED), (OF_STORED, NONE)),
    "with groups": (
        False,
        GROUPS,
        hcl_jax.Bank(STORED, OF_STORED, OF_STORED + 2),
        (OF_STORED, OF_STORED + 2),
    ),
}
QUICK = {("labelled", "dense"), ("unlabelled", "ring"), ("of views", "blockwise")}


@pytest.mark.parametrize(
    ("case", "form"),
    every_pair(CASES, FORMS, QUICK),
)
@pytest.mark.usefixtures("x64")
def test_every_form_is_the_loop(case, form):
    supervised, groups, bank, (of_stored, groups_of_stored) = CASES[case]
    arrays = {"labels": LABELS} if groups is None else {"labels": LABELS, "groups": groups}
    z, stored = jnp.float64(Z), jnp.float64(STORED)

    def loss(z, stored, beta):
        return FORMS[form](
            z,
            arrays | {"bank": bank._replace(embeddings=stored)},
            supervised=supervised,
            hardening=hardening.exponential(beta),
            stop_gradient_hardening=False,
        )

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(z, stored, 2.0)
    reference = functools.partial(
        looped,
        supervised=supervised,
        groups=np.asarray(LABELS if groups is None else groups),
        of_stored=of_stored,
        groups_of_stored=groups_of_stored,
    )
    point = [np.asarray(z), np.asarray(stored), 2.0]
    np.testing.assert_allclose(value, reference(*point[:2], beta=2.0), rtol=1e-12)
    rng = np.random.default_rng(0)
    for place, gradient in enumerate(gradients):
        step = 1e-6 * rng.normal(size=np.shape(point[place]))
        ends = []
        for sign in (1, -1):
            x, y, beta = (v + sign * step if k == place else v for k, v in enumerate(point))
            ends.append(reference(x, y, beta=beta))
        slope = (ends[0] - ends[1]) / 2
        np.testing.assert_allclose(jnp.sum(gradient * step), slope, rtol=1e-5, atol=1e-13)


def test_a_bank_of_texts():
    """More texts: negatives of images and not of texts."""
    x, y = Z[:9], Z[9:]

    @jax.jit
    def found(x, y):
        texts = hcl_jax.Bank(STORED, jnp.ones(15, jnp.int32))
        return hcl_jax.clip(x, y, bank=texts, temperature=0.3, implementation="dense")

    to_texts, to_images = x @ jnp.concatenate([y, STORED]).T / 0.3, y @ x.T / 0.3
    wanted = [
        jnp.mean(jax.nn.logsumexp(logits, axis=1) - jnp.diagonal(logits[:, :9]))
        for logits in (to_texts, to_images)
    ]
    np.testing.assert_allclose(found(x, y), sum(wanted) / 2, rtol=1e-5)


@pytest.mark.slow
def test_samples_know_the_bank():
    """One class in the batch and one in the bank: every draw is from the bank."""
    bank = hcl_jax.Bank(jnp.array([[0.0, 1.0]]), jnp.array([1]))
    z, labels = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.zeros(2, jnp.int32)
    loss = functools.partial(hcl_jax.scl, bank=bank, num_negatives=3, key=jax.random.key(0))
    np.testing.assert_allclose(loss(z, labels), np.log1p(np.exp(-1.0)), rtol=1e-6)

    def of_one_device(z, labels, stored):
        return parallel.objective(
            z,
            labels,
            axis_name="devices",
            supervised=True,
            hardening=hardening.no_hardening(),
            bank=hcl_jax.Bank(stored, jnp.array([1])),
            num_negatives=3,
            key=jax.random.key(0),
        )

    shards = z[:, None], labels[:, None], jnp.array([[[0.0, 1.0]], [[0.0, 1.0]]])
    values = jax.vmap(of_one_device, axis_name="devices")(*shards)
    np.testing.assert_allclose(values, np.log1p(np.exp(-1.0)), rtol=1e-6)


@pytest.mark.parametrize(
    ("message", "call"),
    {
        "bank must be a Bank, such as hcl_jax.Bank.*, got a ": lambda: hcl_jax.scl(
            Z, LABELS, bank=STORED
        ),
        "one dimension, got 4 and 3": lambda: hcl_jax.scl(
            Z, LABELS, bank=hcl_jax.Bank(STORED[:, :3], OF_STORED)
        ),
        r"labels of the bank must have shape \(15,\)": lambda: hcl_jax.scl(
            Z, LABELS, bank=hcl_jax.Bank(STORED, LABELS)
        ),
        "labels must not be negative, got -1": lambda: hcl_jax.scl(
            Z, LABELS, bank=hcl_jax.Bank(STORED, OF_STORED - 1)
        ),
        "bank have groups and those of the batch labels alone": lambda: hcl_jax.scl(
            Z, LABELS, bank=hcl_jax.Bank(STORED, OF_STORED, OF_STORED)
        ),
        r"embeddings of the bank must be finite": lambda: hcl_jax.scl(
            Z, LABELS, bank=hcl_jax.Bank(STORED * jnp.nan, OF_STORED)
        ),
        r"pair keys of the embeddings and bank as candidates": lambda: jax.vmap(
            lambda z: losses.sharded_contrastive_loss(
                z, pairs.supervised(pairs.rows(LABELS)), axis_name="devices", bank=STORED
            ),
            axis_name="devices",
        )(Z[None]),
    }.items(),
)
@pytest.mark.usefixtures("unchecked")
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
