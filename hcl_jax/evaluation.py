"""Accuracy of a representation: class-mean classifiers, nearest neighbours and a linear probe."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.validation import check_choice, check_count, check_embeddings, check_labels

SIMILARITIES = 2**25
"""Entries of the matrix of test by training embeddings that exist at once: 128 MiB."""


def class_mean_scores(
    embeddings: Float[Array, "n dim"], means: Float[Array, "classes dim"]
) -> Float[Array, "n classes"]:
    """Inner products with the class means, which are not normalised: the paper's classifier.

    Args:
        embeddings: of test images.
        means: class means over the training set.

    Returns:
        One score for each class.

    Example:
        >>> import jax.numpy as jnp
        >>> class_mean_scores(jnp.array([[1.0, 0.0]]), jnp.eye(2)).tolist()
        [[1.0, 0.0]]
    """
    _check_dims(embeddings, means)
    return jnp.matmul(embeddings, means.T, precision=jax.lax.Precision.HIGHEST)


def nearest_mean_scores(
    embeddings: Float[Array, "n dim"], means: Float[Array, "classes dim"]
) -> Float[Array, "n classes"]:
    """Minus half the squared distances to the class means, up to a constant for each image.

    Args:
        embeddings: of test images.
        means: class means over the training set.

    Returns:
        One score for each class; the largest belongs to the nearest mean.

    Example:
        >>> import jax.numpy as jnp
        >>> means = jnp.array([[1.0, 0.0], [9.0, 0.0]])
        >>> nearest_mean_scores(jnp.array([[2.0, 0.0]]), means).argmax(axis=1).tolist()
        [0]
    """
    return class_mean_scores(embeddings, means) - 0.5 * jnp.sum(jnp.square(means), axis=1)


def top_k_accuracy(
    scores: Float[Array, "n classes"], labels: Int[Array, " n"], k: int = 1
) -> Float[Array, ""]:
    """The share of images whose class is among the k best scores.

    Args:
        scores: one for each image and class.
        labels: the true classes.
        k: 1 for top-1; at most the number of classes.

    Returns:
        A number in [0, 1]. A class counts as among the best if fewer than k classes score higher or
        score the same and come earlier, so that k guesses are made, never more.

    Raises:
        ValueError, TypeError: on wrong shapes or a k out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = jnp.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3]])
        >>> [top_k_accuracy(scores, jnp.array([1, 2]), k).item() for k in (1, 2)]
        [0.5, 1.0]
    """
    check_embeddings("scores", scores)
    check_labels("labels", labels, length=scores.shape[0], num_classes=scores.shape[1])
    check_count("k", k)
    if k > scores.shape[1]:
        raise ValueError(f"k must be at most the {scores.shape[1]} classes, got {k}")
    _, best = jax.lax.top_k(scores, k)
    return jnp.mean(jnp.any(best == labels[:, None], axis=1), dtype=scores.dtype)


def knn_accuracy(
    train_embeddings: Float[Array, "train dim"],
    train_labels: Int[Array, " train"],
    embeddings: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    *,
    k: int = 20,
) -> float:
    """Accuracy of a vote among the k nearest training embeddings by cosine.

    A vote that is tied goes to the first class; embeddings that are as near, to the first ones.

    Args:
        train_embeddings: of the training set.
        train_labels: their classes, counted from 0.
        embeddings: of test images.
        labels: their classes.
        k: how many neighbours vote; at most the size of the training set.

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
    _check_splits(train_embeddings, train_labels, embeddings, labels)
    if k > len(train_labels):
        raise ValueError(f"k must be at most the {len(train_labels)} training images, got {k}")
    num_classes = _count_classes(train_labels)
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
    train = _unit_rows(train)

    def vote(point):
        similarities = jnp.matmul(train, point, precision=jax.lax.Precision.HIGHEST)
        _, nearest = jax.lax.top_k(similarities, k)
        return jnp.argmax(jnp.bincount(train_labels[nearest], length=num_classes))

    at_once = max(1, SIMILARITIES // len(train))
    return jax.lax.map(vote, _unit_rows(points), batch_size=at_once)


def _unit_rows(rows: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
    """Rows of norm one; rows of zeros stay."""
    norms = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.where(norms > 0, norms, 1.0)


def linear_probe_accuracy(
    train_features: Float[Array, "train dim"],
    train_labels: Int[Array, " train"],
    features: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    *,
    kind: str = "ridge",
    regularization: float = 1.0,
) -> float:
    """Accuracy of a linear classifier of standardised features.

    Ridge regression solves ``(X^T X + regularization) W = X^T Y`` for standardised features X and
    one-hot targets Y; sums over images are taken on the device, in the precision of the features,
    and the equations are solved in double precision. Logistic regression is scikit-learn's.

    Args:
        train_features: of the training set.
        train_labels: their classes.
        features: of test images.
        labels: their classes.
        kind: "ridge" or "logistic".
        regularization: weight of the squared norm of the coefficients; positive.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError, TypeError: on wrong shapes, NaN, a negative training label (of ridge
            regression), or an option out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> points, labels = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
        >>> linear_probe_accuracy(points, labels, points, labels)
        1.0
    """
    check_choice("kind", kind, ("ridge", "logistic"))
    if not regularization > 0:
        raise ValueError(f"regularization must be positive, got {regularization}")
    _check_splits(train_features, train_labels, features, labels)
    probe = _ridge_accuracy if kind == "ridge" else _logistic_accuracy
    return probe(train_features, train_labels, features, labels, regularization)


def _ridge_accuracy(train_features, train_labels, features, labels, regularization):
    num_classes = _count_classes(train_labels)
    scaling, squares, products, intercept = _normal_equations(
        train_features, train_labels, num_classes=num_classes
    )
    squares = np.asarray(squares, np.float64) + regularization * np.eye(len(squares))
    weights = np.linalg.solve(squares, np.asarray(products, np.float64))
    scores = jnp.matmul(
        _standardized(features, scaling),
        jnp.asarray(weights, features.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )
    found = jnp.argmax(scores + intercept, axis=1)
    return float(np.mean(np.asarray(found) == np.asarray(labels)))


class _Scaling(NamedTuple):
    mean: Float[Array, " dim"]
    deviation: Float[Array, " dim"]


@functools.partial(jax.jit, static_argnames="num_classes")
def _normal_equations(features, labels, *, num_classes):
    """Scaling, squares and products of the normal equations, and the frequencies of the classes."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    constant = deviation <= 8 * jnp.finfo(features.dtype).eps * jnp.abs(mean)
    scaling = _Scaling(mean, jnp.where(constant, 1, deviation))
    scaled = jnp.where(constant, 0, _standardized(features, scaling))
    targets = jax.nn.one_hot(labels, num_classes, dtype=features.dtype)
    products = jnp.matmul(
        scaled.T,
        jnp.concatenate([scaled, targets], axis=1),
        precision=jax.lax.Precision.HIGHEST,
    )
    dim = features.shape[1]
    return scaling, products[:, :dim], products[:, dim:], targets.mean(axis=0)


def _standardized(features, scaling):
    return (features - scaling.mean) / scaling.deviation


def _logistic_accuracy(train_features, train_labels, features, labels, regularization):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = LogisticRegression(C=1 / regularization, max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), classifier)
    pipeline.fit(np.asarray(train_features, np.float64), np.asarray(train_labels))
    return float(pipeline.score(np.asarray(features, np.float64), np.asarray(labels)))


def _count_classes(labels):
    num_classes = int(jnp.max(labels)) + 1
    check_labels("the training labels", labels, length=len(labels), num_classes=num_classes)
    return num_classes


def _check_splits(train_x, train_y, x, y):
    _check_dims(x, train_x)
    check_labels("the training labels", train_y, length=train_x.shape[0])
    check_labels("the test labels", y, length=x.shape[0])


def _check_dims(embeddings, others):
    check_embeddings("embeddings", embeddings)
    check_embeddings("the means or training embeddings", others)
    if embeddings.shape[1] != others.shape[1]:
        raise ValueError(
            f"both must have one dimension, got {embeddings.shape[1]} and {others.shape[1]}"
        )
