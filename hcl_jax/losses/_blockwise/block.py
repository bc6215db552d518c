"""Rows in their two roles, as anchors and as candidates, a block at a time."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from hcl_jax.pairs import Keys


class Slopes(NamedTuple):
    """What the gradient by similarities to negatives needs of an anchor.

    Attributes:
        tilted: the factor of ``exp(k - shift)``.
        plain: the factor of ``exp(log eta - shift)``.
        tilted_shift: the shift of the first, or None where it is one constant for all.
        plain_shift: the shift of the second, likewise.
    """

    tilted: Float[Array, " n"]
    plain: Float[Array, " n"]
    tilted_shift: Float[Array, " n"] | None = None
    plain_shift: Float[Array, " n"] | None = None


class Offsets(NamedTuple):
    """What the losses of (anchor, positive) pairs need of an anchor.

    Attributes:
        offset: ``m = a - b``, so that a pair loses ``link(m - s / temperature, number)``.
        number: of negatives.
        weight: the derivative of the final loss by the anchor's total; 0 if it is undefined.
    """

    offset: Float[Array, " n"]
    number: Int[Array, " n"]
    weight: Float[Array, " n"]


class Side(NamedTuple):
    """A block of rows; a field is None where the role it serves is not played.

    Attributes:
        features: the embeddings.
        as_anchor: keys of the rows as anchors.
        as_candidate: keys of the rows as candidates.
        valid: which rows are not padding; None if all.
        slopes: for gradients, of the rows as anchors.
        offsets: for losses and gradients of positives, of the rows as anchors.
    """

    features: Float[Array, "n dim"]
    as_anchor: Keys | None = None
    as_candidate: Keys | None = None
    valid: Bool[Array, " n"] | None = None
    slopes: Slopes | None = None
    offsets: Offsets | None = None


def negatives(anchors: Side, candidates: Side, axis: int = 0) -> Bool[Array, "n m"]:
    """Which pairs of a tile are negatives, with anchors down (axis 0) or across (axis 1).

    Args:
        anchors: the rows in the role of anchors.
        candidates: the rows in the role of candidates.
        axis: the axis along which anchors run.

    Returns:
        A boolean tile.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> side = Side(jnp.zeros((2, 1)), *supervised(rows(jnp.array([0, 1]))))
        >>> negatives(side, side).tolist()
        [[False, True], [True, False]]
    """
    assert anchors.as_anchor is not None
    assert candidates.as_candidate is not None
    differ = along(anchors.as_anchor.excluded, axis) != along(
        candidates.as_candidate.excluded, 1 - axis
    )
    return differ if candidates.valid is None else differ & along(candidates.valid, 1 - axis)


def positives(anchors: Side, candidates: Side, axis: int = 0) -> Bool[Array, "*blocks n m"]:
    """Which pairs of a tile are positives; as `negatives`, and leading axes are a batch of tiles.

    Args:
        anchors: the rows in the role of anchors.
        candidates: the rows in the role of candidates.
        axis: the axis along which anchors run.

    Returns:
        A boolean tile.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> side = Side(jnp.zeros((2, 1)), *supervised(rows(jnp.array([0, 0]))))
        >>> positives(side, side).tolist()
        [[False, True], [True, False]]
    """
    a, c = anchors.as_anchor, candidates.as_candidate
    assert a is not None
    assert c is not None
    match = (along(a.group, axis) == along(c.group, 1 - axis)) & (
        along(a.instance, axis) != along(c.instance, 1 - axis)
    )
    return match if candidates.valid is None else match & along(candidates.valid, 1 - axis)


def along(values: Array, axis: int) -> Array:
    """Numbers of rows (last axis), shaped to run down (axis 0) or across (axis 1) a tile.

    Args:
        values: one number a row.
        axis: 0 or 1.

    Returns:
        The same numbers with one more axis.

    Example:
        >>> import jax.numpy as jnp
        >>> along(jnp.zeros(3), 0).shape, along(jnp.zeros(3), 1).shape
        ((3, 1), (1, 3))
    """
    return values[..., :, None] if axis == 0 else values[..., None, :]
