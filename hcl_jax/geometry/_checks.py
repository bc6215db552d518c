"""Argument checks and norms that the metrics share."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.validation import (
    check_array,
    check_count,
    check_embeddings,
    check_finite,
    check_labels,
    is_concrete,
)


def norms(vectors: Float[Array, "*n dim"]) -> Float[Array, "*n"]:
    """Euclidean norms along the last axis; the gradient of the norm of zero is zero."""
    return root(jnp.sum(jnp.square(vectors), axis=-1))


def root(squares: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Square roots whose gradient at 0 is 0; the double `where` keeps NaN out of it."""
    zero = squares == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))


def check_spectrum(spectrum: Float[Array, " singular"]) -> None:
    """Raises unless the spectrum is a vector, not empty, and finite if concrete."""
    check_array("the spectrum", spectrum)
    if jnp.ndim(spectrum) != 1 or not len(spectrum):
        raise ValueError(f"the spectrum must be a vector, got shape {jnp.shape(spectrum)}")
    check_finite("the spectrum", spectrum)


def check_two_classes(means: Float[Array, "classes dim"]) -> None:
    """Raises unless there are at least two class means, finite if concrete."""
    check_embeddings("means", means)
    if len(means) < 2:
        raise ValueError(f"this metric compares classes and needs at least 2, got {len(means)}")


def check_classes(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> None:
    """Raises unless every class has a member, as far as the labels are concrete."""
    check_count("num_classes", num_classes)
    check_embeddings("embeddings", embeddings)
    check_labels("labels", labels, length=embeddings.shape[0], num_classes=num_classes)
    if is_concrete(labels):
        counts = np.bincount(np.asarray(labels), minlength=num_classes)
        if (counts == 0).any():
            empty = np.flatnonzero(counts == 0)
            raise ValueError(
                f"every class needs a member, but {len(empty)} of {num_classes} classes have none, "
                f"the first is class {empty[0]}"
            )


def class_sizes(labels: Int[Array, " n"], num_classes: int) -> Int[Array, " classes"]:
    """The number of members of every class."""
    return jax.ops.segment_sum(jnp.ones(labels.shape, jnp.int32), labels, num_classes)
