"""Class means and the spread around them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax.geometry._checks import _check_classes, _check_two_classes, _norms, _root, _wide
from hcl_jax.validation import (
    check_embeddings,
)


def class_means(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, "classes dim"]:
    """The mean embedding of every class.

    Args:
        embeddings: one a row.
        labels: the class of each row, 0 to num_classes - 1.
        num_classes: C.

    Returns:
        The (C, dim) matrix of class means.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, and, where the numbers are concrete, on
            NaN, on a label out of range and on a class without a member. Under `jax.jit`, the mean
            of an empty class is NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> class_means(jnp.array([[1.0], [3.0], [5.0]]), jnp.array([0, 0, 1]), 2).tolist()
        [[2.0], [5.0]]
    """
    _check_classes(embeddings, labels, num_classes)
    embeddings, labels = _wide(embeddings), jnp.asarray(labels)
    dtype = jnp.promote_types(embeddings.dtype, jnp.float32)
    counts = jax.ops.segment_sum(jnp.ones(labels.shape, dtype), labels, num_classes)
    sums = jax.ops.segment_sum(embeddings.astype(dtype), labels, num_classes)
    return sums / counts[:, None]


def zero_sum(means: Float[Array, "classes dim"]) -> Float[Array, ""]:
    """The norm of the mean of the class means; 0 at NC.

    Args:
        means: class means.

    Returns:
        ``|(1/C) sum_c mu_c|``.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, and on NaN where the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> zero_sum(jnp.array([[1.0, 0.0], [-1.0, 1.0]])).item()
        0.5
    """
    check_embeddings("means", means)
    return _norms(_wide(means).mean(axis=0))


def unit_norm(means: Float[Array, "classes dim"]) -> Float[Array, ""]:
    """The mean deviation of the norms of the class means from one; 0 at NC.

    Args:
        means: class means.

    Returns:
        ``(1/C) sum_c ||mu_c| - 1|``.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, and on NaN where the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> unit_norm(jnp.array([[0.5, 0.0], [0.0, 2.0]])).item()
        0.75
    """
    check_embeddings("means", means)
    return jnp.mean(jnp.abs(_norms(_wide(means)) - 1))


def equal_inner_product(means: Float[Array, "classes dim"]) -> Float[Array, ""]:
    """The mean deviation of the cosines of class means from ``-1/(C-1)``; 0 at NC.

    Args:
        means: class means; a mean that is exactly zero has cosine zero with every other.

    Returns:
        The mean over ordered pairs j != l of ``|cos(mu_j, mu_l) + 1/(C-1)|``.

    Raises:
        ValueError: for fewer than two classes.

    Example:
        >>> equal_inner_product(simplex_etf(3, 2)).item() < 1e-6
        True
    """
    _check_two_classes(means)
    _, unequal = _cosines_off_diagonal(_wide(means))
    return unequal.mean()


def within_class(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, ""]:
    """The mean over classes of the mean distance of the embeddings to their class mean; 0 at NC.

    Args:
        embeddings: one a row.
        labels: the class of each row.
        num_classes: C.

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
    distances = _norms(_wide(embeddings) - means[labels])
    return class_means(distances[:, None], labels, num_classes).mean()


def nc1(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, ""]:
    """Variability collapse: ``trace(within @ pinv(between)) / C`` (Papyan, Han and Donoho, 2020).

    Args:
        embeddings: one a row.
        labels: the class of each row.
        num_classes: C.

    Returns:
        The metric called NC1 in the neural-collapse literature; 0 at NC. The between-class
        covariance has rank at most C - 1, hence the pseudo-inverse.

    Raises:
        ValueError, TypeError: as `class_means`.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> nc1(embeddings, jnp.array([0, 0, 1, 1]), 2).item()
        0.0
    """
    means = class_means(embeddings, labels, num_classes)
    deviations = _wide(embeddings) - means[labels]
    within = deviations.T @ deviations / len(embeddings)
    centred = means - means.mean(axis=0)
    between = centred.T @ centred / num_classes
    return jnp.trace(within @ jnp.linalg.pinv(between, hermitian=True)) / num_classes


class NC2(NamedTuple):
    """Convergence of the centred class means to a simplex ETF (Papyan, Han and Donoho, 2020).

    Attributes:
        equinorm: coefficient of variation of the norms of the centred means; 0 at NC.
        equiangular: standard deviation of the cosines between different centred means; 0 at NC.
        maximal_angle: mean over pairs of ``|cos + 1/(C-1)|`` of centred means; 0 at NC.
    """

    equinorm: Float[Array, ""]
    equiangular: Float[Array, ""]
    maximal_angle: Float[Array, ""]


def nc2(means: Float[Array, "classes dim"]) -> NC2:
    """The three parts of NC2, of the means centred by their mean.

    Args:
        means: class means.

    Returns:
        See `NC2`. Shifted and shrunk frames, the optimum of HUCL, have NC2 zero too, which
        `zero_sum` and `unit_norm` tell from NC.

    Raises:
        ValueError: for fewer than two classes.

    Example:
        >>> max(nc2(0.5 * simplex_etf(4, 3))).item() < 1e-6
        True
    """
    _check_two_classes(means)
    means = _wide(means)
    centred = means - means.mean(axis=0)
    norms = _norms(centred)
    mean_norm = norms.mean()
    relative = _root(norms.var()) / jnp.where(mean_norm == 0, 1, mean_norm)
    cosines, unequal = _cosines_off_diagonal(centred)
    return NC2(
        equinorm=relative,
        equiangular=_root(cosines.var()),
        maximal_angle=unequal.mean(),
    )


def _cosines_off_diagonal(means):
    """Cosines of different means and their distances from -1/(C-1), each C (C - 1) numbers."""
    count = len(means)
    norms = _norms(means)[:, None]
    directions_ = means / jnp.where(norms > 0, norms, 1)
    cosines = jnp.matmul(directions_, directions_.T, precision=jax.lax.Precision.HIGHEST)
    off_diagonal = cosines[~np.eye(count, dtype=bool)]
    return off_diagonal, jnp.abs(off_diagonal + 1 / (count - 1))
