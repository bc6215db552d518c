"""Classifiers that know the class means alone, and the accuracy of scores."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.evaluation._checks import check_dims
from hcl_jax.precision import at_least_float32, exact_product, scale_of, wide_dtype
from hcl_jax.validation.batches import check_embeddings, check_labels
from hcl_jax.validation.numbers import check_count


def class_mean_scores(
    embeddings: Float[Array, "n dim"], means: Float[Array, "classes dim"]
) -> Float[Array, "n classes"]:
    """Inner products with the class means, ``z_i . mu_c``: the classifier of the paper's code.

    The class means are not normalised (reference code of arXiv 2311.05139).

    Args:
        embeddings: embeddings of test images, one per row.
        means: class means over the training set, one per row.

    Returns:
        A score for each image and class, in at least float32; the class with the largest score is
        predicted. Where numbers are so large or small that products would leave the range, all
        scores are divided by one power of two.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, and on NaN where the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> class_mean_scores(jnp.array([[1.0, 0.0]]), jnp.eye(2)).tolist()
        [[1.0, 0.0]]
    """
    check_dims(embeddings, means)
    points, centres, scale = _scaled(embeddings, means)
    return _unscaled(exact_product(points, centres.T), scale)


def nearest_mean_scores(
    embeddings: Float[Array, "n dim"], means: Float[Array, "classes dim"]
) -> Float[Array, "n classes"]:
    """Minus half the squared distances to the class means, up to a constant for each image.

    ``z_i . mu_c - |mu_c|^2 / 2 = (|z_i|^2 - |z_i - mu_c|^2) / 2``, of vectors from the mean of the
    class means, so that no digits are lost far from the origin: the nearest class-centre classifier
    of the neural-collapse literature (Papyan, Han and Donoho, 2020, NC4). It differs from
    `class_mean_scores` where the class means have different norms.

    Args:
        embeddings: embeddings of test images, one per row.
        means: class means over the training set, one per row.

    Returns:
        A score for each image and class, in units as those of `class_mean_scores`; the largest
        belongs to the nearest class mean.

    Raises:
        ValueError, TypeError: as `class_mean_scores`.

    Example:
        >>> import jax.numpy as jnp
        >>> means = jnp.array([[1.0, 0.0], [9.0, 0.0]])
        >>> nearest_mean_scores(jnp.array([[2.0, 0.0]]), means).argmax(axis=1).tolist()
        [0]
    """
    check_dims(embeddings, means)
    points, centres, scale = _scaled(embeddings, means)
    middle = jnp.mean(centres, axis=0, keepdims=True)
    points, centres = points - middle, centres - middle
    halves = jnp.sum(jnp.square(centres), axis=1) / 2
    return _unscaled(exact_product(points, centres.T) - halves[None], scale)


def _scaled(
    embeddings: Float[Array, "n dim"], means: Float[Array, "classes dim"]
) -> tuple[Float[Array, "n dim"], Float[Array, "classes dim"], Float[Array, ""]]:
    """Both divided by one power of two, which is the third, so that no product overflows."""
    dtype = wide_dtype(embeddings, means)
    points, centres = (jnp.asarray(rows).astype(dtype) for rows in (embeddings, means))
    scale = jnp.maximum(scale_of(points), scale_of(centres))
    return points / scale, centres / scale, scale


def _unscaled(
    scores: Float[Array, "n classes"], scale: Float[Array, ""]
) -> Float[Array, "n classes"]:
    """Scores times the square of the scale, if all its digits are in the range of the dtype."""
    limits = jnp.finfo(scores.dtype)
    most = math.sqrt(limits.eps / limits.tiny)
    unit = jnp.where((scale <= most) & (scale >= 1 / most), scale, 1)
    return unit * (unit * scores)


def top_k_accuracy(
    scores: Float[Array, "n classes"], labels: Int[Array, " n"], k: int = 1
) -> Float[Array, ""]:
    """The share of images whose class is among the k best scores.

    Args:
        scores: a score for each image and class.
        labels: the true class of each image, from 0; images without a class are to be left out.
        k: the number of guesses for each image, at most the number of classes.

    Returns:
        A number in [0, 1]. A class counts as among the best if fewer than k classes score higher or
        score the same and come earlier, so that k guesses are made, never more.

    Raises:
        ValueError, TypeError: on wrong shapes, a k or a label out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = jnp.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3]])
        >>> [top_k_accuracy(scores, jnp.array([1, 2]), k).item() for k in (1, 2)]
        [0.5, 1.0]
    """
    check_embeddings("scores", scores)
    check_labels("labels", labels, length=scores.shape[0], num_classes=scores.shape[1])
    k = check_count("k", k)
    if k > scores.shape[1]:
        raise ValueError(f"k must be at most the {scores.shape[1]} classes, got {k}")
    _, best = jax.lax.top_k(at_least_float32(scores), k)
    hits = jnp.any(best == jnp.asarray(labels).astype(best.dtype)[:, None], axis=1)
    return jnp.sum(hits, dtype=jnp.int32).astype(wide_dtype(scores)) / len(hits)
