"""Held-out images and long tails."""

from fractions import Fraction

import numpy as np
import pytest

from hcl_jax.data import long_tailed, stratified_split

LABELS = np.repeat(np.arange(4), [2, 3, 10, 25])[np.random.default_rng(0).permutation(40)]


@pytest.mark.parametrize(("share", "held_out"), [(0.2, [1, 1, 2, 5]), (0.9, [1, 2, 9, 22])])
def test_the_same_share_of_every_class_is_held_out(share, held_out):
    train, test = stratified_split(LABELS, test_fraction=share)
    assert sorted([*train, *test]) == list(range(40))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    assert np.bincount(LABELS[test]).tolist() == held_out


@pytest.mark.parametrize(
    "choose",
    [
        lambda **seed: stratified_split(LABELS, test_fraction=0.5, **seed)[1],
        lambda **seed: long_tailed(LABELS, imbalance=2, **seed),
    ],
    ids=["stratified_split", "long_tailed"],
)
def test_the_seed_decides_which(choose):
    default, same, other = choose(), choose(seed=0), choose(seed=1)
    assert np.array_equal(default, same)
    assert not np.array_equal(default, other)


@pytest.mark.parametrize(
    ("profile", "sizes"),
    [
        ("exponential", [1000, 464, 215, 100]),  # 1000 * 10^(-c / 3)
        ("step", [1000, 1000, 100, 100]),
    ],
)
def test_sizes_fall_as_published(profile, sizes):
    labels = np.tile(np.arange(4), 1000)
    kept = long_tailed(labels, imbalance=10, profile=profile)
    assert np.bincount(labels[kept]).tolist() == sizes
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize(("classes", "whole"), [(2, 1), (3, 2), (6, 3), (7, 4)])
def test_half_of_the_classes_rounded_up_keep_all_in_a_step(classes, whole):
    labels = np.repeat(np.arange(classes), 20)
    sizes = np.bincount(labels[long_tailed(labels, imbalance=4, profile="step")])
    assert sizes.tolist() == [20] * whole + [5] * (classes - whole)


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("imbalance", [1, 2, 10, 50, 100, 200])
def test_first_and_last_class_have_the_ratio(classes, imbalance):
    labels = np.repeat(np.arange(classes), 200)
    sizes = np.bincount(labels[long_tailed(labels, imbalance=imbalance)])
    assert (sizes[0], sizes[-1]) == (200, 200 // imbalance)
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize(
    ("sizes", "imbalance", "kept"),
    [
        ([10, 1000], 5, [10, 2]),
        ([1000, 10], 5, [50, 10]),
        ([2, 3, 10, 25], 2, [2, 1, 1, 1]),
        ([50, 20, 500], 4, [40, 20, 10]),
    ],
)
def test_classes_of_other_sizes_reach_the_ratio_too(sizes, imbalance, kept):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = np.bincount(labels[long_tailed(labels, imbalance=imbalance)])
    assert found.tolist() == kept


@pytest.mark.parametrize("tail", [1, 2, 3, 7])
@pytest.mark.parametrize("spare", [0, 1])
def test_whole_ratios_of_unequal_classes_are_whole(tail, spare):
    for imbalance in range(1, 300):
        labels = np.repeat([0, 1], [imbalance * tail + spare, tail])
        kept = np.bincount(labels[long_tailed(labels, imbalance=imbalance)])
        assert kept.tolist() == [imbalance * tail, tail]


@pytest.mark.parametrize(
    ("imbalance", "sizes", "kept"),
    [
        (100 / 3, [100, 100], [100, 3]),
        (100 / 3, [101, 3], [100, 3]),
        (1.1, [99, 99], [99, 90]),
        (1.1, [100, 90], [99, 90]),
    ],
)
def test_what_floats_round_of_the_imbalance_does_not_matter(imbalance, sizes, kept):
    labels = np.repeat([0, 1], sizes)
    assert np.bincount(labels[long_tailed(labels, imbalance=imbalance)]).tolist() == kept


@pytest.mark.parametrize("profile", ["exponential", "step"])
def test_sizes_are_those_of_exact_fractions(profile):
    # Imbalances whose square root, the ratio of neighbouring classes, is a fraction.
    for tenths, head, middle, tail in np.random.default_rng(0).integers(10, 60, (200, 4)).tolist():
        root = Fraction(tenths, 10)
        shares = (1, 1 / root, 1 / root**2) if profile == "exponential" else (1, 1, 1 / root**2)
        sizes = [50 * head, 50 * middle, 50 * tail]
        largest = min(size // share for size, share in zip(sizes, shares, strict=True))
        labels = np.repeat([0, 1, 2], sizes)
        kept = np.bincount(labels[long_tailed(labels, imbalance=tenths**2 / 100, profile=profile)])
        assert kept.tolist() == [int(largest * share) for share in shares]


WRONG = {
    "test_fraction must lie between 0 and 1, got 1": lambda: stratified_split(
        LABELS, test_fraction=1
    ),
    "test_fraction must lie between 0 and 1, got nan": lambda: stratified_split(
        LABELS, test_fraction=float("nan")
    ),
    "class 7 has 1 image": lambda: stratified_split(np.array([3, 3, 7]), test_fraction=0.5),
    "labels must be integers, got dtype float32": lambda: stratified_split(
        np.ones(2), test_fraction=0.5
    ),
    r"labels must be a row of integers, got shape \(0,\)": lambda: stratified_split(
        np.ones(0, int), test_fraction=0.5
    ),
    "seed must be": lambda: stratified_split(LABELS, test_fraction=0.5, seed=-1),
    "imbalance must be at least 1, got 0.5": lambda: long_tailed(LABELS, imbalance=0.5),
    "imbalance must be finite, got inf": lambda: long_tailed(LABELS, imbalance=float("inf")),
    "would keep 2 images, so that the imbalance must be at most 2, got 3": lambda: long_tailed(
        LABELS, imbalance=3
    ),
    "would keep 20 images, so that the imbalance must be at most 20, got 1e": lambda: long_tailed(
        np.arange(40) % 2, imbalance=1e38
    ),
    "profile must be": lambda: long_tailed(LABELS, imbalance=2, profile="linear"),
    "at least two classes": lambda: long_tailed(np.ones(3, int), imbalance=2),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(unchecked, message):
    with pytest.raises((ValueError, TypeError), match=message):
        WRONG[message]()
