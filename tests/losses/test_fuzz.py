"""Thousands of random small batches in every form, against a loop in float64 NumPy.

The loop is written from the formula at the head of `hcl_jax.losses.contrastive`. Its derivative is
taken by a complex step, ``f'(x) = Im f(x + ih) / h`` with h = 1e-30, so that no gradient written by
hand is compared with another. Of the samples estimator batches are tried whose draws are certain:
the weight of all negatives but the hardest is 0 in float32.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from hcl_jax import hardening, losses, pairs, psi

BATCHES = 64
PROGRAMS = 4
STEP = 1e-30
CERTAIN = 1e9
"""A beta at which gaps of 2e-7 between similarities are weights of 0 in float32."""

DRAWS = 5

FORMS = ("dense", "blockwise", "two sets", "two sets, blockwise", "gather", "ring")
SAMPLES = ("samples", "samples of two sets", "samples over devices")
OVER_DEVICES = ("gather", "ring", "samples over devices")
PSIS = ("infonce", "infonce, q=k", "triplet_sum", "squared_hinge", "logistic_sum", "linear")
HARDENINGS = ("none", "exponential", "threshold", "relu_power", "sigmoid")
DEVICES = 3


class Program(NamedTuple):
    """What is fixed when a loss is compiled."""

    form: str
    psi: str
    hardening: str
    supervised: bool
    self_positives: bool
    self_negatives: bool
    detached: bool
    rows: int
    candidates: int
    dim: int


class Batch(NamedTuple):
    """What varies from batch to batch: arrays, or an array of each for several batches."""

    anchors: Any
    candidates: Any
    labels: Any
    groups: Any
    other_labels: Any
    other_groups: Any
    weights: Any
    numbers: Any


def draw_program(rng, form):
    infonce = ("infonce", "infonce, q=k")
    kinds = infonce if form in ("gather", "ring") else PSIS
    supervised = bool(rng.integers(2))
    rows = int(rng.choice([1, 2, 3, 5, 9]))
    if form in OVER_DEVICES:
        rows = DEVICES * int(rng.choice([1, 2, 4]))
    return Program(
        form,
        str(rng.choice(kinds)),
        "certain" if form in SAMPLES else str(rng.choice(HARDENINGS)),
        supervised,
        bool(rng.integers(2)),
        not supervised and bool(rng.integers(2)),
        form in SAMPLES or bool(rng.integers(2)),
        rows,
        int(rng.choice([1, 4, 7])) if "two sets" in form else rows,
        int(rng.choice([2, 5] if form in SAMPLES else [1, 2, 5])),
    )


def draw_batch(rng, program):
    def features(rows):
        x = rng.normal(size=(rows, program.dim))
        sampled = program.form in SAMPLES  # whose draws are random where similarities are equal
        x *= rng.choice([1.0, 1.0, 1.0, 1.0 if sampled else 0.01, 3.0]) / np.linalg.norm(
            x, axis=1, keepdims=True
        )
        for _ in range(0 if sampled else rng.integers(3)):  # zero rows and copies
            x[rng.integers(rows)] = rng.choice([0.0, -0.0]) if rng.integers(2) else x[0]
        return x.astype(np.float32).astype(np.float64)

    def keys(rows, classes):
        return rng.integers(0, classes, rows).astype(np.int32)

    classes, count, others = rng.integers(1, 5), program.rows, program.candidates
    labels, other_labels = keys(count, classes), keys(others, classes)
    own_groups = bool(rng.integers(2))
    number = rng.uniform([0.1, 0.2, 0.3, -0.7], [3.0, 2.0, 8.0, 0.5])
    return Batch(
        features(count),
        features(others),
        labels,
        keys(count, 3) if own_groups else labels,
        other_labels,
        keys(others, 3) if own_groups else other_labels,
        rng.uniform(0.5, 1.0, count),
        number.astype(np.float32).astype(np.float64),  # alpha, temperature or scale, beta, level
    )


def logaddexp(x, y):
    top = np.maximum(x.real, y.real)
    return top + np.log(np.exp(x - top) + np.exp(y - top))


def softplus(x):
    return logaddexp(x, np.zeros_like(x))


def relu(x):
    return np.where(x.real > 0, x, 0)


def mean_loss(program, numbers, positive, similarities, log_eta, count):
    """The limit of infinitely many draws for one pair: the formula at the head of the module."""
    alpha, scale = numbers[:2]
    kind, draws = program.psi, DRAWS if program.form in SAMPLES else 1
    top = log_eta.real.max(axis=-1, keepdims=True)
    eta = np.exp(log_eta - top)
    share = eta / eta.sum(axis=-1, keepdims=True)
    v = similarities - positive[..., None]
    if kind.startswith("infonce"):
        largest = v.real.max(axis=-1, keepdims=True) / scale
        x = np.log((share * np.exp(v / scale - largest)).sum(axis=-1)) + largest[..., 0]
        q = (count if draws == 1 else draws) if kind == "infonce, q=k" else 1.0
        return logaddexp(np.full_like(x, np.log(alpha)), np.log(q) + x)
    terms = {
        "triplet_sum": lambda: relu(v + alpha),
        "squared_hinge": lambda: relu(v + alpha) ** 2,
        "logistic_sum": lambda: softplus(scale * v),
        "linear": lambda: v,
    }
    number = 1 if kind == "linear" else draws
    return number * (share * terms[kind]()).sum(axis=-1)


def log_factor(kind, numbers, similarities):
    beta, level = numbers[2:]
    base = similarities.real + level
    shifted = np.where(base > 0, similarities + level, 1)
    return {
        "none": lambda: np.zeros_like(similarities),
        "exponential": lambda: beta * similarities,
        "certain": lambda: CERTAIN * similarities,
        "threshold": lambda: np.where(similarities.real >= level, 0, -np.inf) + 0j,
        "relu_power": lambda: np.where(base > 0, beta * np.log(shifted), -np.inf),
        "sigmoid": lambda: -softplus(-beta * (similarities - level)),
    }[kind]()


def is_pair(program, batch, i, j):
    """Whether candidate j is a positive, and a negative, of anchor i."""
    apart = "two sets" in program.form
    labels = batch.other_labels if apart else batch.labels
    groups = batch.other_groups if apart else batch.groups
    itself = i == j and not apart
    positive = batch.groups[i] == groups[j] and (not itself or program.self_positives)
    if program.supervised:
        return positive, batch.labels[i] != labels[j]
    return positive, not itself or program.self_negatives


def expected_totals(program, batch, x, y):
    """Losses of anchors (.., rows), and which pairs are positives, of (.., rows, dim) arrays."""
    similarities = np.einsum("...nd,...md->...nm", x, y)
    totals = np.zeros(x.shape[:-1], complex)
    positives = np.zeros(program.rows, int)
    for i in range(program.rows):
        which = [is_pair(program, batch, i, j) for j in range(program.candidates)]
        chosen = [j for j, (positive, _) in enumerate(which) if positive]
        others = [j for j, (_, negative) in enumerate(which) if negative]
        s = similarities[..., i, others]
        log_eta = log_factor(
            program.hardening, batch.numbers, np.real(s) + 0j if program.detached else s
        )
        if not chosen or not np.isfinite(log_eta).any():
            continue
        for p in chosen:
            totals[..., i] += mean_loss(
                program, batch.numbers, similarities[..., i, p], s, log_eta, len(others)
            )
        positives[i] = len(chosen)
    return totals, positives


def expected(program, batch):
    """The loss of every anchor, the numbers of positives, and gradients of the weighted sum."""
    x, y = batch.anchors + 0j, batch.candidates + 0j
    one_set = "two sets" not in program.form
    totals, positives = expected_totals(program, batch, x, x if one_set else y)
    gradients = []
    for side in range(1 if one_set else 2):
        moved = (x, y)[side]
        steps = STEP * 1j * np.eye(moved.size).reshape(moved.size, *moved.shape)
        sets = [x + steps, x + steps if one_set else y[None]] if side == 0 else [x[None], y + steps]
        sets = [np.broadcast_to(z, (moved.size, *z.shape[1:])) for z in sets]
        slopes = expected_totals(program, batch, *sets)[0].imag / STEP
        gradients.append((slopes @ batch.weights).reshape(moved.shape))
    return np.real(totals), positives, gradients


def found_losses(program, batch):
    """The losses of the package for one batch of traced numbers."""
    alpha, scale, beta, level = batch.numbers
    function = {
        "infonce": lambda: psi.infonce(alpha=alpha, temperature=scale),
        "infonce, q=k": lambda: psi.infonce(alpha=alpha, q="k", temperature=scale),
        "triplet_sum": lambda: psi.triplet_sum(margin=alpha),
        "squared_hinge": lambda: psi.squared_hinge(margin=alpha),
        "logistic_sum": lambda: psi.logistic_sum(scale=scale),
        "linear": psi.linear,
    }[program.psi]()
    eta = {
        "none": hardening.no_hardening,
        "exponential": lambda: hardening.exponential(beta),
        "certain": lambda: hardening.exponential(CERTAIN),
        "threshold": lambda: hardening.threshold(level),
        "relu_power": lambda: hardening.relu_power(level, beta),
        "sigmoid": lambda: hardening.sigmoid(beta, level),
    }[program.hardening]()
    options = {"psi": function, "hardening": eta, "stop_gradient_hardening": program.detached}
    if program.form in SAMPLES:
        options["num_negatives"] = DRAWS

    def pairing(labels, groups, others=None, first: Any = 0):
        rows = pairs.rows(labels, groups=groups, first=first)
        if program.supervised:
            return pairs.supervised(rows, others, self_positives=program.self_positives)
        return pairs.unsupervised(
            rows,
            others,
            self_positives=program.self_positives,
            self_negatives=program.self_negatives,
        )

    x, y = batch.anchors, batch.candidates
    if program.form in OVER_DEVICES:
        keys = pairing(batch.labels, batch.groups, first=jax.lax.axis_index("devices") * len(x))
        if program.form in SAMPLES:
            return losses.sharded_sampled_contrastive_loss(
                jax.random.key(0), x, keys, axis_name="devices", **options
            )
        return losses.sharded_contrastive_loss(
            x, keys, axis_name="devices", exchange=program.form, **options
        )
    others = None
    if "two sets" in program.form:
        others = pairs.rows(batch.other_labels, groups=batch.other_groups)
    arguments = (x, pairing(batch.labels, batch.groups, others), y if others else None)
    if program.form in SAMPLES:
        return losses.sampled_contrastive_loss(jax.random.key(0), *arguments, **options)
    blockwise = "blockwise" in program.form
    return losses.contrastive_loss(
        *arguments, implementation="blockwise" if blockwise else "dense", **options
    )


def found(program, batches):
    """Losses and gradients of several batches, one after the other in one program."""

    def of_rows(batch):
        def total(x, y):
            parts = found_losses(program, batch._replace(anchors=x, candidates=y))
            return parts.total @ batch.weights, parts

        (_, parts), gradients = jax.value_and_grad(total, (0, 1), has_aux=True)(
            batch.anchors, batch.candidates
        )
        return parts, gradients

    def of_shards(batch):
        shards = jax.tree.map(
            lambda a: a.reshape(DEVICES, -1, *a.shape[1:]), batch._replace(numbers=None)
        )
        outputs = jax.vmap(
            lambda shard: of_rows(shard._replace(numbers=batch.numbers)), axis_name="devices"
        )(shards)
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), outputs)

    of_one = of_shards if program.form in OVER_DEVICES else of_rows
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
    narrow = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == float else a, stacked)
    return jax.tree.map(np.asarray, jax.jit(lambda b: jax.lax.map(of_one, b))(narrow))


def nudged(rng, program, batch):
    """The batch with every number of its embeddings moved by up to the rounding of float32."""

    def nudge(x):
        return x * (1 + 2.0**-24 * rng.uniform(-1, 1, x.shape))

    return batch._replace(anchors=nudge(batch.anchors), candidates=nudge(batch.candidates))


def faults(rng, program, batches):
    """What differs from the loop by more than rounding, in words.

    Float32 gives the exact result of numbers a few roundings away, so a result may differ by a few
    times what such a nudge changes in it: 32 is for sums of up to 12 products of up to 5 terms. And
    the logarithms k of weights are rounded: k is at most (beta + 1 / temperature) norm^2, a weight
    exp(k - a) has the absolute rounding of k as relative one, and enters the gradient of each pair
    by a factor of at most (beta + 1 / temperature) norm.
    """
    parts, gradients = found(program, batches)
    for k, batch in enumerate(batches):
        totals, positives, slopes = expected(program, batch)
        others = [expected(program, nudged(rng, program, batch)) for _ in range(2)]
        norm = max(np.abs(z).max() for z in (batch.anchors, batch.candidates, np.ones(1)))
        slope = batch.numbers[2] + max(1 / batch.numbers[1], batch.numbers[1], 1)
        rounding = 2.0**-24 * (1 + slope * norm**2) * slope * norm * positives.max(initial=0)
        names = ("total", "gradient of anchors", "gradient of candidates")
        results = zip(names, (parts.total, *gradients), (totals, *slopes), strict=False)
        if (parts.positives[k] != positives).any() or (parts.defined[k] != (positives > 0)).any():
            yield f"{program}, batch {k}: positives {parts.positives[k]} for {positives}"
        for name, got, wanted in results:
            spread = [(o[0], *o[2])[names.index(name)] - wanted for o in others]
            allowed = 32 * np.max(np.abs(spread)) + 8 * rounding
            error = np.max(np.abs(got[k] - wanted))
            if not error <= allowed:
                yield f"{program}, batch {k}: {name} off by {error:.3g}, {allowed:.3g} allowed"


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS + SAMPLES)
def test_values_and_gradients_are_those_of_the_loop(form):
    rng = np.random.default_rng([FORMS.index(form) if form in FORMS else 10, len(form)])
    found_faults = []
    for _ in range(PROGRAMS):
        program = draw_program(rng, form)
        batches = [draw_batch(rng, program) for _ in range(BATCHES)]
        found_faults += faults(rng, program, batches)
    assert not found_faults, "\n".join(found_faults)
