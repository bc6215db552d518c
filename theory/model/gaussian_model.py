"""The latent-class model on a continuum: Gaussian classes, flat or in groups, by Monte Carlo.

The mean of class c in group g is ``group_scale N(0, I) + class_scale N(0, I)``, the first term
drawn once a group, the second once a class; a point adds ``noise N(0, I)``. The synthetic training
data of this repository are draws from such a model. Classes are balanced and positives
conditionally independent.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax.hardening import Hardening
from hcl_jax.psi import Psi
from hcl_jax.validation import check_count, check_non_negative


class GaussianClasses(NamedTuple):
    """Balanced classes ``N(mean_c, noise^2 I)``."""

    means: Float[Array, "classes dim"]
    noise: float


class Estimate(NamedTuple):
    """Monte-Carlo means and standard errors of the plain and of the hardened loss."""

    plain: Float[Array, ""]
    plain_error: Float[Array, ""]
    hard: Float[Array, ""]
    hard_error: Float[Array, ""]


def gaussian_classes(
    key: PRNGKeyArray,
    *,
    num_classes: int,
    dim: int,
    classes_per_group: int = 1,
    group_scale: float = 3.0,
    class_scale: float = 0.5,
    noise: float = 0.3,
) -> GaussianClasses:
    """Draws the means of the classes.

    Args:
        key: the source of randomness.
        num_classes: C.
        dim: the dimension of the points.
        classes_per_group: classes that share a group centre; 1 makes the classes flat.
        group_scale: standard deviation of the group centres.
        class_scale: standard deviation of the classes around the centre of their group.
        noise: standard deviation of the points around the mean of their class.

    Returns:
        The model.

    Raises:
        ValueError, TypeError: for a count below one or a negative scale.

    Example:
        >>> import jax
        >>> gaussian_classes(jax.random.key(0), num_classes=6, dim=2).means.shape
        (6, 2)
    """
    check_count("num_classes", num_classes, minimum=2)
    check_count("dim", dim)
    check_count("classes_per_group", classes_per_group)
    for name, scale in (("group_scale", group_scale), ("class_scale", class_scale)):
        check_non_negative(name, scale)
    check_non_negative("noise", noise)
    group_key, class_key = jax.random.split(key)
    groups = jnp.arange(num_classes) // classes_per_group
    num_groups = -(-num_classes // classes_per_group)
    centres = group_scale * jax.random.normal(group_key, (num_groups, dim))
    offsets = class_scale * jax.random.normal(class_key, (num_classes, dim))
    return GaussianClasses(centres[groups] + offsets, noise)


def estimate_losses(
    key: PRNGKeyArray,
    classes: GaussianClasses,
    features: Callable[[Float[Array, "n dim"]], Float[Array, "n embedding"]],
    *,
    psi: Psi,
    hardening: Hardening,
    k: int,
    supervised: bool,
    anchors: int = 1000,
    tuples: int = 200,
) -> Estimate:
    """SCL and HSCL, or UCL and HUCL, of a representation.

    The tilted expectation given an anchor is a weighted mean over independent k-tuples, with bias
    of the order of one over their number.

    Args:
        key: the source of randomness.
        classes: the data model.
        features: the representation, of a batch of points.
        psi: the loss function.
        hardening: the hardening function, product or joint.
        k: the number of negatives.
        supervised: whether negatives come from the other classes.
        anchors: how many (anchor, positive) pairs are drawn.
        tuples: how many k-tuples of negatives are drawn for each.

    Returns:
        Means over the anchors, with standard errors.

    Example:
        >>> import jax
        >>> from hcl_jax import hardening, normalization, psi
        >>> classes = gaussian_classes(jax.random.key(0), num_classes=3, dim=2)
        >>> estimate = estimate_losses(
        ...     jax.random.key(1), classes, normalization.unit_ball, psi=psi.infonce(),
        ...     hardening=hardening.exponential(2.0), k=2, supervised=True, anchors=64, tuples=32,
        ... )
        >>> bool(estimate.hard > estimate.plain)
        True
    """

    def of_anchor(key):
        label_key, pair_key, class_key, noise_key = jax.random.split(key, 4)
        count = len(classes.means)
        label = jax.random.randint(label_key, (), 0, count)
        shift = jax.random.randint(class_key, (tuples, k), int(supervised), count)
        pair = _points(pair_key, classes, jnp.full(2, label))
        negatives = _points(noise_key, classes, ((label + shift) % count).ravel())
        x, positive = features(pair)
        similarities = (features(negatives) @ x).reshape(tuples, k)
        losses = psi.of_differences(similarities - positive @ x)
        weights = jax.nn.softmax(hardening.log_eta(similarities))
        return losses.mean(), jnp.sum(weights * losses)

    plain, hard = jax.lax.map(of_anchor, jax.random.split(key, anchors))
    error = anchors**-0.5
    return Estimate(plain.mean(), plain.std(ddof=1) * error, hard.mean(), hard.std(ddof=1) * error)


def _points(key, classes: GaussianClasses, labels):
    noise = jax.random.normal(key, (len(labels), classes.means.shape[1]))
    return classes.means[labels] + classes.noise * noise
