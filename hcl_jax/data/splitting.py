"""Which images are held out for the test, and which ones a long-tailed training set keeps."""

from fractions import Fraction
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from hcl_jax.system.counting import counted
from hcl_jax.validation.arrays import check_integers
from hcl_jax.validation.numbers import (
    check_count,
    check_positive,
    check_scalar,
)
from hcl_jax.validation.options import check_choice

Profile = Literal["exponential", "step"]
"""How the sizes of classes fall, from the first class to the last."""

Labels = Int[np.ndarray, " n"]
Indices = Int[np.ndarray, " kept"]


def stratified_split(
    labels: Labels, *, test_fraction: float, seed: int = 0
) -> tuple[Indices, Indices]:
    """Holds out the same share of every class, at random.

    Args:
        labels: the class of each image, from 0 to C - 1.
        test_fraction: share of each class that is held out, between 0 and 1; at least one image
            of a class is held out and at least one stays.
        seed: seed of the choice.

    Returns:
        The indices of training and of test images, each in increasing order.

    Raises:
        ValueError, TypeError: if the share is not between 0 and 1, a class has fewer than two
            images, or labels are not one row of integers.

    Example:
        >>> import numpy as np
        >>> labels = np.repeat([0, 1], [8, 4])
        >>> train, test = stratified_split(labels, test_fraction=0.25)
        >>> np.bincount(labels[train]).tolist(), np.bincount(labels[test]).tolist()
        ([6, 3], [2, 1])
    """
    _check_labels(labels)
    check_scalar("test_fraction", test_fraction)
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    rng = np.random.default_rng(check_count("seed", seed, minimum=0))
    held_out = np.zeros(len(labels), bool)
    for label, members in _members(labels):
        if len(members) < 2:
            raise ValueError(
                f"class {label} has {counted(len(members), 'image')}: a split needs one to train "
                f"on and one to test with"
            )
        count = min(max(round(test_fraction * len(members)), 1), len(members) - 1)
        held_out[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def long_tailed(
    labels: Labels, *, imbalance: float, profile: Profile = "exponential", seed: int = 0
) -> Indices:
    """Keeps fewer images of later classes, as the long-tailed versions of data sets do.

    Class c keeps ``N imbalance^(-c/(C-1))`` images ("exponential", Cui et al. 2019, arXiv
    1901.05555, section 5.1), or the first half of the classes, rounded up, keeps N and the others
    ``N / imbalance`` ("step", Buda et al. 2018, arXiv 1710.05381), rounded down. N is the size of
    the classes or, where they differ, the largest for which every class has enough.

    Args:
        labels: the class of each image, from 0 to C - 1, each at least once.
        imbalance: the size of the largest class over that of the smallest, at least 1.
        profile: how sizes fall from class to class.
        seed: seed of the choice within a class.

    Returns:
        The indices that are kept, in increasing order.

    Raises:
        ValueError, TypeError: for an imbalance below 1 or that is not finite, an unknown profile,
            fewer than two classes, a class that would keep no image, or labels that are not one
            row of integers.

    Example:
        >>> import numpy as np
        >>> labels = np.repeat([0, 1, 2], 100)
        >>> np.bincount(labels[long_tailed(labels, imbalance=100)]).tolist()
        [100, 10, 1]
    """
    _check_labels(labels)
    check_scalar("imbalance", imbalance)
    check_positive("imbalance", imbalance)
    check_choice("profile", profile, get_args(Profile))
    if imbalance < 1:
        raise ValueError(f"imbalance must be at least 1, got {imbalance}")
    rng = np.random.default_rng(check_count("seed", seed, minimum=0))
    classes = list(_members(labels))
    last = len(classes) - 1
    if not last:
        raise ValueError("a long tail needs at least two classes, got labels of one")
    powers = [
        Fraction(c, last) if profile == "exponential" else Fraction(c > last / 2)
        for c in range(last + 1)
    ]
    ratio = Fraction(float(imbalance)).limit_denominator(10**6)  # what was asked for: 1.1, 100 / 3
    largest = min(
        _whole_part(len(members), ratio, power, limit=len(labels))
        for (_, members), power in zip(classes, powers, strict=True)
    )
    sizes = [_whole_part(largest, ratio, -power, limit=largest) for power in powers]
    if not sizes[-1]:
        raise ValueError(
            f"the largest class would keep {counted(largest, 'image')}, so that the imbalance must "
            f"be at most {largest}, got {imbalance}"
        )
    kept = [
        rng.permutation(members)[:size] for (_, members), size in zip(classes, sizes, strict=True)
    ]
    return np.sort(np.concatenate(kept))


def _whole_part(count: int, ratio: Fraction, power: Fraction, *, limit: int) -> int:
    """The whole part of ``count ratio^power``, exactly, or the limit where that is less."""
    near = round(min(count * float(ratio) ** float(power), limit))
    whole, divided = (ratio**power.numerator).as_integer_ratio()
    root = power.denominator
    return near - (near**root * divided > count**root * whole)


def _check_labels(labels: Labels) -> None:
    check_integers("labels", labels)
    if np.ndim(labels) != 1 or not len(labels):
        raise ValueError(f"labels must be a row of integers, got shape {np.shape(labels)}")


def _members(labels: Labels) -> list[tuple[int, Indices]]:
    """Every class with the indices of its images, in increasing order."""
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(np.asarray(labels)[order], return_index=True)
    return list(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))
