"""Argument checks that the metrics share, and the sizes of classes."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.validation.arrays import check_floating
from hcl_jax.validation.batches import check_embeddings, check_labels
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import check_count, check_non_negative, check_positive, check_scalar
from hcl_jax.validation.options import check_choice

Average = Literal["pairs", "anchors"]
"""How classes weigh as anchors: by their pairs of members, or by their members."""

COLDEST = 0.004


def check_spectrum(spectrum: Float[Array, " singular"]) -> None:
    """Raises unless it is a vector of floating point, not empty, and, if concrete, of sizes."""
    check_floating("the spectrum", spectrum)
    if jnp.ndim(spectrum) != 1 or not len(spectrum):
        raise ValueError(f"the spectrum must be a vector, got shape {jnp.shape(spectrum)}")
    check_non_negative("the spectrum", spectrum)


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
        counts = np.bincount(np.asarray(labels).astype(np.int64), minlength=num_classes)
        if (counts == 0).any():
            empty = np.flatnonzero(counts == 0)
            raise ValueError(
                f"every class needs a member, but {len(empty)} of {num_classes} classes have none, "
                f"the first is class {empty[0]}"
            )


def int32_labels(labels: Int[Array, " n"]) -> Int[Array, " n"]:
    """Labels that were checked, in int32: a narrower dtype may not hold the number of classes."""
    return jnp.asarray(labels).astype(jnp.int32)


def class_sizes(labels: Int[Array, " n"], num_classes: int) -> Int[Array, " classes"]:
    """The number of members of every class."""
    return jax.ops.segment_sum(jnp.ones(labels.shape, jnp.int32), labels, num_classes)


def check_average(average: Average) -> None:
    """Raises unless it is one of the two."""
    check_choice("average", average, ("pairs", "anchors"))


def known_number(name: str, value: float, *, positive: bool = False) -> float:
    """The number of Python; raises unless it is one, and positive or at least not negative."""
    check_scalar(name, value)
    if not is_concrete(value):
        raise TypeError(f"{name} must be a number that is known, not one traced by JAX")
    (check_positive if positive else check_non_negative)(name, value)
    return float(value)


def known_temperature(temperature: float) -> float:
    """The number of Python; raises unless differences over it have exponentials in float64."""
    temperature = known_number("temperature", temperature, positive=True)
    if temperature < COLDEST:
        raise ValueError(
            f"temperature must be at least {COLDEST} here, for e^(-2 / temperature) to be in "
            f"float64, got {temperature}"
        )
    return temperature
