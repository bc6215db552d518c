"""Where a training step runs: on one device, or on each of several that share the batch.

A step is written once; what differs between one device and many is a `Placement`, a handful of pure
functions. On many devices every one holds the same parameters and its own part of the batch, and
the step is that of the global batch: losses over all candidates, gradients added up, batch
statistics averaged, views and draws from keys of their own.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax import losses
from hcl_jax.losses import AnchorLosses, Average, Exchange
from hcl_jax.padding import varying_like
from hcl_jax.pairs import Pairs
from hcl_jax.parallel import global_loss


class Placement(NamedTuple):
    """How a step meets other devices.

    Attributes:
        device: the number of this device.
        device_count: how many devices there are.
        part: of (array over all rows, axis of the rows), the rows of this device.
        gather: of a tree of arrays whose rows are those of this device, those of all.
        weights_loss: the weights estimator of the rows of this device, of (embeddings, pairs) and
            the options of `hcl_jax.losses.contrastive_loss`.
        samples_loss: the samples estimator, of (key, embeddings, pairs) and the options of
            `hcl_jax.losses.sampled_contrastive_loss`.
        mean_loss: the mean of losses over the global batch.
        apart: marks shared values as this device's own, so that gradients by them are its part.
        add: adds a tree up over devices.
        mean: averages a tree over devices.
        largest: the largest of a number over devices.
    """

    device: Callable[[], Int[Array, ""] | int]
    device_count: Callable[[], int]
    part: Callable[[Array, int], Array]
    gather: Callable[[Any], Any]
    weights_loss: Callable[..., AnchorLosses]
    samples_loss: Callable[..., AnchorLosses]
    mean_loss: Callable[[AnchorLosses, Average], Float[Array, ""]]
    apart: Callable[[Any, Any], Any]
    add: Callable[[Any], Any]
    mean: Callable[[Any], Any]
    largest: Callable[[Array], Array]


def _weights_loss(embeddings: Float[Array, "n dim"], pairs: Pairs, **options: Any) -> AnchorLosses:
    return losses.contrastive_loss(embeddings, pairs, **options)


def _samples_loss(
    key: PRNGKeyArray, embeddings: Float[Array, "n dim"], pairs: Pairs, **options: Any
) -> AnchorLosses:
    return losses.sampled_contrastive_loss(key, embeddings, pairs, **options)


ALONE = Placement(
    device=lambda: 0,
    device_count=lambda: 1,
    part=lambda rows, axis: rows,
    gather=lambda tree: tree,
    weights_loss=_weights_loss,
    samples_loss=_samples_loss,
    mean_loss=losses.average_loss,
    apart=lambda tree, like: tree,
    add=lambda tree: tree,
    mean=lambda tree: tree,
    largest=lambda number: number,
)
"""One device, which holds the whole batch."""


@functools.cache
def across(axis_name: str, *, exchange: Exchange | None = None) -> Placement:
    """Several devices, each with its part of the batch, under `jax.pmap` or `jax.shard_map`.

    Args:
        axis_name: the axis of the devices.
        exchange: how candidates travel, "gather" or "ring"; by default
            `hcl_jax.losses.choose_exchange`.

    Returns:
        The placement; the same object for the same arguments, so that programs compile once.

    Example:
        >>> import jax
        >>> numbers = jax.vmap(lambda _: across("devices").device(), axis_name="devices")
        >>> numbers(jax.numpy.zeros(3)).tolist()
        [0, 1, 2]
    """
    return Placement(
        device=lambda: lax.axis_index(axis_name),
        device_count=lambda: lax.axis_size(axis_name),
        part=functools.partial(_part, axis_name),
        gather=lambda tree: lax.all_gather(tree, axis_name, tiled=True),
        weights_loss=functools.partial(
            losses.sharded_contrastive_loss, axis_name=axis_name, exchange=exchange
        ),
        samples_loss=functools.partial(
            losses.sharded_sampled_contrastive_loss, axis_name=axis_name
        ),
        mean_loss=lambda losses, average: global_loss.mean_loss(
            losses, axis_name=axis_name, average=average
        ),
        apart=varying_like,
        add=lambda tree: jax.tree.map(lambda leaf: lax.psum(leaf, axis_name), tree),
        mean=lambda tree: jax.tree.map(lambda leaf: lax.pmean(leaf, axis_name), tree),
        largest=lambda number: lax.pmax(number, axis_name),
    )


def _part(axis_name, rows, axis):
    devices, size = lax.axis_size(axis_name), rows.shape[axis]
    if size % devices:
        raise ValueError(
            f"a batch of {size} cannot be spread evenly over {devices} devices; choose a batch "
            f"size that they divide"
        )
    own = size // devices
    return lax.dynamic_slice_in_dim(rows, lax.axis_index(axis_name) * own, own, axis)
