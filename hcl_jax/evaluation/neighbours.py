"""Nearest neighbours in the training set."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.evaluation._checks import accuracy, check_splits, classes_of
from hcl_jax.padding import pad_rows, padding
from hcl_jax.precision import at_least_float32, exact_product, unit_vectors
from hcl_jax.validation.numbers import check_count

SIMILARITIES = 2**25
"""Similarities of test and training embeddings that exist at once: 128 MiB in float32."""

GROUP = 32
"""Similarities of which only the largest is looked at first."""


def knn_accuracy(
    train_embeddings: Float[Array, "train dim"],
    train_labels: Int[Array, " train"],
    embeddings: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    *,
    k: int = 20,
) -> float:
    """Accuracy of a vote among the k nearest training embeddings by cosine.

    A tied vote goes to the smallest class; among neighbours at the same distance the first ones of
    the training set vote.

    Args:
        train_embeddings: embeddings of the training set, one per row.
        train_labels: the class of each training image, any integers from 0.
        embeddings: embeddings of test images, one per row.
        labels: the class of each test image; a class that no training image has is an error.
        k: the number of neighbours that vote, at most the size of the training set.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError, TypeError: on wrong shapes, NaN, a negative label (rows without one are to be
            left out) or a k out of range; under `jax.jit`.

    Example:
        >>> import jax.numpy as jnp
        >>> points, labels = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
        >>> knn_accuracy(points, labels, points, labels, k=1)
        1.0
    """
    k = check_count("k", k)
    check_splits(train_embeddings, train_labels, embeddings, labels)
    if k > len(train_labels):
        raise ValueError(f"k must be at most the {len(train_labels)} training images, got {k}")
    classes = classes_of(train_labels)
    votes = _votes(
        at_least_float32(train_embeddings),
        jnp.asarray(classes.ranks),
        at_least_float32(embeddings),
        k=k,
        num_classes=len(classes.labels),
    )
    return accuracy(votes, labels, classes)


@functools.partial(jax.jit, static_argnames=("k", "num_classes"))
def _votes(
    train: Float[Array, "train dim"],
    train_labels: Int[Array, " train"],
    points: Float[Array, "n dim"],
    *,
    k: int,
    num_classes: int,
) -> Int[Array, " n"]:
    """The class that most of the k nearest training points have, for every point."""
    train, points = unit_vectors(train), unit_vectors(points)
    at_once = max(1, min(len(points), SIMILARITIES // len(train)))
    parts = pad_rows(points, padding(len(points), at_once)).reshape(-1, at_once, points.shape[1])

    def vote(part: Float[Array, "part dim"]) -> Int[Array, " part"]:
        nearest = _largest(exact_product(part, train.T), k)
        count = functools.partial(jnp.bincount, length=num_classes)
        return jnp.argmax(jax.vmap(count)(train_labels[nearest]), axis=1)

    return jax.lax.map(vote, parts).reshape(-1)[: len(points)]


def _largest(scores: Float[Array, "n m"], k: int) -> Int[Array, "n k"]:
    """The columns of the k largest scores of each row, of equal ones the first.

    They lie in the k groups of neighbouring columns whose maxima are largest, again the first of
    equal ones: a group that is not among these has k groups before it, each with a score that comes
    before all of its own. So most scores are read once, for the maximum of their group.
    """
    n, m = scores.shape
    if m <= k * GROUP:
        return jax.lax.top_k(scores, k)[1]
    filled = jnp.pad(scores, ((0, 0), (0, padding(m, GROUP))), constant_values=-jnp.inf)
    groups = filled.reshape(n, -1, GROUP)
    _, best = jax.lax.top_k(jnp.max(groups, axis=2), k)
    best = jnp.sort(best, axis=1)  # so that equal scores stay in order
    found = jnp.take_along_axis(groups, best[:, :, None], axis=1)
    _, place = jax.lax.top_k(found.reshape(n, -1), k)
    return jnp.take_along_axis(best, place // GROUP, axis=1) * GROUP + place % GROUP
