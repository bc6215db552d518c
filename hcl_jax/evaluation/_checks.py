"""Argument checks that the classifiers share, and the classes of training labels."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.validation.batches import check_embeddings, check_labels, check_no_negative_labels
from hcl_jax.validation.concrete import is_concrete


class Classes(NamedTuple):
    """The classes that training labels name, whatever their numbers.

    Attributes:
        labels: the label of each class, in ascending order.
        ranks: the class of each row: the place of its label among these.
    """

    labels: Int[np.ndarray, " classes"]
    ranks: Int[np.ndarray, " train"]


def classes_of(labels: Int[Array, " train"]) -> Classes:
    """The classes of concrete labels; their number is not the largest label plus one."""
    values, ranks = np.unique(np.asarray(labels), return_inverse=True)
    return Classes(values, ranks.astype(np.int32))


def accuracy(
    predicted: Int[Array | np.ndarray, " n"], labels: Int[Array, " n"], classes: Classes
) -> float:
    """The share of rows whose label is that of the predicted class."""
    return float(np.mean(classes.labels[np.asarray(predicted)] == np.asarray(labels)))


def check_splits(
    train_x: Float[Array, "train dim"],
    train_y: Int[Array, " train"],
    x: Float[Array, "n dim"],
    y: Int[Array, " n"],
) -> None:
    """Raises unless both splits have one dimension and, for every row, a class that is known."""
    check_dims(x, train_x)
    for name, labels, rows in (("training", train_y, train_x), ("test", y, x)):
        check_labels(f"the {name} labels", labels, length=rows.shape[0])
        check_no_negative_labels(f"the {name} labels", labels)
    if not all(map(is_concrete, (train_x, train_y, x, y))):
        raise TypeError("an accuracy is a number of Python: call this outside jax.jit and jax.vmap")


def check_dims(embeddings: Any, others: Any) -> None:
    """Raises unless both are rows of one dimension."""
    check_embeddings("embeddings", embeddings)
    check_embeddings("the means or training embeddings", others)
    if embeddings.shape[1] != others.shape[1]:
        raise ValueError(
            f"both must have one dimension, got {embeddings.shape[1]} and {others.shape[1]}"
        )
