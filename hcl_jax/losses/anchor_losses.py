"""The loss of every anchor, and its average over a batch."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.validation import check_choice

Average = Literal["pairs", "anchors"]


class AnchorLosses(NamedTuple):
    """The loss of every anchor, not yet averaged, so that it can be summed over devices first.

    Attributes:
        total: the sum of the losses of the anchor's (anchor, positive) pairs; 0 if undefined.
        positives: the number of those pairs; 0 if undefined.
        defined: False for an anchor without a positive or without a negative of positive weight,
            which has no loss.
    """

    total: Float[Array, " anchors"]
    positives: Int[Array, " anchors"]
    defined: Bool[Array, " anchors"]


def average_loss(losses: AnchorLosses, average: Average = "pairs") -> Float[Array, ""]:
    """The mean loss of a batch.

    Args:
        losses: the losses of the anchors.
        average: "pairs" pools all (anchor, positive) pairs, as the reference code does; "anchors"
            is the mean over defined anchors of the mean over their positives.

    Returns:
        A scalar; 0 if no anchor is defined.

    Raises:
        ValueError: if `average` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = AnchorLosses(jnp.array([3.0, 1.0]), jnp.array([3, 2]), jnp.array([True, True]))
        >>> round(float(average_loss(losses)), 4), round(float(average_loss(losses, "anchors")), 4)
        (0.8, 0.75)
    """
    total, weight = sum_and_weight(losses, average)
    return total / jnp.maximum(weight, 1)


def sum_and_weight(
    losses: AnchorLosses, average: Average = "pairs"
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The two sums whose quotient is the mean loss; over devices, add each up before dividing.

    Args:
        losses: the losses of the anchors.
        average: as in `average_loss`.

    Returns:
        The sum of losses and the number of pairs or of anchors it is to be divided by.

    Raises:
        ValueError: if `average` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = AnchorLosses(jnp.array([3.0, 1.0]), jnp.array([3, 2]), jnp.array([True, True]))
        >>> [float(part) for part in sum_and_weight(losses)]
        [4.0, 5.0]
    """
    check_choice("average", average, ("pairs", "anchors"))
    if average == "pairs":
        return losses.total.sum(), losses.positives.sum().astype(losses.total.dtype)
    per_anchor = losses.total / jnp.maximum(losses.positives, 1)
    return per_anchor.sum(), losses.defined.sum().astype(losses.total.dtype)
