"""Pairs against matrices written out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

import hcl_jax
from hcl_jax import pairs

LABELS = jnp.array([0, 0, 1, 1, 1])

SAME_CLASS = [
    [1, 1, 0, 0, 0],
    [1, 1, 0, 0, 0],
    [0, 0, 1, 1, 1],
    [0, 0, 1, 1, 1],
    [0, 0, 1, 1, 1],
]
OTHERS_OF_CLASS = [
    [0, 1, 0, 0, 0],
    [1, 0, 0, 0, 0],
    [0, 0, 0, 1, 1],
    [0, 0, 1, 0, 1],
    [0, 0, 1, 1, 0],
]
OTHER_CLASSES = [
    [0, 0, 1, 1, 1],
    [0, 0, 1, 1, 1],
    [1, 1, 0, 0, 0],
    [1, 1, 0, 0, 0],
    [1, 1, 0, 0, 0],
]
EVERYONE_ELSE = [
    [0, 1, 1, 1, 1],
    [1, 0, 1, 1, 1],
    [1, 1, 0, 1, 1],
    [1, 1, 1, 0, 1],
    [1, 1, 1, 1, 0],
]
EVERYONE = np.ones((5, 5))


def check(found, positives, negatives):
    found_positives, found_negatives = pairs.masks(found)
    np.testing.assert_array_equal(found_positives, np.array(positives, bool))
    np.testing.assert_array_equal(found_negatives, np.array(negatives, bool))


def test_supervised():
    rows = pairs.rows(LABELS)
    check(pairs.supervised(rows), OTHERS_OF_CLASS, OTHER_CLASSES)
    check(pairs.supervised(rows, self_positives=True), SAME_CLASS, OTHER_CLASSES)


@pytest.mark.parametrize("self_positives", [False, True])
@pytest.mark.parametrize("self_negatives", [False, True])
def test_unsupervised(self_positives, self_negatives):
    found = pairs.unsupervised(
        pairs.rows(LABELS), self_positives=self_positives, self_negatives=self_negatives
    )
    positives = SAME_CLASS if self_positives else OTHERS_OF_CLASS
    check(found, positives, EVERYONE if self_negatives else EVERYONE_ELSE)


def test_two_views_of_each_image():
    # Images 0, 1, 2 of classes 0, 0, 1; their second views follow.
    rows = pairs.rows(jnp.array([0, 0, 1, 0, 0, 1]), groups=jnp.array([0, 1, 2, 0, 1, 2]))
    other_view = [
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
    ]
    other_class = [
        [0, 0, 1, 0, 0, 1],
        [0, 0, 1, 0, 0, 1],
        [1, 1, 0, 1, 1, 0],
        [0, 0, 1, 0, 0, 1],
        [0, 0, 1, 0, 0, 1],
        [1, 1, 0, 1, 1, 0],
    ]
    check(pairs.supervised(rows), other_view, other_class)
    check(pairs.unsupervised(rows), other_view, 1 - np.eye(6))


@pytest.mark.parametrize("make", [pairs.supervised, pairs.unsupervised])
def test_a_shard_against_the_batch_is_rows_of_the_whole(make):
    shard = pairs.rows(LABELS[2:4], first=2)
    whole = pairs.masks(make(pairs.rows(LABELS)))
    both = make(shard, pairs.rows(LABELS), same_batch=True)
    for found, expected in zip(pairs.masks(both), whole, strict=True):
        np.testing.assert_array_equal(found, expected[2:4])


@pytest.mark.parametrize("ignored_negatives", [False, True])
def test_who_takes_part(ignored_negatives):
    """A row without a label is no anchor; one without a group is an anchor of negatives only."""
    # Row 2 has no label, row 4 no group.
    rows = pairs.rows(jnp.array([0, 0, -1, 1, 1]), groups=jnp.zeros(5, int), ignore_label=-1)
    rows = rows._replace(grouped=jnp.arange(5) != 4)
    positives = [
        [0, 1, 0, 1, 0],
        [1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    seen = int(ignored_negatives)
    other_classes = [
        [0, 0, seen, 1, 1],
        [0, 0, seen, 1, 1],
        [0, 0, 0, 0, 0],
        [1, 1, seen, 0, 0],
        [1, 1, seen, 0, 0],
    ]
    everyone_else = [
        [0, 1, seen, 1, 1],
        [1, 0, seen, 1, 1],
        [0, 0, 0, 0, 0],
        [1, 1, seen, 0, 1],
        [1, 1, seen, 1, 0],
    ]
    for make, negatives in [(pairs.supervised, other_classes), (pairs.unsupervised, everyone_else)]:
        check(make(rows, ignored_negatives=ignored_negatives), positives, negatives)
        of_two = make(rows, rows, same_batch=True, ignored_negatives=ignored_negatives)
        check(of_two, positives, negatives)


def test_rows_without_a_group_that_all_have_labels():
    rows = pairs.rows(LABELS)._replace(grouped=jnp.arange(5) > 0)
    no_first = np.array(OTHERS_OF_CLASS) * np.outer(np.arange(5) > 0, np.arange(5) > 0)
    check(pairs.supervised(rows), no_first, OTHER_CLASSES)
    check(pairs.unsupervised(rows), no_first, EVERYONE_ELSE)


@pytest.mark.parametrize("self_positives", [False, True])
def test_two_sets_with_the_same_ids(self_positives):
    """Row i of the second set is the other view of row i of the first, and a negative of it."""
    ids = jnp.array([4, 7, 9])
    other = pairs.unsupervised(pairs.rows(ids), pairs.rows(ids), self_positives=self_positives)
    check(other, np.eye(3), np.ones((3, 3)))
    apart = pairs.unsupervised(pairs.rows(ids), pairs.rows(ids, first=3))
    check(apart, np.eye(3), np.ones((3, 3)))
    check(pairs.supervised(pairs.rows(ids), pairs.rows(ids)), np.eye(3), 1 - np.eye(3))
    same = pairs.unsupervised(pairs.rows(ids), pairs.rows(ids), same_batch=True)
    check(same, np.zeros((3, 3)), 1 - np.eye(3))


NO_CLASS = jnp.array([0, 0, 1, 1, -1, -1])


def test_rows_without_a_label_are_no_class():
    """Where labels decide who pairs with whom; with groups of its own, a row needs none."""
    message = r"labels must not be negative, got -1 at position 4 \(2 negative\)"
    with pytest.raises(ValueError, match=message):
        pairs.rows(NO_CLASS)
    unlabelled = pairs.rows(NO_CLASS, groups=jnp.arange(6) // 2)
    with pytest.raises(ValueError, match=message):
        pairs.supervised(unlabelled)
    with pytest.raises(ValueError, match=message):
        pairs.supervised(pairs.rows(jnp.abs(NO_CLASS)), unlabelled)
    views = np.kron(np.eye(3), 1 - np.eye(2))
    check(pairs.unsupervised(unlabelled), views, 1 - np.eye(6))


def test_errors(unchecked):
    with pytest.raises(ValueError, match=r"labels must have shape \(0,\).*got shape \(\)"):
        pairs.rows(jnp.array(3))
    with pytest.raises(TypeError, match="labels must be integers, got dtype float32"):
        pairs.rows(jnp.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"groups must have shape \(5,\)"):
        pairs.rows(LABELS, groups=jnp.array([0]))


def test_unsigned_integers_that_int32_takes_for_negative_are_refused(unchecked):
    """2**32 - 1 in uint32 is the -1 of int32 where keys of two sets are compared."""
    labels = np.array([0, 2**32 - 1], np.uint32)
    with pytest.raises(ValueError, match="labels must fit in int32"):
        pairs.rows(labels)
    with pytest.raises(ValueError, match="groups must fit in int32"):
        pairs.rows(np.arange(2), groups=jnp.asarray(labels))


@pytest.mark.parametrize("loss", [hcl_jax.scl, hcl_jax.ucl])
def test_the_objectives_take_any_unsigned_integers(unchecked, loss):
    z = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    labels = jnp.array([2**32 - 1, 2**32 - 1, 5, 5], jnp.uint32)
    assert loss(z, labels) == loss(z, jnp.array([1, 1, 0, 0]))
