"""Synthetic and bundled data sets: balance, the laws they claim, the same key the same bits."""

import jax
import numpy as np
import pytest

from hcl_jax import data


def test_gaussian_classes_have_the_law_they_claim():
    found = data.gaussian_classes(
        jax.random.key(0), num_classes=40, classes_per_group=4, dim=200, train_per_class=50
    )
    images, labels = np.asarray(found.train.images), np.asarray(found.train.labels)
    np.testing.assert_array_equal(np.bincount(labels), np.full(40, 50))
    means = np.array([images[labels == c].mean(axis=0) for c in range(40)])
    # Each of these is a mean over at least 10 x 200 independent squares: 5 standard errors are
    # below 5 sqrt(2 / 2000) = 16 %.
    noise = (images - means[labels]).std() * np.sqrt(50 / 49)
    np.testing.assert_allclose(noise, 0.3, rtol=0.02)
    groups = means.reshape(10, 4, 200).mean(axis=1)
    offsets = means.reshape(10, 4, 200) - groups[:, None]
    np.testing.assert_allclose(offsets.var() * 4 / 3, 0.5**2 + 0.3**2 / 50, rtol=0.16)
    np.testing.assert_allclose(groups.var(), 3**2 + 0.5**2 / 4, rtol=0.16)


def test_flat_classes_are_all_far_apart():
    found = data.gaussian_classes(jax.random.key(0), classes_per_group=1, noise=0.0)
    points = np.unique(np.asarray(found.train.images), axis=0)
    assert len(points) == 20
    distances = np.linalg.norm(points[:, None] - points, axis=2)[~np.eye(20, dtype=bool)]
    assert distances.min() > 0.5 * np.sqrt(2 * (3**2 + 0.5**2) * 64)


def test_class_means_of_a_group_share_their_centre():
    means = np.asarray(
        data.gaussian_class_means(
            jax.random.key(0), num_classes=5, dim=4, classes_per_group=3, class_scale=0.0
        )
    )
    assert (means[0] == means[2]).all()
    assert (means[3] == means[4]).all()
    assert (means[0] != means[3]).all()


def test_class_means_have_the_law_they_claim():
    means = np.asarray(
        data.gaussian_class_means(
            jax.random.key(1), num_classes=40, dim=200, classes_per_group=4, group_scale=2.0
        )
    ).reshape(10, 4, 200)
    groups = means.mean(axis=1)
    np.testing.assert_allclose((means - groups[:, None]).var() * 4 / 3, 0.5**2, rtol=0.16)
    np.testing.assert_allclose(groups.var(), 2**2 + 0.5**2 / 4, rtol=0.16)


def test_train_and_test_share_means_but_no_points():
    found = data.three_gaussians(jax.random.key(1), dim=50)
    for c in range(3):
        train = np.asarray(found.train.images)[np.asarray(found.train.labels) == c]
        test = np.asarray(found.test.images)[np.asarray(found.test.labels) == c]
        gap = np.linalg.norm(train.mean(axis=0) - test.mean(axis=0))
        assert gap < 2 * np.sqrt(50 * 2 / 100)
        assert abs(train.mean(axis=0)).max() < 1 + 5 / np.sqrt(100)
    both = np.concatenate([found.train.images, found.test.images])
    assert len(np.unique(both, axis=0)) == 600


def test_same_key_same_bits():
    make = lambda seed: data.gaussian_classes(jax.random.key(seed), num_classes=4)  # noqa: E731
    same, again, other = make(0), make(0), make(1)
    jax.tree.map(np.testing.assert_array_equal, same.train, again.train)
    assert (same.train.images != other.train.images).any()


def test_digits_are_stratified_and_disjoint():
    found = data.digits()
    assert found.num_classes == 10
    assert found.train.images.min() == 0
    assert found.train.images.max() == 1
    shares = [np.bincount(np.asarray(split.labels)) / len(split.labels) for split in found[:2]]
    np.testing.assert_allclose(*shares, atol=0.003)
    assert len(found.train.labels) + len(found.test.labels) == 1797


ERRORS = {
    "num_classes must be at least 1, got 0": lambda: data.gaussian_classes(
        jax.random.key(0), num_classes=0
    ),
    "noise must not be negative, got -1": lambda: data.gaussian_classes(
        jax.random.key(0), noise=-1.0
    ),
    "classes_per_group must be at least 1, got 0": lambda: data.gaussian_class_means(
        jax.random.key(0), num_classes=2, dim=2, classes_per_group=0
    ),
    "class_scale must not be negative, got -1": lambda: data.gaussian_class_means(
        jax.random.key(0), num_classes=2, dim=2, class_scale=-1.0
    ),
    "train_per_class must be at least 1": lambda: data.three_gaussians(
        jax.random.key(0), train_per_class=0
    ),
    "test_fraction must lie between 0 and 1, got 1.5": lambda: data.digits(test_fraction=1.5),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()
