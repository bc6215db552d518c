"""Gaussian latent classes, drawn on the device."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax.data.splits import Dataset, Split
from hcl_jax.validation.arrays import check_key
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import check_count, check_non_negative, check_scalar


def gaussian_classes(
    key: PRNGKeyArray,
    *,
    num_classes: int = 20,
    classes_per_group: int = 5,
    dim: int = 64,
    train_per_class: int = 128,
    test_per_class: int = 64,
    group_scale: float = 3.0,
    class_scale: float = 0.5,
    noise: float = 0.3,
) -> Dataset:
    """The latent-class model of the paper with Gaussian class-conditional laws.

    A point of a class is the mean of the class, drawn as by `gaussian_class_means`, plus
    ``noise N(0, I)``. Classes of one group are alike, so that the directions that tell them apart
    are easy to lose.

    Args:
        key: PRNG key of all draws.
        num_classes: number of classes C.
        classes_per_group: number of classes in each group; 1 gives classes without groups.
        dim: dimension of the points.
        train_per_class: number of training points of each class.
        test_per_class: number of test points of each class.
        group_scale: standard deviation of the centres of the groups.
        class_scale: standard deviation of the class means around the centre of their group.
        noise: standard deviation of the points around the mean of their class.

    Returns:
        Balanced splits, ordered by class.

    Raises:
        ValueError, TypeError: for a count below one or a negative scale.

    Example:
        >>> import jax
        >>> gaussian_classes(jax.random.key(0), num_classes=10).train.images.shape
        (1280, 64)
    """
    check_key("key", key)
    num_classes, classes_per_group, dim, train_per_class, test_per_class = _check_counts(
        num_classes=num_classes,
        classes_per_group=classes_per_group,
        dim=dim,
        train_per_class=train_per_class,
        test_per_class=test_per_class,
    )
    group_scale, class_scale, noise = _check_scales(
        group_scale=group_scale, class_scale=class_scale, noise=noise
    )
    group_key, class_key, train_key, test_key = jax.random.split(key, 4)
    means = _grouped_means(
        (group_key, class_key),
        num_classes,
        classes_per_group,
        dim,
        group_scale=group_scale,
        class_scale=class_scale,
    )
    return Dataset(
        train=_points_around(train_key, means, train_per_class, noise),
        test=_points_around(test_key, means, test_per_class, noise),
        num_classes=num_classes,
    )


def gaussian_class_means(
    key: PRNGKeyArray,
    *,
    num_classes: int,
    dim: int,
    classes_per_group: int = 1,
    group_scale: float = 3.0,
    class_scale: float = 0.5,
) -> Float[Array, "classes dim"]:
    """Random class means, alike within groups of classes.

    The mean of class c in group g is ``group_scale N(0, I) + class_scale N(0, I)``, where the first
    term is drawn once for each group and the second once for each class.

    Args:
        key: PRNG key of all draws.
        num_classes: number of classes C.
        dim: dimension of the means.
        classes_per_group: number of classes in each group; 1 gives classes without groups.
        group_scale: standard deviation of the centres of the groups.
        class_scale: standard deviation of the class means around the centre of their group.

    Returns:
        The means, those of one group next to each other.

    Raises:
        ValueError, TypeError: for a count below one or a negative scale.

    Example:
        >>> import jax
        >>> means = gaussian_class_means(
        ...     jax.random.key(0), num_classes=4, dim=2, classes_per_group=2, class_scale=0.0
        ... )
        >>> bool((means[0] == means[1]).all()), bool((means[1] == means[2]).any())
        (True, False)
    """
    check_key("key", key)
    num_classes, dim, classes_per_group = _check_counts(
        num_classes=num_classes, dim=dim, classes_per_group=classes_per_group
    )
    group_scale, class_scale = _check_scales(group_scale=group_scale, class_scale=class_scale)
    group_key, class_key = jax.random.split(key)
    return _grouped_means(
        (group_key, class_key),
        num_classes,
        classes_per_group,
        dim,
        group_scale=group_scale,
        class_scale=class_scale,
    )


def three_gaussians(
    key: PRNGKeyArray, *, dim: int = 3072, train_per_class: int = 100, test_per_class: int = 100
) -> Dataset:
    """Three Gaussian classes with identity covariance and means uniform in ``[-1, 1]^dim``.

    This is our reading of the paper's synthetic example, which the sources that we could read do
    not describe in full. It is meant to be embedded in two dimensions, where the class means of an
    optimum are the corners of a triangle.

    Args:
        key: PRNG key of all draws.
        dim: dimension of the points.
        train_per_class: number of training points of each class.
        test_per_class: number of test points of each class.

    Returns:
        Balanced splits of three classes, ordered by class.

    Raises:
        ValueError, TypeError: for a count below one.

    Example:
        >>> import jax
        >>> three_gaussians(jax.random.key(0)).test.images.shape
        (300, 3072)
    """
    check_key("key", key)
    dim, train_per_class, test_per_class = _check_counts(
        dim=dim, train_per_class=train_per_class, test_per_class=test_per_class
    )
    mean_key, train_key, test_key = jax.random.split(key, 3)
    means = jax.random.uniform(mean_key, (3, dim), minval=-1, maxval=1)
    return Dataset(
        train=_points_around(train_key, means, train_per_class, 1.0),
        test=_points_around(test_key, means, test_per_class, 1.0),
        num_classes=3,
    )


def _check_counts(**counts: int) -> tuple[int, ...]:
    return tuple(check_count(name, count) for name, count in counts.items())


def _check_scales(**scales: Any) -> tuple[Any, ...]:
    """The scales, floats where they are concrete: an int may be beyond what JAX holds."""
    for name, scale in scales.items():
        check_scalar(name, scale)
    checked = (check_non_negative(name, scale) for name, scale in scales.items())
    return tuple(float(x) if is_concrete(x) else x for x in checked)


def _grouped_means(
    keys: tuple[PRNGKeyArray, PRNGKeyArray],
    num_classes: int,
    classes_per_group: int,
    dim: int,
    *,
    group_scale: float,
    class_scale: float,
) -> Float[Array, "classes dim"]:
    """A random centre for each group and a random offset from it for each class."""
    group_key, class_key = keys
    num_groups = -(-num_classes // classes_per_group)
    groups = group_scale * jax.random.normal(group_key, (num_groups, dim))
    offsets = class_scale * jax.random.normal(class_key, (num_classes, dim))
    return groups[jnp.arange(num_classes) // classes_per_group] + offsets


def _points_around(
    key: PRNGKeyArray,
    means: Float[Array, "classes dim"],
    per_class: int,
    noise: float,
) -> Split:
    """As many points of each class, ordered by class, with Gaussian noise around its mean."""
    labels = jnp.repeat(jnp.arange(len(means), dtype=jnp.int32), per_class)
    points = means[labels] + noise * jax.random.normal(key, (len(labels), means.shape[1]))
    return Split(points, labels)
