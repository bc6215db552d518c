"""The loss of every anchor, and its average over a batch."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.padding import varying_like
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


def average_loss(
    losses: AnchorLosses, average: Average = "pairs", *, axis_name: str | None = None
) -> Float[Array, ""]:
    """The mean loss of a batch.

    Args:
        losses: the losses of the anchors; on several devices, of those of this device.
        average: "pairs" pools all (anchor, positive) pairs, as the reference code does; "anchors"
            is the mean over defined anchors of the mean over their positives.
        axis_name: name of the axis of the devices that share the batch; None for a single device.

    Returns:
        A scalar, the same on every device; 0 if no anchor is defined. Over several devices, sums
        and counts are added before they are divided, and the derivative with respect to the losses
        of this device is that of the one global mean, not of the copies of it on all devices.

    Raises:
        ValueError: if `average` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = AnchorLosses(jnp.array([3.0, 1.0]), jnp.array([3, 2]), jnp.array([True, True]))
        >>> round(float(average_loss(losses)), 4), round(float(average_loss(losses, "anchors")), 4)
        (0.8, 0.75)
    """
    total, weight = sum_and_weight(losses, average)
    if axis_name is None:
        return total / jnp.maximum(weight, 1)
    return _global_mean(axis_name, total, weight)


def sum_and_weight(
    losses: AnchorLosses, average: Average = "pairs"
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The two sums whose quotient is the mean loss; over devices, add each up before dividing.

    Args:
        losses: the losses of the anchors.
        average: "pairs" or "anchors", see `average_loss`.

    Returns:
        The sum of losses and the number of pairs or of anchors that divides it.

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
    per_anchor = losses.total / jnp.maximum(losses.positives, 1).astype(losses.total.dtype)
    return per_anchor.sum(), losses.defined.sum().astype(losses.total.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _global_mean(
    axis_name: str, total: Float[Array, ""], weight: Float[Array, ""]
) -> Float[Array, ""]:
    """The quotient of sums over devices."""
    return _global_mean_fwd(axis_name, total, weight)[0]


def _global_mean_fwd(
    axis_name: str, total: Float[Array, ""], weight: Float[Array, ""]
) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Float[Array, ""]]]:
    denominator = jnp.maximum(lax.psum(weight, axis_name), 1)
    return lax.psum(total, axis_name) / denominator, (denominator, total)


def _global_mean_bwd(
    axis_name: str,
    residuals: tuple[Float[Array, ""], Float[Array, ""]],
    cotangent: Float[Array, ""],
) -> tuple[Float[Array, ""], None]:
    denominator, total = residuals
    return varying_like(cotangent / denominator, total), None


_global_mean.defvjp(_global_mean_fwd, _global_mean_bwd)
