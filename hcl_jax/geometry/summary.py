"""All metrics of one representation at once."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.geometry.classes import (
    class_means,
    equal_inner_product,
    nc1,
    unit_norm,
    within_class,
    zero_sum,
)
from hcl_jax.geometry.simplex import etf_distance
from hcl_jax.geometry.spectrum import directions, effective_rank, singular_values


class Geometry(NamedTuple):
    """All metrics of one representation, as scalars, and the spectrum."""

    zero_sum: Float[Array, ""]
    unit_norm: Float[Array, ""]
    equal_inner_product: Float[Array, ""]
    within_class: Float[Array, ""]
    directions: Int[Array, ""]
    effective_rank: Float[Array, ""]
    nc1: Float[Array, ""]
    etf_distance: Float[Array, ""]
    spectrum: Float[Array, " singular"]


def measure(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Geometry:
    """All metrics at once.

    Args:
        embeddings: one a row.
        labels: the class of each row.
        num_classes: C, at least 2.

    Returns:
        See `Geometry`; `etf_distance` is NaN where ``dim < C - 1`` leaves no ETF.

    Raises:
        ValueError, TypeError: as `class_means`.

    Example:
        >>> import jax.numpy as jnp
        >>> labels = jnp.array([0, 1, 2])
        >>> measure(simplex_etf(3, 2), labels, 3).directions.item()
        2
    """
    means = class_means(embeddings, labels, num_classes)
    spectrum = singular_values(means)
    has_etf = means.shape[1] >= num_classes - 1
    return Geometry(
        zero_sum=zero_sum(means),
        unit_norm=unit_norm(means),
        equal_inner_product=equal_inner_product(means),
        within_class=within_class(embeddings, labels, num_classes),
        directions=directions(spectrum),
        effective_rank=effective_rank(spectrum),
        nc1=nc1(embeddings, labels, num_classes),
        etf_distance=etf_distance(means) if has_etf else jnp.full((), jnp.nan, means.dtype),
        spectrum=spectrum,
    )
