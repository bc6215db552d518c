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
    norms,
    root,
)
from hcl_jax.precision import at_least_float32
from hcl_jax.validation import check_embeddings


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
    embeddings, labels = at_least_float32(embeddings), jnp.asarray(labels)
    sums = jax.ops.segment_sum(embeddings, labels, num_classes)
    return sums / class_sizes(labels, num_classes).astype(sums.dtype)[:, None]


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
    return norms(at_least_float32(means).mean(axis=0))


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
    return jnp.mean(jnp.abs(norms(at_least_float32(means)) - 1))


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
    return _cosines(at_least_float32(means)).errors.mean()


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
    means = class_means(embeddings, labels, num_classes)
    distances = norms(at_least_float32(embeddings) - means[labels])
    return class_means(distances[:, None], labels, num_classes).mean()


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
        the pseudo-inverse.

    Raises:
        ValueError, TypeError: as `class_means`.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> nc1(embeddings, jnp.array([0, 0, 1, 1]), 2).item()
        0.0
    """
    means = class_means(embeddings, labels, num_classes)
    deviations = at_least_float32(embeddings) - means[labels]
    within = deviations.T @ deviations / len(embeddings)
    centred = means - means.mean(axis=0)
    between = centred.T @ centred / num_classes
    return jnp.trace(within @ jnp.linalg.pinv(between, hermitian=True)) / num_classes


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
    centred = means - means.mean(axis=0)
    lengths = norms(centred)
    mean_length = lengths.mean()
    cosines = _cosines(centred)
    return NC2(
        equinorm=root(lengths.var()) / jnp.where(mean_length == 0, 1, mean_length),
        equiangular=root(cosines.values.var()),
        maximal_angle=cosines.errors.mean(),
    )


class _Cosines(NamedTuple):
    """Cosines of ordered pairs of different means, and their distances from ``-1/(C-1)``."""

    values: Float[Array, " pairs"]
    errors: Float[Array, " pairs"]


def _cosines(means: Float[Array, "classes dim"]) -> _Cosines:
    """The C (C - 1) cosines of different means; a mean that is zero has cosine zero."""
    count = len(means)
    lengths = norms(means)[:, None]
    unit = means / jnp.where(lengths > 0, lengths, 1)
    cosines = jnp.matmul(unit, unit.T, precision=jax.lax.Precision.HIGHEST)
    off_diagonal = cosines[~np.eye(count, dtype=bool)]
    return _Cosines(off_diagonal, jnp.abs(off_diagonal + 1 / (count - 1)))
