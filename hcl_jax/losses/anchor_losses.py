"""The loss of every anchor, and its average over a batch."""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.losses._linear_maps import Arrays, Tangents, apply_linear
from hcl_jax.losses.pair_statistics import PairStatistics
from hcl_jax.padding import varying_like
from hcl_jax.validation.batches import check_weights
from hcl_jax.validation.options import check_choice

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
    if axis_name is not None:
        total = _sum_over_devices(axis_name, total)
        weight = _sum_over_devices(axis_name, weight)
    return total / jnp.maximum(weight, least)


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
    weights = check_weights(weights, length=len(losses.total))
    weights = jnp.asarray(weights).astype(dtype)
    counted = jnp.where(weights > 0, of_anchors, 0)  # whatever the loss of the others is
    return jnp.sum(weights * counted), jnp.sum(weights * numbers.astype(dtype))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sum_over_devices(axis_name: str, part: Float[Array, ""]) -> Float[Array, ""]:
    """The sum of the parts of all devices, of which there is one, whoever has a copy."""
    return lax.psum(part, axis_name)


@_sum_over_devices.defjvp
def _sum_over_devices_change(axis_name: str, parts: Any, tangents: Any) -> tuple[Any, Any]:
    """The sum of the tangents."""
    total = _sum_over_devices(axis_name, *parts)
    return total, apply_linear(_SumOverDevices(axis_name), [total], parts, tangents)[0]


class _SumOverDevices(NamedTuple):
    """The sum over devices, whose transpose is that of one sum and not of all copies of it."""

    axis_name: str

    def compute(self, fixed: Arrays, linear: Arrays) -> Arrays:
        """The sum."""
        return [lax.psum(part, self.axis_name) for part in linear]

    def transposed(self, fixed: Arrays, cotangents: Arrays) -> Arrays:
        """The same for the part of every device."""
        return varying_like(cotangents, fixed)

    def change(self, fixed: Arrays, linear: Arrays, tangents: Tangents) -> Arrays:
        """None: the sum is the same everywhere."""
        return [jnp.zeros_like(lax.psum(part, self.axis_name)) for part in linear]
