"""What the rows of one device need of the other devices that share the batch.

A function of a batch is written once, for the rows of one device. `SINGLE` stands for a device that
holds the whole batch; `over_axis` for one of several under `jax.pmap`, `jax.shard_map` or
`jax.vmap`, which hold equal parts of it in the order of the axis.
"""

import dataclasses
from typing import Any, get_args

import jax
from jax import lax
from jaxtyping import Array, Int

from hcl_jax.losses import Exchange
from hcl_jax.padding import varying_like
from hcl_jax.validation.options import check_choice


@dataclasses.dataclass(frozen=True)
class Collectives:
    """One device, which holds the whole batch; `OverAxis` is its counterpart for several.

    Attributes:
        axis_name: name of the axis of the devices; None for a single device.
        exchange: how the candidates of other devices arrive, "gather" or "ring"; None for the
            choice of `hcl_jax.losses.choose_exchange`, and for a single device.
    """

    axis_name: str | None = None
    exchange: Exchange | None = None

    def index(self) -> Int[Array, ""] | int:
        """The number of this device."""
        return 0

    def size(self) -> int:
        """The number of devices."""
        return 1

    def sum(self, tree: Any) -> Any:
        """The sum of each array over the devices."""
        return tree

    def max(self, array: Array) -> Array:
        """The largest value of each entry over the devices."""
        return array

    def gather(self, tree: Any) -> Any:
        """The rows of all devices, from arrays that hold the rows of this one."""
        return tree

    def as_varying(self, tree: Any, like: Any) -> Any:
        """Shared arrays marked as this device's own, so that gradients stay this device's part."""
        return tree

    def mean(self, tree: Any) -> Any:
        """The mean of each array over the devices."""
        return tree

    def part(self, rows: Array, axis: int) -> Array:
        """This device's part of an array that holds the rows of all devices along `axis`."""
        return rows


@dataclasses.dataclass(frozen=True)
class OverAxis(Collectives):
    """One of several devices along a named axis; see `Collectives`."""

    def index(self) -> Int[Array, ""] | int:
        """The number of this device."""
        return lax.axis_index(self.axis_name)

    def size(self) -> int:
        """The number of devices."""
        return lax.axis_size(self.axis_name)

    def sum(self, tree: Any) -> Any:
        """The sum of each array over the devices."""
        return jax.tree.map(lambda leaf: lax.psum(leaf, self.axis_name), tree)

    def max(self, array: Array) -> Array:
        """The largest value of each entry over the devices."""
        return lax.pmax(array, self.axis_name)

    def gather(self, tree: Any) -> Any:
        """The rows of all devices, from arrays that hold the rows of this one."""
        return lax.all_gather(tree, self.axis_name, tiled=True)

    def as_varying(self, tree: Any, like: Any) -> Any:
        """Shared arrays marked as this device's own, so that gradients stay this device's part."""
        return varying_like(tree, like)

    def mean(self, tree: Any) -> Any:
        """The mean of each array over the devices."""
        return jax.tree.map(lambda leaf: lax.pmean(leaf, self.axis_name), tree)

    def part(self, rows: Array, axis: int) -> Array:
        """This device's part of an array that holds the rows of all devices along `axis`."""
        devices, length = self.size(), rows.shape[axis]
        if length % devices:
            raise ValueError(
                f"a batch of {length} cannot be divided evenly among {devices} devices; choose a "
                "batch size that is a multiple of their number"
            )
        own = length // devices
        return lax.dynamic_slice_in_dim(rows, self.index() * own, own, axis)


SINGLE = Collectives()
"""One device, which holds the whole batch."""


def check_collectives(value: Any) -> None:
    """Raises TypeError unless `value` says where the rows of a batch are."""
    if not isinstance(value, Collectives):
        raise TypeError(
            f"collectives must be those of hcl_jax.parallel.over_axis(axis_name), got {value!r}"
        )


def over_axis(axis_name: str, *, exchange: Exchange | None = None) -> OverAxis:
    """Several devices along a named axis, each with an equal part of the batch.

    Args:
        axis_name: name of the axis, as given to `jax.pmap`, `jax.shard_map` or `jax.vmap`.
        exchange: how the candidates of other devices arrive, "gather" or "ring"; by default the
            choice of `hcl_jax.losses.choose_exchange`.

    Returns:
        The collectives; equal for equal arguments, so that a program compiles once.

    Raises:
        ValueError: for another exchange.

    Example:
        >>> import jax
        >>> numbers = jax.vmap(lambda _: over_axis("devices").index(), axis_name="devices")
        >>> numbers(jax.numpy.zeros(3)).tolist()
        [0, 1, 2]
    """
    if exchange is not None:
        check_choice("exchange", exchange, get_args(Exchange))
    return OverAxis(axis_name, exchange)
