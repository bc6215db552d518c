"""Argument checks that the classifiers share."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.validation import check_embeddings, check_labels


def count_classes(labels: Int[Array, " train"]) -> int:
    """The largest label plus one; raises ValueError for a negative label."""
    num_classes = int(jnp.max(labels)) + 1
    check_labels("the training labels", labels, length=len(labels), num_classes=num_classes)
    return num_classes


def check_splits(
    train_x: Float[Array, "train dim"],
    train_y: Int[Array, " train"],
    x: Float[Array, "n dim"],
    y: Int[Array, " n"],
) -> None:
    """Raises unless both splits have one dimension and a label for every row."""
    check_dims(x, train_x)
    check_labels("the training labels", train_y, length=train_x.shape[0])
    check_labels("the test labels", y, length=x.shape[0])


def check_dims(embeddings: Float[Array, "n dim"], others: Float[Array, "m dim"]) -> None:
    """Raises unless both are rows of one dimension."""
    check_embeddings("embeddings", embeddings)
    check_embeddings("the means or training embeddings", others)
    if embeddings.shape[1] != others.shape[1]:
        raise ValueError(
            f"both must have one dimension, got {embeddings.shape[1]} and {others.shape[1]}"
        )
