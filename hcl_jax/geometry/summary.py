"""All metrics of one representation whose cost is linear in the number of embeddings.

A metric is added as a function of this package, a field of `Geometry` and a line in `measure`.
The records of training runs take all fields of `Geometry`, so each has to be an array.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.geometry._checks import check_two_classes
from hcl_jax.geometry.classes import (
    class_means,
    equal_inner_product,
    nc1,
    nc2,
    unit_norm,
    within_class,
    zero_sum,
)
from hcl_jax.geometry.hypersphere import alignment
from hcl_jax.geometry.simplex import etf_distance
from hcl_jax.geometry.spectrum import directions, effective_rank, scaled_spectrum


class Geometry(NamedTuple):
    """The metrics of one representation; each is documented at the function of its name.

    Attributes:
        zero_sum: the norm of the mean of the class means.
        unit_norm: the mean deviation of the norms of the class means from one.
        equal_inner_product: the mean deviation of their cosines from ``-1/(C-1)``.
        within_class: the mean distance of embeddings to their class mean.
        directions: the number of directions before the cliff of the spectrum.
        effective_rank: the exponential of the entropy of the spectrum.
        nc1: variability collapse.
        nc2_equinorm: coefficient of variation of the norms of the centred class means.
        nc2_equiangular: standard deviation of their cosines.
        nc2_maximal_angle: the mean deviation of their cosines from ``-1/(C-1)``.
        etf_distance: the distance of the class means to the nearest simplex ETF.
        alignment: the mean squared distance of embeddings of one class.
        spectrum: singular values of the covariance of the class means, largest first.
    """

    zero_sum: Float[Array, ""]
    unit_norm: Float[Array, ""]
    equal_inner_product: Float[Array, ""]
    within_class: Float[Array, ""]
    directions: Int[Array, ""]
    effective_rank: Float[Array, ""]
    nc1: Float[Array, ""]
    nc2_equinorm: Float[Array, ""]
    nc2_equiangular: Float[Array, ""]
    nc2_maximal_angle: Float[Array, ""]
    etf_distance: Float[Array, ""]
    alignment: Float[Array, ""]
    spectrum: Float[Array, " singular"]


def measure(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Geometry:
    """The metrics of embeddings and their classes, those whose cost is linear in n.

    `uniformity`, which compares all pairs of embeddings, is not among them, nor is `cdnv`, which
    runs do not record.

    Args:
        embeddings: one embedding per row.
        labels: the class of each row, from 0 to num_classes - 1.
        num_classes: the number C of classes, at least 2.

    Returns:
        See `Geometry`; `etf_distance` is NaN where ``dim < C - 1`` leaves no ETF.

    Raises:
        ValueError, TypeError: as `class_means`, and for fewer than two classes.

    Example:
        >>> from hcl_jax.geometry import simplex_etf
        >>> collapsed = measure(simplex_etf(3, 2), jnp.array([0, 1, 2]), 3)
        >>> collapsed.directions.item(), round(collapsed.etf_distance.item(), 5)
        (2, 0.0)
    """
    means = class_means(embeddings, labels, num_classes)
    return Geometry(
        **metrics_of_means(means),
        within_class=within_class(embeddings, labels, num_classes),
        nc1=nc1(embeddings, labels, num_classes),
        alignment=alignment(embeddings, labels, num_classes),
    )


def metrics_of_means(means: Float[Array, "classes dim"]) -> dict[str, Array]:
    """The fields of `Geometry` that the class means determine."""
    check_two_classes(means)
    spectrum, scale = scaled_spectrum(means)
    has_etf = means.shape[1] >= len(means) - 1
    nc2_parts = nc2(means)
    return {
        "zero_sum": zero_sum(means),
        "unit_norm": unit_norm(means),
        "equal_inner_product": equal_inner_product(means),
        "directions": directions(spectrum),
        "effective_rank": effective_rank(spectrum),
        "nc2_equinorm": nc2_parts.equinorm,
        "nc2_equiangular": nc2_parts.equiangular,
        "nc2_maximal_angle": nc2_parts.maximal_angle,
        "etf_distance": etf_distance(means) if has_etf else jnp.full((), jnp.nan, means.dtype),
        "spectrum": scale * (scale * spectrum),
    }
