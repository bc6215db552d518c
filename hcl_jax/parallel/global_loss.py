"""The loss of a batch whose rows are spread over devices.

Every device runs the same function on its rows, under `jax.pmap` or `jax.shard_map`: anchors stay,
and the candidates of the other devices arrive. The result is the loss of the *global* batch, with
uneven labels and undefined anchors: sums and counts are added over devices before they are divided.

Differentiate inside the per-device function. The gradient with respect to the embeddings of a
device is then that of the global loss, the same as on one device, because a hand-written gradient
stands around the whole, communication included: in the backward pass features and row statistics
travel once more, gradients of embeddings never do. Of parameters that all devices share each device
so obtains its rows' part: **add** the parts up (`jax.lax.psum`); their mean would be too small by
the number of devices. (Inside `jax.shard_map` with its default ``check_vma=True`` JAX adds them by
itself.)
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
from jaxtyping import Array, Float

from hcl_jax import objectives
from hcl_jax.collectives import over_axis
from hcl_jax.hardening import Hardening
from hcl_jax.losses import Exchange
from hcl_jax.options import Labels, Options, refusing_unknown


@refusing_unknown("parallel.objective")
def objective(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels | None = None,
    *,
    axis_name: str,
    supervised: bool,
    hardening: Hardening,
    exchange: Exchange | None = None,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """`hcl_jax.objective` of the global batch, called on every device with its own rows.

    Args:
        embeddings: normalised embeddings of this device, one a row, or the views of each image:
            (n, views, dim); every device has as many.
        labels: the class of each row, or image, of this device; None as in `hcl_jax.scl`.
        axis_name: name of the axis of the devices, as given to `jax.pmap` or to the mesh.
        supervised: whether negatives are of other classes (True) or everyone.
        hardening: a product hardening function.
        exchange: how the candidates of other devices arrive, "gather" or "ring"; by default the
            choice of `hcl_jax.losses.choose_exchange`.
        **options: see `hcl_jax.Options`; the same `key` is to be given on every device,
            which then draws with a key of its own.

    Returns:
        The mean loss of the global batch, the same on every device.

    Raises:
        ValueError, TypeError: as `hcl_jax.objective`; also for a psi that is not InfoNCE with the
            weights estimator, another implementation than "blockwise", another exchange, and a ring
            for the samples estimator.

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
    return objectives.objective(
        embeddings,
        labels,
        supervised=supervised,
        hardening=hardening,
        collectives=over_axis(axis_name, exchange=exchange),
        **options,
    )


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
