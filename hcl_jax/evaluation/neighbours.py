"""Nearest neighbours in the training set."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.evaluation._checks import check_splits, count_classes
from hcl_jax.validation import check_count

SIMILARITIES = 2**25
"""Similarities of test and training embeddings that exist at once: 128 MiB in float32."""


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
        train_labels: the class of each training image, counted from 0.
        embeddings: embeddings of test images, one per row.
        labels: the class of each test image.
        k: the number of neighbours that vote, at most the size of the training set.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError, TypeError: on wrong shapes, NaN, a negative label or a k out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> points, labels = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
        >>> knn_accuracy(points, labels, points, labels, k=1)
        1.0
    """
    check_count("k", k)
    check_splits(train_embeddings, train_labels, embeddings, labels)
    if k > len(train_labels):
        raise ValueError(f"k must be at most the {len(train_labels)} training images, got {k}")
    num_classes = count_classes(train_labels)
    votes = _votes(train_embeddings, train_labels, embeddings, k=k, num_classes=num_classes)
    return float(np.mean(np.asarray(votes) == np.asarray(labels)))


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
    train = _unit_rows(train)

    def vote(point: Float[Array, " dim"]) -> Int[Array, ""]:
        similarities = jnp.matmul(train, point, precision=jax.lax.Precision.HIGHEST)
        _, nearest = jax.lax.top_k(similarities, k)
        return jnp.argmax(jnp.bincount(train_labels[nearest], length=num_classes))

    at_once = max(1, SIMILARITIES // len(train))
    return jax.lax.map(vote, _unit_rows(points), batch_size=at_once)


def _unit_rows(rows: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
    """Rows divided by their norms; rows of zeros stay zero."""
    norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.where(norms > 0, norms, 1.0)
