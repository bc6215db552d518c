"""Balanced batches: what is in a batch, what an epoch covers, and that all rows are drawn alike."""

import functools
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hcl_jax import training
from hcl_jax.data import class_balanced_batches

DRAWS = 24000
# A correct sampler fails a test of this level once in 10,000 seeds; the wrong ones are far beyond.
LEVEL = 1e-4
SIZES = {"equal": (12, 12, 12, 12), "uneven": (13, 14, 15, 12), "long tail": (40, 17, 5, 3)}


def labels_of(sizes, seed=0):
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return np.random.default_rng(seed).permutation(labels)


def epoch(seed, labels, **options):
    options = {"num_classes": 4, "per_class": 3} | options
    return np.asarray(class_balanced_batches(jax.random.key(seed), labels, **options))


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_batch_has_as_many_rows_of_each_of_its_classes(sizes, classes):
    labels = labels_of(sizes)
    batches = epoch(1, labels, classes_per_batch=classes)
    assert batches.shape == (sum(sizes) // (3 * classes), 3 * classes)
    for batch in batches:
        assert len(set(batch.tolist())) == len(batch)
        rounds = labels[batch].reshape(3, classes)
        assert len(set(rounds[0].tolist())) == classes
        assert (rounds == rounds[0]).all(), "a part of a batch is balanced too"


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_an_epoch_covers_classes_evenly_and_repeats_rows_only_where_it_must(sizes, classes):
    labels = labels_of(sizes)
    batches = epoch(2, labels, classes_per_batch=classes)
    visits = np.bincount(labels[batches[:, :classes]].ravel(), minlength=len(sizes))
    mean = len(batches) * classes / len(sizes)
    assert set(visits.tolist()) <= {math.floor(mean), math.ceil(mean)}
    times = np.bincount(batches.ravel(), minlength=len(labels))
    for number, (size, count) in enumerate(zip(sizes, visits, strict=True)):
        passes = count / (size // 3)
        of_class = times[labels == number]
        assert of_class.max() <= math.ceil(passes)
        if size % 3 == 0:
            assert of_class.min() >= math.floor(passes)


def test_an_epoch_of_equal_classes_has_every_row_once():
    labels = labels_of(SIZES["equal"])
    np.testing.assert_array_equal(np.sort(epoch(3, labels).ravel()), np.arange(48))


def test_all_orders_of_a_class_are_as_likely_in_every_pass():
    """Four rows in two passes of two: 24 orders of the first pass, and of the second after it."""
    keys = jax.random.split(jax.random.key(4), DRAWS)
    draw = functools.partial(
        class_balanced_batches, labels=jnp.zeros(4, int), num_classes=1, per_class=2, steps=4
    )
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: draw(key)))(keys)).reshape(DRAWS, 2, 4)
    orders = list(itertools.permutations(range(4)))
    number_of = np.zeros((4, 4, 4, 4), int)
    number_of[tuple(np.transpose(orders))] = np.arange(24)
    first, second = (number_of[tuple(drawn[:, i].T)] for i in range(2))
    for table in (np.bincount(first, minlength=24), np.bincount(second, minlength=24)):
        assert stats.chisquare(table).pvalue > LEVEL
    together = np.bincount(24 * first + second, minlength=24**2)
    assert stats.chisquare(together).pvalue > LEVEL, "a pass does not depend on the one before"


def test_all_sets_of_classes_are_as_likely_and_rows_do_not_depend_on_sizes():
    """Two of four classes: the first batch is one of six sets, the second is of the other two."""
    labels = jnp.asarray(labels_of((3, 4, 5, 8)))
    keys = jax.random.split(jax.random.key(5), DRAWS)
    draw = functools.partial(
        class_balanced_batches, num_classes=4, per_class=2, classes_per_batch=2, steps=2
    )
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: draw(key, labels)))(keys))
    classes = np.asarray(labels)[drawn[:, :, :2]]
    assert (np.sort(classes.reshape(DRAWS, 4), axis=1) == np.arange(4)).all()
    sets = (1 << classes[:, 0]).sum(axis=1)
    seen = np.unique(sets, return_counts=True)[1]
    assert len(seen) == 6
    assert stats.chisquare(seen).pvalue > LEVEL
    for number in range(4):
        rows = drawn[np.asarray(labels)[drawn] == number]
        times = np.unique(rows, return_counts=True)[1]
        # Counts of two draws without replacement vary (k - 2) / (k - 1) times as multinomial ones.
        size = len(times)
        spread = np.square(times - times.mean()).sum() / times.mean() * (size - 1) / (size - 2)
        assert stats.chi2.sf(spread, size - 1) > LEVEL


def test_a_key_gives_one_epoch_traced_or_not_and_another_key_another():
    labels = labels_of(SIZES["uneven"])
    once, again = epoch(6, labels), epoch(6, jnp.asarray(labels))
    traced = jax.jit(
        lambda key, labels: class_balanced_batches(key, labels, num_classes=4, per_class=3)
    )
    chex.assert_trees_all_equal(once, again, np.asarray(traced(jax.random.key(6), labels)))
    assert (once != epoch(7, labels)).any()


def test_training_balances_its_batches_and_a_resumed_epoch_is_the_same():
    labels = labels_of(SIZES["long tail"])
    program = training.Program(None, None, 9, balance=training.ClassBalance(3, 4))
    state = training.TrainState(None, None, jnp.int32(14), jax.random.key(8))
    batches = np.asarray(training.epoch_batches(state, labels, program))
    assert batches.shape == (7, 9)
    assert all((np.unique(labels[b], return_counts=True)[1] == 3).all() for b in batches)
    chex.assert_trees_all_equal(batches, np.asarray(training.epoch_batches(state, labels, program)))
    later = state._replace(step=jnp.int32(21))
    assert (batches != training.epoch_batches(later, labels, program)).any()
    with pytest.raises(ValueError, match="batch_size must be a multiple of the 3 images of each"):
        training.epoch_batches(state, labels, program._replace(batch_size=10))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 0, 1], {"per_class": 2}, "class 1 has 1 .1 of 2 classes have fewer"),
        ([0, 0, 2, 2], {"num_classes": 3, "per_class": 1}, "class 1 has 0"),
        ([0, 0, -1, 1], {"per_class": 1}, "labels must not be negative"),
        ([0, 1, 2], {"num_classes": 2, "per_class": 1}, r"labels must lie in 0\.\.1"),
        ([0, 1], {"per_class": 1, "classes_per_batch": 3}, "at most the 2 classes, got 3"),
        ([0, 1], {"per_class": 0}, "per_class must be at least 1"),
        ([0, 1], {"per_class": 1, "classes_per_batch": 0}, "classes_per_batch must be at least 1"),
        ([0, 1], {"per_class": 1, "steps": 0}, "steps must be at least 1"),
        ([], {"num_classes": 2, "per_class": 1}, "class 0 has 0"),
        ([[0], [1]], {"per_class": 1}, "labels must have shape"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_balanced_is_refused(labels, options, message):
    with pytest.raises(ValueError, match=message):
        epoch(0, np.array(labels, np.int32), **({"num_classes": 2} | options))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0.0, 1.0], {}, "labels must be integers"),
        ([0, 1], {"per_class": 1.0}, "per_class must be an integer"),
        ([0, 1], {"num_classes": "2"}, "num_classes must be an integer"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_other_types_are_refused(labels, options, message):
    with pytest.raises(TypeError, match=message):
        epoch(0, np.array(labels), **({"num_classes": 2, "per_class": 1} | options))


def test_traced_labels_still_need_rows_for_a_batch():
    with pytest.raises(ValueError, match="takes 6 rows, got 5"):
        jax.eval_shape(
            lambda labels: class_balanced_batches(
                jax.random.key(0), labels, num_classes=2, per_class=3
            ),
            jax.ShapeDtypeStruct((5,), jnp.int32),
        )
