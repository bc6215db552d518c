"""The loss of every anchor, and its average over a batch."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses.pair_statistics import PairStatistics
from hcl_jax.padding import varying_like
from hcl_jax.validation import check_choice, check_weights

Average = Literal["pairs", "anchors"]


class AnchorLosses(NamedTuple):
    """The loss of every anchor, not yet averaged, so that it can be summed over devices first.

    Attributes:
        total: the sum of the losses of the anchor's (anchor, positive) pairs; 0 if undefined.
        positives: the number of those pairs; 0 if undefined.
        defined: False for an anchor without a positive or without a negative of positive weight,
            which has no loss.
        statistics: what the pairs look like, see `hcl_jax.losses.loss_statistics`; None where it
            was not asked for.
    """

    total: Float[Array, " anchors"]
    positives: Int[Array, " anchors"]
    defined: Bool[Array, " anchors"]
    statistics: PairStatistics | None = None


def average_loss(
    losses: AnchorLosses,
    average: Average = "pairs",
    *,
    weights: Float[Array, " anchors"] | None = None,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """The mean loss of a batch.

    Args:
        losses: the losses of the anchors; on several devices, of those of this device.
        average: "pairs" pools all (anchor, positive) pairs, as the reference code does; "anchors"
            is the mean over defined anchors of the mean over their positives.
        weights: non-negative weights of the anchors in that mean, which is over
            ``sum_i w_i positives_i`` pairs or ``sum_i w_i`` anchors; by default all 1. An anchor of
            weight 0 has no part in the loss nor in its gradient.
        axis_name: name of the axis of the devices that share the batch; None for a single device.

    Returns:
        A scalar, the same on every device; 0 if no anchor is defined. Over several devices, sums
        and counts are added before they are divided, and the derivative with respect to the losses
        of this device is that of the one global mean, not of the copies of it on all devices.

    Raises:
        ValueError, TypeError: if `average` is another word, or on wrong shapes, dtypes or numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = AnchorLosses(jnp.array([3.0, 1.0]), jnp.array([3, 2]), jnp.array([True, True]))
        >>> round(float(average_loss(losses)), 4), round(float(average_loss(losses, "anchors")), 4)
        (0.8, 0.75)
    """
    total, weight = sum_and_weight(losses, average, weights)
    least = 1.0 if weights is None else float(jnp.finfo(weight.dtype).tiny)
    if axis_name is None:
        return total / jnp.maximum(weight, least)
    return _global_mean((axis_name, least), total, weight)


def sum_and_weight(
    losses: AnchorLosses,
    average: Average = "pairs",
    weights: Float[Array, " anchors"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The two sums whose quotient is the mean loss; over devices, add each up before dividing.

    Args:
        losses: the losses of the anchors.
        average: "pairs" or "anchors", see `average_loss`.
        weights: weights of the anchors, see `average_loss`.

    Returns:
        The sum of losses and the number of pairs or of anchors that divides it.

    Raises:
        ValueError, TypeError: as `average_loss`.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = AnchorLosses(jnp.array([3.0, 1.0]), jnp.array([3, 2]), jnp.array([True, True]))
        >>> [float(part) for part in sum_and_weight(losses)]
        [4.0, 5.0]
    """
    check_choice("average", average, ("pairs", "anchors"))
    dtype = losses.total.dtype
    if average == "pairs":
        of_anchors, numbers = losses.total, losses.positives
    else:
        of_anchors = losses.total / jnp.maximum(losses.positives, 1).astype(dtype)
        numbers = losses.defined
    if weights is None:
        return of_anchors.sum(), numbers.sum().astype(dtype)
    check_weights(weights, length=len(losses.total))
    weights = jnp.asarray(weights).astype(dtype)
    counted = jnp.where(weights > 0, of_anchors, 0)  # whatever the loss of the others is
    return jnp.sum(weights * counted), jnp.sum(weights * numbers.astype(dtype))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _global_mean(
    options: tuple[str, float], total: Float[Array, ""], weight: Float[Array, ""]
) -> Float[Array, ""]:
    """The quotient of sums over devices; options are the axis and the least denominator."""
    return _global_mean_fwd(options, total, weight)[0]


Quotient = tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]
"""The denominator, the quotient, and the total of this device."""


def _global_mean_fwd(
    options: tuple[str, float], total: Float[Array, ""], weight: Float[Array, ""]
) -> tuple[Float[Array, ""], Quotient]:
    axis_name, least = options
    denominator = jnp.maximum(lax.psum(weight, axis_name), least)
    mean = lax.psum(total, axis_name) / denominator
    return mean, (denominator, mean, total)


def _global_mean_bwd(
    options: tuple[str, float], residuals: Quotient, cotangent: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    denominator, mean, total = residuals
    of_total = cotangent / denominator
    return varying_like((of_total, -mean * of_total), total)


_global_mean.defvjp(_global_mean_fwd, _global_mean_bwd)
