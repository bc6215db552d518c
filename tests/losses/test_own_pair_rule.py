"""Pair rules of one's own in every form of the loss, against loops over the pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import batch
from references.loss_forms import FORMS, every_pair

import hcl_jax
from hcl_jax import PairRule, hardening, losses, pairs, psi

Z, LABELS, _ = batch(count=18, dim=4, classes=4)
STORED, _, _ = batch(count=6, dim=4, seed=1)
RNG = np.random.default_rng(0)
KEYS = {"video": jnp.asarray(RNG.integers(0, 3, 18)), "time": jnp.asarray(RNG.uniform(0, 9, 18))}
OF_STORED = {"video": jnp.asarray(RNG.integers(0, 3, 6)), "time": jnp.asarray(np.arange(6.0))}
BITS = jnp.asarray(RNG.integers(0, 4, 18), jnp.uint8)
GROUPS = jnp.arange(18) % 6


def soon_after(anchors, candidates):
    """Asymmetric: candidates that follow within a window of the same video."""
    later = candidates["time"] - anchors["time"]
    return (anchors["video"] == candidates["video"]) & (later > 0) & (later < 4)


def elsewhere_or_before(anchors, candidates):
    before = candidates["time"] < anchors["time"] - 1
    return (anchors["video"] != candidates["video"]) | before


def all_labels_shared(anchors, candidates):
    return (anchors & candidates) == anchors


WINDOWS = PairRule(soon_after, elsewhere_or_before)
SHARED = PairRule(all_labels_shared)


CASES = {
    "windows": (WINDOWS, KEYS, True, {}),
    "windows, everyone": (WINDOWS, KEYS, False, {}),
    "windows and a bank": (WINDOWS, KEYS, True, {"bank": hcl_jax.Bank(STORED, OF_STORED)}),
    "all labels shared": (SHARED, BITS, True, {}),
    "negatives of the rule": (WINDOWS, KEYS, True, {"groups": GROUPS}),
}
QUICK = {("windows", "blockwise"), ("windows and a bank", "ring"), ("all labels shared", "dense")}


def looped(z, case, beta):
    """The mean over pairs in loops, with the sum over negatives."""
    rule, keys, supervised, more = CASES[case]
    everyone = z
    if "bank" in more:
        everyone = np.concatenate([z, np.asarray(STORED, np.float64)])
        keys = jax.tree.map(lambda *parts: np.concatenate(parts), keys, OF_STORED)

    def of(row):
        return jax.tree.map(lambda key: np.asarray(key)[row], keys)

    total, count = 0.0, 0
    for i in range(len(z)):
        others = [j for j in range(len(everyone)) if j != i]
        if "groups" in more:
            positives = [j for j in others if GROUPS[i] == GROUPS[j]]
        else:
            positives = [j for j in others if rule.is_positive(of(i), of(j))]
        negatives = [j for j in others if not supervised or negative(rule, of(i), of(j))]
        if not positives or not negatives:
            continue
        tilt = np.exp(beta * everyone[negatives] @ z[i])
        mean = tilt @ np.exp(everyone[negatives] @ z[i]) / tilt.sum()
        terms = [np.log1p(len(negatives) * mean * np.exp(-z[i] @ everyone[p])) for p in positives]
        total, count = total + sum(terms), count + len(terms)
    return total / count


def negative(rule, a, c):
    return not rule.is_positive(a, c) if rule.is_negative is None else rule.is_negative(a, c)


@pytest.mark.parametrize(
    ("case", "form"),
    every_pair(CASES, FORMS, QUICK),
)
@pytest.mark.usefixtures("x64")
def test_every_form_is_the_loop(case, form):
    rule, keys, supervised, more = CASES[case]
    z = jnp.float64(Z)
    if "bank" in more:
        more = {"bank": more["bank"]._replace(embeddings=jnp.float64(STORED))}

    def loss(z):
        return FORMS[form](
            z,
            {"labels": keys, **more},
            supervised=supervised,
            pair_rule=rule,
            hardening=hardening.exponential(2.0),
            psi=psi.infonce(q="k"),
            stop_gradient_hardening=False,
        )

    value, gradient = jax.jit(jax.value_and_grad(loss))(z)
    np.testing.assert_allclose(value, looped(np.asarray(z), case, 2.0), rtol=1e-12)
    towards, step = np.random.default_rng(2).normal(size=z.shape), 1e-6
    ahead, behind = (looped(np.asarray(z) + t * towards, case, 2.0) for t in (step, -step))
    slope = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(jnp.sum(gradient * towards), slope, rtol=1e-6)


def same(anchors, candidates):
    return anchors == candidates


def other(anchors, candidates):
    return anchors != candidates


def everyone(anchors, candidates):
    return jnp.array(True)


def test_the_rule_of_labels_is_what_labels_say():
    """The rows of classes, of views, and a sum over negatives that contains the positives."""
    rule = PairRule(same)

    @jax.jit
    def both(z):
        views = z.reshape(9, 2, 4)
        return (
            (hcl_jax.nt_xent(z, LABELS, pair_rule=rule), hcl_jax.nt_xent(z, LABELS)),
            (hcl_jax.supcon(z, LABELS, pair_rule=rule), hcl_jax.supcon(z, LABELS)),
            (
                hcl_jax.supcon(views, {"y": LABELS[:9]}, pair_rule=PairRule(same_y)),
                hcl_jax.supcon(views, LABELS[:9]),
            ),
        )

    for found, wanted in both(Z):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    overlapping = pairs.rows_by_rule(PairRule(same, everyone, overlapping=True), LABELS)
    for found, wanted in zip(
        pairs.masks(pairs.supervised(overlapping)),
        pairs.masks(pairs.unsupervised(pairs.rows(LABELS))),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)


def same_y(anchors, candidates):
    return anchors["y"] == candidates["y"]


@pytest.mark.slow
def test_draws_follow_the_rule():
    """Every draw of the first anchor is the last row, its only negative."""
    rule = PairRule(same, lambda a, c: c == a + 2)
    keys = pairs.supervised(pairs.rows_by_rule(rule, jnp.array([0, 0, 1, 2])))
    z = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.0, 1.0]])
    found = losses.sampled_contrastive_loss(jax.random.key(0), z, keys, num_negatives=3)
    np.testing.assert_allclose(found.total[0], np.log1p(np.exp(-0.6)), rtol=1e-6)


@jax.jit
def closing_over(number):
    return hcl_jax.scl(Z, LABELS, pair_rule=PairRule(lambda a, c: a == c + number))


def given(rule, keys=LABELS, **options):
    return lambda: hcl_jax.scl(Z, keys, pair_rule=rule, **options)


@pytest.mark.parametrize(
    ("message", "call"),
    {
        "both true of 306 pairs, the first of anchor 0": given(PairRule(everyone, everyone)),
        "must be a PairRule, such as hcl_jax.PairRule.*, got a tuple": given((same, other)),
        "is_positive of the pair rule must be a function": given(PairRule(LABELS)),
        "must return booleans, got dtype int32": given(PairRule(lambda a, c: a - c)),
        "must return booleans, got dict": given(PairRule(lambda a, c: {"yes": a == c})),
        r"broadcasts to \(2, 3, 4\) .* got shape \(3, 4, 1\)": given(
            PairRule(same, lambda a, c: (a != c)[0, :, :, None])
        ),
        "must be written with jax.numpy": given(PairRule(lambda a, c: a == c if a > 0 else c < 0)),
        "must compare every pair by its own keys": given(
            PairRule(same, lambda a, c: (a != c) & (c < c.max()))
        ),
        "closes over numbers that are traced; give them as keys": lambda: closing_over(1),
        r"arrays \(n,\) of one length": given(PairRule(same), {"y": LABELS, "x": LABELS[1:]}),
        "columns of a matrix one by one": given(PairRule(same), Z),
        "needs keys of the rows in the place of labels, got none": given(PairRule(same), ()),
        "each key of a pair rule must be a NumPy or JAX array": given(PairRule(same), ("text",)),
        "must fit in int32": given(PairRule(same), np.arange(18) + 2**40),
        "must be a function that has a hash": given(
            PairRule(type("F", (), {"__hash__": None, "__call__": same})())
        ),
        "must have shape .18,., one for each embedding": given(PairRule(same), LABELS[1:]),
        "a pair rule says itself": given(PairRule(same), ignore_label=-1),
        "clip pairs row i with row i": lambda: hcl_jax.clip(Z, Z, pair_rule=PairRule(same)),
        "the bank needs keys": given(PairRule(same), bank=hcl_jax.Bank(STORED)),
        "keys of the same names": given(
            PairRule(same_y),
            {"y": LABELS, "x": LABELS},
            bank=hcl_jax.Bank(STORED, {"y": LABELS[:6]}),
        ),
        'implementation="blockwise" serves them': given(PairRule(same), implementation="pallas"),
        "must have one pair rule": lambda: pairs.supervised(
            pairs.rows_by_rule(PairRule(same), LABELS), pairs.rows(LABELS)
        ),
        "overlapping of the pair rule must be one of": given(PairRule(same, None, "yes")),
    }.items(),
)
@pytest.mark.usefixtures("unchecked")
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        call()
