"""Class means and the spread around them.

The reference code of arXiv 2311.05139 measures `zero_sum`, `unit_norm`, `equal_inner_product` and
`within_class`; NC1 and NC2 are those of Papyan, Han and Donoho (2020, "Prevalence of neural
collapse during the terminal phase of deep learning training").
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.geometry._checks import (
    check_classes,
    check_two_classes,
    class_sizes,
    int32_labels,
)
from hcl_jax.geometry._pseudo_inverse import pseudo_inverse
from hcl_jax.precision import (
    at_least_float32,
    exact_product,
    norms,
    root,
    row_mean,
    scale_of,
    segment_means,
    unit_vectors,
)
from hcl_jax.validation.batches import check_embeddings

ROUNDING = 64
"""Class means differ in a direction if they do by more than this many roundings of the largest."""


def class_means(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, "classes dim"]:
    """The mean embedding of every class: ``mu_c = mean {z_i : y_i = c}``.

    Args:
        embeddings: one embedding per row.
        labels: the class of each row, from 0 to num_classes - 1.
        num_classes: the number C of classes.

    Returns:
        The (C, dim) matrix of class means, in at least float32.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, and, where the numbers are concrete, on
            NaN, on a label out of range and on a class without a member. Under `jax.jit`, the mean
            of an empty class is NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> class_means(jnp.array([[1.0], [3.0], [5.0]]), jnp.array([0, 0, 1]), 2).tolist()
        [[2.0], [5.0]]
    """
    check_classes(embeddings, labels, num_classes)
    labels = int32_labels(labels)
    sizes = class_sizes(labels, num_classes)
    return segment_means(at_least_float32(embeddings), labels, sizes)


def zero_sum(means: Float[Array, "classes dim"]) -> Float[Array, ""]:
    """The norm of the mean of the class means: ``|(1/C) sum_c mu_c|``; 0 at NC.

    Args:
        means: class means, one per row.

    Returns:
        A non-negative number.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, and on NaN where the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> zero_sum(jnp.array([[1.0, 0.0], [-1.0, 1.0]])).item()
        0.5
    """
    check_embeddings("means", means)
    return norms(row_mean(at_least_float32(means)))


def unit_norm(means: Float[Array, "classes dim"]) -> Float[Array, ""]:
    """The mean deviation of the norms of the class means from one; 0 at NC.

    ``(1/C) sum_c ||mu_c| - 1|``

    Args:
        means: class means, one per row.

    Returns:
        A non-negative number.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, and on NaN where the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> unit_norm(jnp.array([[0.5, 0.0], [0.0, 2.0]])).item()
        0.75
    """
    check_embeddings("means", means)
    return row_mean(jnp.abs(norms(at_least_float32(means)) - 1))


def equal_inner_product(means: Float[Array, "classes dim"]) -> Float[Array, ""]:
    """The mean deviation of the cosines of class means from ``-1/(C-1)``; 0 at NC.

    ``mean_{j != l} |cos(mu_j, mu_l) + 1/(C-1)|``

    Args:
        means: class means, one per row; a mean that is exactly zero has cosine zero with the rest.

    Returns:
        A non-negative number.

    Raises:
        ValueError: for fewer than two classes.

    Example:
        >>> from hcl_jax.geometry import simplex_etf
        >>> equal_inner_product(simplex_etf(3, 2)).item() < 1e-6
        True
    """
    check_two_classes(means)
    return row_mean(_cosines(at_least_float32(means)).errors)


def within_class(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, ""]:
    """The mean distance of embeddings to their class mean, averaged over classes; 0 at NC.

    ``(1/C) sum_c mean_{y_i = c} |z_i - mu_c|``

    Args:
        embeddings: one embedding per row.
        labels: the class of each row, from 0 to num_classes - 1.
        num_classes: the number C of classes.

    Returns:
        A mean Euclidean distance.

    Raises:
        ValueError, TypeError: as `class_means`.

    Example:
        >>> import jax.numpy as jnp
        >>> within_class(jnp.array([[1.0], [3.0], [5.0]]), jnp.array([0, 0, 1]), 2).item()
        0.5
    """
    means, labels = class_means(embeddings, labels, num_classes), int32_labels(labels)
    distances = norms(deviations(embeddings, labels, means))
    sizes = class_sizes(labels, num_classes)
    return row_mean(segment_means(distances[:, None], labels, sizes))[0]


def nc1(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, ""]:
    """Variability collapse: ``trace(within @ pinv(between)) / C`` (Papyan et al., 2020, NC1).

    Args:
        embeddings: one embedding per row.
        labels: the class of each row, from 0 to num_classes - 1.
        num_classes: the number C of classes.

    Returns:
        A non-negative number; 0 at NC. The between-class covariance has rank at most C - 1, hence
        the pseudo-inverse: directions in which the class means differ by no more than rounding
        (`ROUNDING`) are left out. The gradient takes the number of directions as given.

    Raises:
        ValueError, TypeError: as `class_means`.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> nc1(embeddings, jnp.array([0, 0, 1, 1]), 2).item()
        0.0
    """
    means = class_means(embeddings, labels, num_classes)
    around = deviations(embeddings, int32_labels(labels), means)
    scale = jnp.maximum(scale_of(means), scale_of(around))
    inverse = inverse_of_centred(means / scale)
    ratios = exact_product(around / scale, inverse)
    return row_mean(jnp.sum(jnp.square(ratios), axis=1))


def inverse_of_centred(means: Float[Array, "classes dim"]) -> Float[Array, "dim columns"]:
    """``pinv(M)``, M the centred means, up to a rotation of its columns.

    The pseudo-inverse of the covariance between classes is ``C pinv(M) pinv(M)^T``, so that NC1 is
    the mean of ``|(z - mu)^T pinv(M)|^2`` over rows.
    """
    rounding = ROUNDING * jnp.finfo(means.dtype).eps * jnp.max(norms(means))
    inverse = pseudo_inverse(centred(means), rounding)
    if len(means) > means.shape[1]:  # the same norms, in fewer columns
        basis, _ = jnp.linalg.qr(jax.lax.stop_gradient(inverse.T))
        inverse = exact_product(inverse, basis)
    return inverse


def deviations(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], means: Float[Array, "classes dim"]
) -> Float[Array, "n dim"]:
    """Embeddings minus the mean of their class, in at least float32."""
    return at_least_float32(embeddings) - means[labels]


def centred(means: Float[Array, "classes dim"]) -> Float[Array, "classes dim"]:
    """The class means minus their mean."""
    return means - row_mean(means)[None]


class NC2(NamedTuple):
    """Convergence of the centred class means to a simplex ETF (Papyan et al., 2020, NC2).

    Attributes:
        equinorm: coefficient of variation of the norms of the centred means; 0 at NC.
        equiangular: standard deviation of the cosines between different centred means; 0 at NC.
        maximal_angle: mean over pairs of ``|cos + 1/(C-1)|`` of centred means; 0 at NC.
    """

    equinorm: Float[Array, ""]
    equiangular: Float[Array, ""]
    maximal_angle: Float[Array, ""]


def nc2(means: Float[Array, "classes dim"]) -> NC2:
    """The three parts of NC2, of the class means centred by their mean.

    Args:
        means: class means, one per row.

    Returns:
        See `NC2`. Shifted and shrunk frames, the optimum of HUCL, have NC2 zero too; `zero_sum`
        and `unit_norm` distinguish them from NC.

    Raises:
        ValueError: for fewer than two classes.

    Example:
        >>> from hcl_jax.geometry import simplex_etf
        >>> max(nc2(0.5 * simplex_etf(4, 3))).item() < 1e-6
        True
    """
    check_two_classes(means)
    means = at_least_float32(means)
    shape = centred(means / scale_of(means))
    lengths = norms(shape)
    mean_length = row_mean(lengths)
    cosines = _cosines(shape)
    return NC2(
        equinorm=_deviation(lengths) / jnp.where(mean_length == 0, 1, mean_length),
        equiangular=_deviation(cosines.values),
        maximal_angle=row_mean(cosines.errors),
    )


class _Cosines(NamedTuple):
    """Cosines of ordered pairs of different means, and their distances from ``-1/(C-1)``."""

    values: Float[Array, " pairs"]
    errors: Float[Array, " pairs"]


def _cosines(means: Float[Array, "classes dim"]) -> _Cosines:
    """The C (C - 1) cosines of different means; a mean that is zero has cosine zero."""
    count, unit = len(means), unit_vectors(means)
    cosines = exact_product(unit, unit.T)
    off_diagonal = cosines[~np.eye(count, dtype=bool)]
    return _Cosines(off_diagonal, jnp.abs(off_diagonal + 1 / (count - 1)))


def _deviation(values: Float[Array, " n"]) -> Float[Array, ""]:
    """The standard deviation; its gradient at 0 is 0."""
    return root(row_mean(jnp.square(values - row_mean(values))))
