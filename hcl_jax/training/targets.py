"""What a training step minimises: one of the paper's objectives, or distances to class targets.

A target is data, not code: one compiled program trains all objectives, as their hardness and
whether their pairs are supervised are numbers. Class targets are for starting near neural collapse:
the network is first fitted to a simplex, and then trained with an objective.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.conventions import Objective
from hcl_jax.geometry import simplex_etf
from hcl_jax.hardening import Hardening, exponential
from hcl_jax.losses import AnchorLosses
from hcl_jax.psi import infonce


class ClassTargets(NamedTuple):
    """A point for each class, to which the embeddings of the class are drawn.

    Attributes:
        points: the points (classes, dim).
    """

    points: Float[Array, "classes dim"]


Target = Objective | ClassTargets


def traced_objective(
    *,
    supervised: bool,
    beta: Float[Array, ""] | float | None = None,
    hardening: Hardening | None = None,
    temperature: Float[Array, ""] | float = 1.0,
) -> Objective:
    """One of the paper's objectives as arrays, so that one compiled program trains all of them.

    Args:
        supervised: True for SCL and HSCL, False for UCL and HUCL.
        beta: hardness of exponential tilting; left out or 0 for SCL and UCL.
        hardening: another hardening function in its place.
        temperature: temperature of InfoNCE. Hardness is not divided by it.

    Returns:
        An objective with InfoNCE; a pytree of arrays, of one structure for all objectives with
        exponential tilting and the number 1 as temperature, and of another one for all others.

    Raises:
        ValueError: if both `beta` and `hardening` are given, or a number is out of its range.

    Example:
        >>> bool(traced_objective(supervised=True, beta=5.0).supervised)
        True
    """
    if hardening is None:
        hardening = exponential(jnp.asarray(0.0 if beta is None else beta, jnp.float32))
    elif beta is not None:
        raise ValueError("give beta or a hardening function, not both")
    psi = None
    if not isinstance(temperature, (int, float)) or temperature != 1:
        psi = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), infonce(temperature=temperature))
    return Objective(jnp.asarray(supervised), hardening, psi)


def simplex_targets(num_classes: int, dim: int) -> ClassTargets:
    """The simplex equiangular tight frame: the class means of neural collapse.

    Args:
        num_classes: number of points C.
        dim: dimension of the embeddings, at least C - 1.

    Returns:
        The points.

    Raises:
        ValueError: if the dimension is too small.

    Example:
        >>> simplex_targets(3, 2).points.shape
        (3, 2)
    """
    return ClassTargets(simplex_etf(num_classes, dim))


def class_target_losses(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], targets: ClassTargets
) -> AnchorLosses:
    """Squared distances of embeddings to the points of their classes.

    Args:
        embeddings: embeddings of a batch.
        labels: the class of each.
        targets: the points.

    Returns:
        A loss for each embedding, to be averaged like those of an objective.

    Raises:
        ValueError: if embeddings and points are not of one dimension.

    Example:
        >>> import jax.numpy as jnp
        >>> targets = ClassTargets(jnp.array([[1.0], [-1.0]]))
        >>> embeddings, labels = jnp.array([[0.0], [-1.0]]), jnp.array([0, 1])
        >>> class_target_losses(embeddings, labels, targets).total.tolist()
        [1.0, 0.0]
    """
    if embeddings.shape[1] != targets.points.shape[1]:
        raise ValueError(
            f"embeddings and class targets must have one dimension, got {embeddings.shape[1]} and "
            f"{targets.points.shape[1]}"
        )
    distances = jnp.sum(jnp.square(embeddings - targets.points[labels]), axis=1)
    ones = jnp.ones(labels.shape, jnp.int32)
    return AnchorLosses(distances, ones, ones > 0)
