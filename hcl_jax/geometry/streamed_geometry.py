"""The metrics that a streamed representation has: those of its class sizes, means and squares."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.geometry.classes import inverse_of_centred
from hcl_jax.geometry.separation import separation
from hcl_jax.geometry.summary import metrics_of_means
from hcl_jax.precision import Compensated, exact_product, root, scale_of


class StreamedGeometry(NamedTuple):
    """The metrics that class sizes, class means and squared deviations determine.

    They are those of `Geometry`, but for `within_class`, a mean of distances, of which the squares
    say only that it is at most the mean of `spreads`; and some of single classes. `uniformity`,
    which compares all pairs, is not determined either.

    Attributes:
        zero_sum: the norm of the mean of the class means.
        unit_norm: the mean deviation of the norms of the class means from one.
        equal_inner_product: the mean deviation of their cosines from ``-1/(C-1)``.
        directions: the number of directions before the cliff of the spectrum.
        effective_rank: the exponential of the entropy of the spectrum.
        nc1: variability collapse.
        nc2_equinorm: coefficient of variation of the norms of the centred class means.
        nc2_equiangular: standard deviation of their cosines.
        nc2_maximal_angle: the mean deviation of their cosines from ``-1/(C-1)``.
        etf_distance: the distance of the class means to the nearest simplex ETF; NaN without one.
        alignment: the mean squared distance of embeddings of one class.
        cdnv: the class-distance normalised variance.
        spectrum: singular values of the covariance of the class means, largest first.
        sizes: the number of members of every class.
        means: the class means.
        spreads: the root mean square distance of the members of a class to its mean.
    """

    zero_sum: Float[Array, ""]
    unit_norm: Float[Array, ""]
    equal_inner_product: Float[Array, ""]
    directions: Int[Array, ""]
    effective_rank: Float[Array, ""]
    nc1: Float[Array, ""]
    nc2_equinorm: Float[Array, ""]
    nc2_equiangular: Float[Array, ""]
    nc2_maximal_angle: Float[Array, ""]
    etf_distance: Float[Array, ""]
    alignment: Float[Array, ""]
    cdnv: Float[Array, ""]
    spectrum: Float[Array, " singular"]
    sizes: Int[Array, " classes"]
    means: Float[Array, "classes dim"]
    spreads: Float[Array, " classes"]


@jax.jit
def metrics_of_sums(
    sizes: Int[Array, " classes"],
    means: Compensated,
    squares: Compensated,
    scatter: Compensated,
    scale: Float[Array, ""],
    refused: Int[Array, "2"],
) -> StreamedGeometry:
    """The metrics of the fields of an `Accumulator`.

    They are NaN where it refused a row, or a class is empty or too large to be counted.
    """
    counts = sizes.astype(scale.dtype)
    wrong = jnp.any(refused > 0) | jnp.any(sizes <= 0)
    centres = jnp.where(wrong, jnp.nan, means.total + means.rest)
    variances = (squares.total + squares.rest) / counts
    unit = jnp.maximum(scale_of(centres), scale)
    shrink = scale / unit
    within = (scatter.total + scatter.rest) * shrink * shrink
    inverse = inverse_of_centred(centres / unit)
    traces = jnp.sum(inverse * exact_product(within, inverse))
    to_positives = 2 * counts / jnp.maximum(counts - 1, 1) * variances
    with_positives = jnp.where(sizes > 1, counts, 0)
    pairs = jnp.sum(with_positives * to_positives) / jnp.maximum(jnp.sum(with_positives), 1)
    of_means = metrics_of_means(centres)
    return StreamedGeometry(
        **{name: of_means[name] for name in of_means if name in StreamedGeometry._fields},
        nc1=jnp.maximum(traces, 0) / jnp.sum(counts),
        alignment=scale * (scale * pairs),
        cdnv=separation(centres / unit, variances * shrink * shrink),
        sizes=sizes,
        means=centres,
        spreads=scale * root(variances),
    )
