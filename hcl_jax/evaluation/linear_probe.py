"""Linear classifiers of features, solved in one step or by scikit-learn."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.evaluation._checks import Classes, accuracy, check_splits, classes_of
from hcl_jax.precision import at_least_float32, exact_product, row_mean, scale_of
from hcl_jax.validation.numbers import check_positive, check_scalar
from hcl_jax.validation.options import check_choice


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
    one-hot targets Y; sums over images are taken on the device, in at least float32, and the
    equations are solved in double precision. Logistic regression is scikit-learn's.

    Args:
        train_features: features of the training set, one image per row.
        train_labels: the class of each training image, any integers from 0.
        features: features of test images, one image per row.
        labels: the class of each test image; a class that no training image has is an error.
        kind: "ridge" for ridge regression, "logistic" for logistic regression.
        regularization: the positive weight of the squared norm of the coefficients.

    Returns:
        A number in [0, 1]. A single class in training is the one that is predicted.

    Raises:
        ValueError, TypeError: on wrong shapes, NaN, a negative label (rows without one are to be
            left out), or an option out of range; under `jax.jit`.

    Example:
        >>> import jax.numpy as jnp
        >>> points, labels = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
        >>> linear_probe_accuracy(points, labels, points, labels)
        1.0
    """
    check_choice("kind", kind, ("ridge", "logistic"))
    check_scalar("regularization", regularization)
    check_positive("regularization", regularization)
    check_splits(train_features, train_labels, features, labels)
    classes = classes_of(train_labels)
    if len(classes.labels) == 1:
        return accuracy(np.zeros(len(labels), np.int32), labels, classes)
    predict = _ridge_predictions if kind == "ridge" else _logistic_predictions
    train, test = at_least_float32(train_features), at_least_float32(features)
    return accuracy(predict(train, classes, test, regularization), labels, classes)


def _ridge_predictions(
    train_features: Float[Array, "train dim"],
    classes: Classes,
    features: Float[Array, "n dim"],
    regularization: float,
) -> Int[Array, " n"]:
    """The classes that ridge regression on one-hot targets predicts."""
    scaling, squares, products, intercept = _normal_equations(
        train_features, jnp.asarray(classes.ranks), num_classes=len(classes.labels)
    )
    penalized = np.asarray(squares, np.float64) + regularization * np.eye(len(squares))
    weights = np.linalg.solve(penalized, np.asarray(products, np.float64))
    scores = exact_product(
        _standardized(features, scaling), jnp.asarray(weights.astype(products.dtype))
    )
    return jnp.argmax(scores + intercept[None], axis=1)


class _Scaling(NamedTuple):
    """How every feature is standardised; a constant one becomes zero.

    Attributes:
        unit: a power of two, by which a feature is divided first.
        mean: mean of the feature in this unit.
        inverse: inverse of its standard deviation in this unit; 0 for a constant feature.
    """

    unit: Float[Array, " dim"]
    mean: Float[Array, " dim"]
    inverse: Float[Array, " dim"]


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
    """The normal equations of ridge regression, in the dtype of the features."""
    unit = scale_of(features, axis=0)
    mean = row_mean(features / unit)
    deviation = jnp.sqrt(row_mean(jnp.square(features / unit - mean[None])))
    constant = deviation <= 8 * jnp.finfo(features.dtype).eps * jnp.abs(mean)
    inverse = jnp.where(constant, 0, 1 / jnp.where(constant, 1, deviation))
    scaling = _Scaling(unit[0], mean, inverse)
    scaled = _standardized(features, scaling)
    targets = jax.nn.one_hot(labels, num_classes, dtype=features.dtype)
    products = exact_product(scaled.T, jnp.concatenate([scaled, targets], axis=1))
    dim = features.shape[1]
    return _NormalEquations(scaling, products[:, :dim], products[:, dim:], row_mean(targets))


def _standardized(features: Float[Array, "n dim"], scaling: _Scaling) -> Float[Array, "n dim"]:
    """Features with mean 0 and standard deviation 1 over the training set."""
    return (features / scaling.unit[None] - scaling.mean[None]) * scaling.inverse[None]


def _logistic_predictions(
    train_features: Float[Array, "train dim"],
    classes: Classes,
    features: Float[Array, "n dim"],
    regularization: float,
) -> Int[np.ndarray, " n"]:
    """The classes that scikit-learn's logistic regression predicts."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    unit = scale_of(train_features, axis=0)
    train, test = (np.asarray(x / unit, np.float64) for x in (train_features, features))
    classifier = LogisticRegression(C=1 / regularization, max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), classifier)
    pipeline.fit(train, classes.ranks)
    return pipeline.predict(test)
