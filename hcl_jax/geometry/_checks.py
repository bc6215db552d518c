"""Checks and norms that the metrics share."""

import jax.numpy as jnp
import numpy as np

from hcl_jax.validation import (
    check_array,
    check_count,
    check_embeddings,
    check_finite,
    check_labels,
    is_concrete,
)


def _wide(array):
    """The array on the device, in at least float32."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _norms(vectors):
    """Norms along the last axis."""
    return _root(jnp.sum(jnp.square(vectors), axis=-1))


def _root(squares):
    """Square roots; their gradient at 0 is 0."""
    zero = squares == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))


def _checked_spectrum(spectrum):
    check_array("the spectrum", spectrum)
    if jnp.ndim(spectrum) != 1 or not len(spectrum):
        raise ValueError(f"the spectrum must be a vector, got shape {jnp.shape(spectrum)}")
    check_finite("the spectrum", spectrum)
    return jnp.asarray(spectrum)


def _check_two_classes(means):
    check_embeddings("means", means)
    if len(means) < 2:
        raise ValueError(f"this metric compares classes and needs at least 2, got {len(means)}")


def _check_classes(embeddings, labels, num_classes):
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
