"""What training aims at: one of the paper's objectives, or a given frame of class points.

An aim is data, not code: one compiled program trains all objectives, as their hardness and whether
their pairs are supervised are numbers. A frame is for starting near neural collapse: the network is
first fitted to a simplex, and then trained with an objective.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.geometry import simplex_etf
from hcl_jax.hardening import Hardening, exponential
from hcl_jax.losses import AnchorLosses


class Corner(NamedTuple):
    """Which objective is trained; all of it may be traced.

    Attributes:
        supervised: whether negatives are of other classes (SCL, HSCL) or everyone (UCL, HUCL).
        hardening: how hard negatives weigh; `exponential` of 0 is none.
    """

    supervised: Bool[Array, ""] | bool
    hardening: Hardening


class Frame(NamedTuple):
    """A point for each class, to which embeddings are drawn.

    Attributes:
        points: one for each class.
    """

    points: Float[Array, "classes dim"]


Aim = Corner | Frame


def corner(
    *,
    supervised: bool,
    beta: Float[Array, ""] | float | None = None,
    hardening: Hardening | None = None,
) -> Corner:
    """The corner of one of the paper's objectives.

    Args:
        supervised: True for SCL and HSCL, False for UCL and HUCL.
        beta: the hardness of exponential tilting; left out or 0 for SCL and UCL.
        hardening: another hardening function in its place.

    Returns:
        A pytree of two arrays, the same for all objectives with exponential tilting.

    Raises:
        ValueError: if both `beta` and `hardening` are given.

    Example:
        >>> bool(corner(supervised=True, beta=5.0).supervised)
        True
    """
    if hardening is None:
        hardening = exponential(jnp.asarray(0.0 if beta is None else beta, jnp.float32))
    elif beta is not None:
        raise ValueError("give beta or a hardening function, not both")
    return Corner(jnp.asarray(supervised), hardening)


def simplex_frame(num_classes: int, dim: int) -> Frame:
    """The simplex equiangular tight frame: neural collapse.

    Args:
        num_classes: the number of points.
        dim: of the embeddings, at least one less.

    Returns:
        The frame.

    Raises:
        ValueError: if the dimension is too small.

    Example:
        >>> simplex_frame(3, 2).points.shape
        (3, 2)
    """
    return Frame(simplex_etf(num_classes, dim))


def frame_losses(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], frame: Frame
) -> AnchorLosses:
    """Squared distances of embeddings to the points of their classes.

    Args:
        embeddings: of a batch.
        labels: the class of each.
        frame: the points.

    Returns:
        A loss for each embedding, to be averaged like those of an objective.

    Example:
        >>> import jax.numpy as jnp
        >>> frame = Frame(jnp.array([[1.0], [-1.0]]))
        >>> frame_losses(jnp.array([[0.0], [-1.0]]), jnp.array([0, 1]), frame).total.tolist()
        [1.0, 0.0]
    """
    distances = jnp.sum(jnp.square(embeddings - frame.points[labels]), axis=1)
    ones = jnp.ones(labels.shape, jnp.int32)
    return AnchorLosses(distances, ones, ones > 0)
