"""Checks of the arrays of a batch: embeddings, labels, and the weights of rows."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from hcl_jax.validation.arrays import (
    check_array,
    check_finite_rows,
    check_floating,
    check_integers,
    fits_int32,
)
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import check_non_negative


def check_embeddings(name: str, embeddings: Any) -> None:
    """Raises unless `embeddings` is floating point, (n, d), n, d >= 1, and finite if concrete."""
    check_array(name, embeddings)
    shape = jnp.shape(embeddings)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name} must have shape (n, dim) with n, dim >= 1, got shape {shape}")
    check_floating(name, embeddings)
    check_finite_rows(name, embeddings)


def check_labels(name: str, labels: Any, *, length: int, num_classes: int | None = None) -> None:
    """Raises unless `labels` are integers (length,), in 0..num_classes-1 where that is given."""
    check_array(name, labels)
    shape = jnp.shape(labels)
    if shape != (length,):
        raise ValueError(
            f"{name} must have shape ({length},), one for each embedding, got shape {shape}"
        )
    check_integers(name, labels)
    if is_concrete(labels) and not fits_int32(labels):
        raise ValueError(
            f"{name} must fit in int32, the integers of JAX; map other integers, such as hashes, "
            "to ranks first: numpy.unique(values, return_inverse=True)[1]"
        )
    if num_classes is not None:
        check_classes(name, labels, num_classes)


def check_classes(name: str, labels: Any, num_classes: int) -> None:
    """Raises ValueError unless concrete integers lie in 0..num_classes-1."""
    check_no_negative_labels(name, labels)
    if is_concrete(labels) and (wrong := np.asarray(labels).astype(int) >= num_classes).any():
        raise ValueError(
            f"{name} must lie in 0..{num_classes - 1}, got {np.asarray(labels)[wrong.argmax()]} at "
            f"position {wrong.argmax()} ({wrong.sum()} out of range)"
        )


def check_no_negative_labels(
    name: str, labels: Any, ways_out: str = "leave rows without a label out"
) -> None:
    """Raises ValueError if concrete labels are negative, as where a row has no label."""
    if is_concrete(labels) and (negative := np.asarray(labels) < 0).any():
        raise ValueError(
            f"{name} must not be negative, got {np.asarray(labels)[negative.argmax()]} at position "
            f"{negative.argmax()} ({negative.sum()} negative); a negative label is no class: "
            f"{ways_out}"
        )


def check_weights(weights: Any, *, length: int) -> Any:
    """The weights, floating point (length,); raises if others, or concrete and not non-negative."""
    check_floating("weights", weights)
    if jnp.shape(weights) != (length,):
        raise ValueError(
            f"weights must have shape ({length},), one for each embedding, got shape "
            f"{jnp.shape(weights)}"
        )
    return check_non_negative("weights", weights)
