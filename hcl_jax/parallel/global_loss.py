"""The loss of a batch whose rows are spread over devices.

Every device runs the same function on its rows, under `jax.pmap` or `jax.shard_map`: anchors stay,
candidates come (`hcl_jax.losses._blockwise.exchange`). The result is the loss of the *global*
batch, with uneven
labels and undefined anchors: sums and counts are added over devices before they are divided.

Differentiate inside the per-device function. The gradient by the embeddings of a device is then
that of the global loss, the same as on one device, because a hand-written gradient stands around
the whole, communication included: in the backward pass features and row statistics travel once
more, gradients of embeddings never do. Of parameters that all devices share each device so obtains
its rows' part: **add** the parts up (`jax.lax.psum`); their mean would be too small by the number
of devices. (Inside `jax.shard_map` with its default ``check_vma=True`` JAX adds them by itself.)
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from hcl_jax.hardening import Hardening
from hcl_jax.losses import (
    AnchorLosses,
    Average,
    Exchange,
    sharded_contrastive_loss,
    sharded_sampled_contrastive_loss,
    sum_and_weight,
)
from hcl_jax.objectives import Options, loss_options, pairs_of, resolve
from hcl_jax.padding import varying_like


def objective(
    embeddings: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    *,
    axis_name: str,
    supervised: bool,
    hardening: Hardening,
    exchange: Exchange | None = None,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """`hcl_jax.objective` of the global batch, called on every device with its own rows.

    Args:
        embeddings: normalised embeddings of this device.
        labels: the class of each row.
        axis_name: the axis of the devices, as given to `jax.pmap` or to the mesh.
        supervised: whether negatives are of other classes (True) or everyone.
        hardening: a product hardening function.
        exchange: "gather" or "ring"; by default
        `hcl_jax.losses._blockwise.exchange.choose_exchange`. **options: as
        `hcl_jax.objectives.Options`, save `implementation`; the same `key` is to be
            given on every device, which then draws with a key of its own.

    Returns:
        The mean loss of the global batch, the same on every device.

    Raises:
        ValueError, TypeError: as `hcl_jax.objective`; also for a psi that is not InfoNCE with the
            weights estimator.

    Example:
        >>> import jax
        >>> from hcl_jax.hardening import exponential
        >>> z = jax.random.normal(jax.random.key(0), (2, 4, 3))
        >>> labels = jax.numpy.array([[0, 0, 1, 2], [1, 0, 2, 2]])
        >>> def loss(z, labels):
        ...     return objective(
        ...         z, labels, axis_name="devices", supervised=True, hardening=exponential(5.0)
        ...     )
        >>> losses = jax.vmap(loss, axis_name="devices")(z, labels)
        >>> bool(losses[0] == losses[1])
        True
    """
    options = resolve(options)
    first = lax.axis_index(axis_name) * embeddings.shape[0]
    pairs = pairs_of(labels, supervised, options, first=first)
    chosen = loss_options(hardening, options)
    num_negatives, key = options.get("num_negatives"), options.get("key")
    if num_negatives is None or key is None:
        losses = sharded_contrastive_loss(
            embeddings, pairs, axis_name=axis_name, exchange=exchange, **chosen
        )
    else:
        losses = sharded_sampled_contrastive_loss(
            key, embeddings, pairs, axis_name=axis_name, num_negatives=num_negatives, **chosen
        )
    return mean_loss(losses, axis_name=axis_name, average=options.get("average", "pairs"))


def mean_loss(
    losses: AnchorLosses, *, axis_name: str, average: Average = "pairs"
) -> Float[Array, ""]:
    """The mean loss over the anchors of all devices.

    Args:
        losses: of this device.
        axis_name: the axis of the devices.
        average: as in `hcl_jax.losses.average_loss`.

    Returns:
        A scalar, the same on every device. Its derivative by the losses of this device is that of
        the one global mean, not of the n copies of it.

    Example:
        >>> import jax
        >>> def mean(total):
        ...     defined = total > 0
        ...     losses = AnchorLosses(total, defined.astype(jax.numpy.int32), defined)
        ...     return mean_loss(losses, axis_name="devices")
        >>> jax.vmap(mean, axis_name="devices")(jax.numpy.array([[1.0, 0.0], [2.0, 6.0]])).tolist()
        [3.0, 3.0]
    """
    return _quotient(axis_name, *sum_and_weight(losses, average))


def launch(
    step: Callable[..., Any],
    *,
    axis_name: str,
    devices: Sequence[Any] | None = None,
    donate: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Runs a per-device step on every device with `jax.pmap`.

    Args:
        step: a function of one device's arguments.
        axis_name: the axis that `step` names in its collectives.
        devices: the devices to run on; by default all.
        donate: positions of arguments whose memory may be reused for the results.

    Returns:
        The step over all devices, with a leading axis over devices in its arguments and results.

    Example:
        >>> import jax
        >>> step = launch(lambda x: jax.lax.psum(x, "devices"), axis_name="devices")
        >>> bool((step(jax.numpy.ones(jax.local_device_count())) == jax.device_count()).all())
        True
    """
    return jax.pmap(step, axis_name=axis_name, devices=devices, donate_argnums=donate)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _quotient(axis_name, total, weight):
    return _quotient_fwd(axis_name, total, weight)[0]


def _quotient_fwd(axis_name, total, weight):
    denominator = jnp.maximum(lax.psum(weight, axis_name), 1)
    return lax.psum(total, axis_name) / denominator, (denominator, total)


def _quotient_bwd(axis_name, residuals, cotangent):
    denominator, total = residuals
    return varying_like(cotangent / denominator, total), None


_quotient.defvjp(_quotient_fwd, _quotient_bwd)
