"""Linear classifiers of features, solved in one step or by scikit-learn."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.evaluation._checks import check_splits, count_classes
from hcl_jax.validation import check_choice


def linear_probe_accuracy(
    train_features: Float[Array, "train dim"],
    train_labels: Int[Array, " train"],
    features: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    *,
    kind: Literal["ridge", "logistic"] = "ridge",
    regularization: float = 1.0,
) -> float:
    """Accuracy of a linear classifier of standardised features.

    Ridge regression solves ``(X^T X + regularization) W = X^T Y`` for standardised features X and
    one-hot targets Y; sums over images are taken on the device, in the precision of the features,
    and the equations are solved in double precision. Logistic regression is scikit-learn's.

    Args:
        train_features: features of the training set, one image per row.
        train_labels: the class of each training image, counted from 0.
        features: features of test images, one image per row.
        labels: the class of each test image.
        kind: "ridge" for ridge regression, "logistic" for logistic regression.
        regularization: the positive weight of the squared norm of the coefficients.

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
    check_splits(train_features, train_labels, features, labels)
    probe = _ridge_accuracy if kind == "ridge" else _logistic_accuracy
    return probe(train_features, train_labels, features, labels, regularization)


def _ridge_accuracy(
    train_features: Float[Array, "train dim"],
    train_labels: Int[Array, " train"],
    features: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    regularization: float,
) -> float:
    """Accuracy of ridge regression on one-hot targets."""
    num_classes = count_classes(train_labels)
    scaling, squares, products, intercept = _normal_equations(
        train_features, train_labels, num_classes=num_classes
    )
    penalized = np.asarray(squares, np.float64) + regularization * np.eye(len(squares))
    weights = np.linalg.solve(penalized, np.asarray(products, np.float64))
    scores = jnp.matmul(
        _standardized(features, scaling),
        jnp.asarray(weights, features.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )
    predicted = jnp.argmax(scores + intercept, axis=1)
    return float(np.mean(np.asarray(predicted) == np.asarray(labels)))


class _Scaling(NamedTuple):
    """Mean and standard deviation of every feature; 1 for the deviation of a constant one."""

    mean: Float[Array, " dim"]
    deviation: Float[Array, " dim"]


class _NormalEquations(NamedTuple):
    """``X^T X``, ``X^T Y`` and the mean of Y, for standardised features X and one-hot targets Y."""

    scaling: _Scaling
    squares: Float[Array, "dim dim"]
    products: Float[Array, "dim classes"]
    intercept: Float[Array, " classes"]


@functools.partial(jax.jit, static_argnames="num_classes")
def _normal_equations(
    features: Float[Array, "n dim"], labels: Int[Array, " n"], *, num_classes: int
) -> _NormalEquations:
    """The normal equations of ridge regression, in the precision of the features."""
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
    return _NormalEquations(scaling, products[:, :dim], products[:, dim:], targets.mean(axis=0))


def _standardized(features: Float[Array, "n dim"], scaling: _Scaling) -> Float[Array, "n dim"]:
    """Features with mean 0 and standard deviation 1 over the training set."""
    return (features - scaling.mean) / scaling.deviation


def _logistic_accuracy(
    train_features: Float[Array, "train dim"],
    train_labels: Int[Array, " train"],
    features: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    regularization: float,
) -> float:
    """Accuracy of scikit-learn's logistic regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = LogisticRegression(C=1 / regularization, max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), classifier)
    pipeline.fit(np.asarray(train_features, np.float64), np.asarray(train_labels))
    return float(pipeline.score(np.asarray(features, np.float64), np.asarray(labels)))
