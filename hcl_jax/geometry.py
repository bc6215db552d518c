"""The geometry of a representation: neural collapse (NC) and dimensional collapse (DC), measured.

At NC every class is one point and the class means form a simplex equiangular tight frame (ETF):
unit norm, zero sum, equal inner products ``-1/(C-1)``. At DC the class means span far fewer than
C - 1 directions. The first five metrics are those of the paper's experiments.

Distances have no derivative at 0, where an optimiser that minimises them ends; there the gradients
of all metrics take the derivative of a norm and of a standard deviation to be 0.
"""

from typing import NamedTuple

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

DIRECTION_TOLERANCE = 1e-3
"""A direction counts if its singular value is above this fraction of the largest."""


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


def singular_values(means: Float[Array, "classes dim"]) -> Float[Array, " singular"]:
    """The spectrum: singular values of the covariance of the class means, largest first.

    Args:
        means: class means.

    Returns:
        The dim singular values of the centred ``(dim, dim)`` covariance (divided by C - 1). The
        figures show ``log(sigma_i / sigma_1)``. At NC in dimension C - 1 all are equal.

    Raises:
        ValueError: for fewer than two classes.

    Example:
        >>> import jax.numpy as jnp
        >>> singular_values(jnp.array([[1.0, 0.0], [-1.0, 0.0]])).round(4).tolist()
        [2.0, 0.0]
    """
    _check_two_classes(means)
    means = _wide(means)
    centred = means - means.mean(axis=0)
    values = jnp.square(jnp.linalg.svd(centred, compute_uv=False)) / (len(means) - 1)
    return jnp.pad(values, (0, max(0, means.shape[1] - len(values))))


def directions(spectrum: Float[Array, " singular"]) -> Int[Array, ""]:
    """The number of directions before the cliff of the spectrum.

    Args:
        spectrum: singular values, as from `singular_values`.

    Returns:
        How many are above `DIRECTION_TOLERANCE` times the largest; 0 for a zero spectrum.

    Raises:
        ValueError, TypeError: unless it is a vector, and on NaN where the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> directions(jnp.array([1.0, 0.5, 1e-4])).item()
        2
    """
    spectrum = _checked_spectrum(spectrum)
    return jnp.sum(spectrum > DIRECTION_TOLERANCE * spectrum.max()).astype(jnp.int32)


def effective_rank(spectrum: Float[Array, " singular"]) -> Float[Array, ""]:
    """The exponential of the entropy of the normalised spectrum (Roy and Vetterli, 2007).

    Args:
        spectrum: singular values.

    Returns:
        A number between 1 and the length of the spectrum; 0 for a zero spectrum.

    Raises:
        ValueError, TypeError: as `directions`.

    Example:
        >>> import jax.numpy as jnp
        >>> round(effective_rank(jnp.array([1.0, 1.0, 0.0])).item(), 5)
        2.0
    """
    spectrum = _checked_spectrum(spectrum)
    total = spectrum.sum()
    shares = spectrum / jnp.where(total == 0, 1, total)
    entropy = -jnp.sum(shares * jnp.log(jnp.where(shares > 0, shares, 1)))
    return jnp.where(total == 0, 0, jnp.exp(entropy))


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


def alignment(
    embeddings: Float[Array, "n dim"], positives: Float[Array, "n dim"]
) -> Float[Array, ""]:
    """The mean squared distance of positive pairs (Wang and Isola, 2020).

    Args:
        embeddings: one member of each pair.
        positives: the other member.

    Returns:
        ``mean |z - z+|^2``.

    Raises:
        ValueError, TypeError: if the shapes differ or are wrong, on wrong dtypes, and on NaN where
            the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> alignment(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])).item()
        2.0
    """
    check_embeddings("embeddings", embeddings)
    check_embeddings("positives", positives)
    if embeddings.shape != positives.shape:
        raise ValueError(f"pairs must have one shape, got {embeddings.shape} and {positives.shape}")
    return jnp.mean(jnp.sum(jnp.square(embeddings - positives), axis=1))


def uniformity(embeddings: Float[Array, "n dim"], *, scale: float = 2.0) -> Float[Array, ""]:
    """The log of the mean Gaussian potential of different embeddings (Wang and Isola, 2020).

    Args:
        embeddings: one a row, at least two.
        scale: the t of ``exp(-t |z - z'|^2)``.

    Returns:
        ``log mean_{i != j} exp(-t |z_i - z_j|^2)``; lower is more uniform.

    Raises:
        ValueError: for fewer than two embeddings.

    Example:
        >>> import jax.numpy as jnp
        >>> round(uniformity(jnp.array([[1.0], [-1.0]])).item(), 4)
        -8.0
    """
    check_embeddings("embeddings", embeddings)
    count = len(embeddings)
    if count < 2:
        raise ValueError("uniformity needs at least two embeddings, got one")
    norms = jnp.sum(jnp.square(embeddings), axis=1)
    inner = jnp.matmul(embeddings, embeddings.T, precision=jax.lax.Precision.HIGHEST)
    squared = jnp.maximum(norms[:, None] + norms - 2 * inner, 0)
    different = ~jnp.eye(count, dtype=bool)
    total = jax.nn.logsumexp(-scale * squared, where=different)
    return total - jnp.log(count * (count - 1))


def simplex_etf(num_classes: int, dim: int) -> Float[Array, "classes dim"]:
    """C unit vectors with all inner products ``-1/(C-1)``: the class means at neural collapse.

    Args:
        num_classes: C, at least 2.
        dim: the dimension, at least C - 1.

    Returns:
        The vectors, one a row; coordinates beyond C - 1 are zero.

    Raises:
        ValueError: if C < 2, or no such frame exists because ``dim < C - 1``.

    Example:
        >>> simplex_etf(2, 1).tolist()
        [[1.0], [-1.0]]
    """
    check_count("num_classes", num_classes, minimum=2)
    check_count("dim", dim)
    if dim < num_classes - 1:
        raise ValueError(
            f"a simplex ETF of {num_classes} classes needs dim >= {num_classes - 1}, got {dim}"
        )
    frame = np.zeros((num_classes, dim))
    for k in range(num_classes - 1):
        # Column k: row k takes what is left of its norm, the rows below share its opposite.
        left = num_classes - 1 - k
        height = np.sqrt((left / (left + 1)) * (num_classes / (num_classes - 1)))
        frame[k, k] = height
        frame[k + 1 :, k] = -height / left
    return jnp.asarray(frame, dtype=jnp.result_type(float))


def etf_distance(means: Float[Array, "classes dim"]) -> Float[Array, ""]:
    """The distance of the class means to the nearest rotated simplex ETF (orthogonal Procrustes).

    Args:
        means: class means.

    Returns:
        ``min_Q |M - E Q| / |E|`` (Frobenius norms) over isometries Q, with E the simplex ETF; 0
        exactly at NC of the class means, about 1 for means at zero. Its gradient is that at the
        nearest Q, which is exact since Q is a minimum; second derivatives are not.

    Raises:
        ValueError: if C < 2 or ``dim < C - 1``.

    Example:
        >>> round(etf_distance(0.5 * simplex_etf(4, 3)).item(), 5)
        0.5
    """
    check_embeddings("means", means)
    means = _wide(means)
    num_classes, dim = means.shape
    frame = simplex_etf(num_classes, dim).astype(means.dtype)
    overlap = jnp.matmul(frame.T, means, precision=jax.lax.Precision.HIGHEST)
    left, _, right = jnp.linalg.svd(overlap)
    rotation = jax.lax.stop_gradient(left @ right)
    nearest = jnp.matmul(frame, rotation, precision=jax.lax.Precision.HIGHEST)
    return _norms((means - nearest).ravel()) / jnp.sqrt(jnp.asarray(num_classes, means.dtype))


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


def _wide(array):
    """The array on the device, in at least float32."""
    array = jnp.asarray(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _cosines_off_diagonal(means):
    """Cosines of different means and their distances from -1/(C-1), each C (C - 1) numbers."""
    count = len(means)
    norms = _norms(means)[:, None]
    directions_ = means / jnp.where(norms > 0, norms, 1)
    cosines = jnp.matmul(directions_, directions_.T, precision=jax.lax.Precision.HIGHEST)
    off_diagonal = cosines[~np.eye(count, dtype=bool)]
    return off_diagonal, jnp.abs(off_diagonal + 1 / (count - 1))


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
