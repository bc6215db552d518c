"""How far classes are apart beside how wide they are: the class-distance normalised variance.

It is that of Galanti, Gyorgy and Hutter (2022, "On the Role of Neural Collapse in Transfer
Learning").
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.geometry._checks import check_two_classes, class_sizes, int32_labels
from hcl_jax.geometry.classes import class_means, deviations
from hcl_jax.precision import scale_of, segment_means


def cdnv(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, ""]:
    """The class-distance normalised variance: variances of two classes over their distance.

    ``mean_{c != d} (V_c + V_d) / (2 |mu_c - mu_d|^2)`` with ``V_c = mean_{y_i = c} |z_i - mu_c|^2``
    (Galanti et al., 2022).

    Args:
        embeddings: one embedding per row.
        labels: the class of each row, from 0 to num_classes - 1.
        num_classes: the number C of classes, at least 2.

    Returns:
        A non-negative number; 0 where every class is a point of its own, inf where two class means
        are equal.

    Raises:
        ValueError, TypeError: as `class_means`, and for fewer than two classes.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [3.0], [-1.0], [-3.0]])
        >>> cdnv(embeddings, jnp.array([0, 0, 1, 1]), 2).item()
        0.0625
    """
    means, labels = class_means(embeddings, labels, num_classes), int32_labels(labels)
    check_two_classes(means)
    around = deviations(embeddings, labels, means)
    scale = jnp.maximum(scale_of(around), scale_of(means))
    squares = jnp.sum(jnp.square(around / scale), axis=1, keepdims=True)
    variances = segment_means(squares, labels, class_sizes(labels, num_classes))[:, 0]
    return separation(means / scale, variances)


def separation(
    means: Float[Array, "classes dim"], variances: Float[Array, " classes"]
) -> Float[Array, ""]:
    """`cdnv` of class means and of the variance of each class; a class at a time, as memory."""

    def of_class(number: Int[Array, ""]) -> Float[Array, ""]:
        distances = jnp.sum(jnp.square(means - means[number][None]), axis=1)
        other = jnp.arange(len(means)) != number
        apart = distances > 0
        ratios = (variances + variances[number]) / (2 * jnp.where(apart, distances, 1))
        return jnp.sum(jnp.where(other, jnp.where(apart, ratios, jnp.inf), 0)) / (len(means) - 1)

    return jnp.mean(jax.lax.map(of_class, jnp.arange(len(means))))
