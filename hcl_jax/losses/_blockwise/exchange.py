"""How candidates come to the anchors of a device: all at once, or one shard after the other.

Anchors stay, candidates come. With n devices, B rows in the batch and d features,

    ============  ==============================  ==========================================
    exchange      memory of a device for others   what moves through a device
    ============  ==============================  ==========================================
    all-gather    B rows                          B rows, before any computing
    ring          2 B / n rows                    B rows, B / n at a time, while it computes
    ============  ==============================  ==========================================

The ring hides its communication if a shard meets a shard in longer than a shard takes to move:
``2 (B / n)^2 d / flops >= (B / n) d bytes / bandwidth``, that is ``B / n >= flops bytes /
(2 bandwidth)``: 2200 rows of float32 at 100 Tflop/s and 90 GB/s. Below that, or where there is
memory for all rows, gathering is simpler and has fewer steps: see `choose_exchange`.
"""

from collections.abc import Callable
from typing import Literal, TypeVar

import jax
from jax import lax

from hcl_jax.padding import varying_like

State = TypeVar("State")
Visitor = TypeVar("Visitor")

Exchange = Literal["gather", "ring"]

GATHERED_BYTES = 64 * 2**20
"""Up to this size the features of all devices are gathered."""


def choose_exchange(rows: int, dim: int, devices: int, itemsize: int = 4) -> Exchange:
    """The exchange that `sharded_contrastive_loss` takes by default.

    Args:
        rows: the number of rows of one device.
        dim: the number of features of a row.
        devices: the number of devices.
        itemsize: the bytes of a feature.

    Returns:
        "gather" if all features take at most 64 MiB, or there are two devices or fewer (where a
        ring holds as much); else "ring".

    Example:
        >>> choose_exchange(1024, 128, 8), choose_exchange(131072, 128, 8)
        ('gather', 'ring')
    """
    fits = rows * devices * dim * itemsize <= GATHERED_BYTES
    return "gather" if fits or devices <= 2 else "ring"


def for_each_shard(
    exchange: Exchange | None,
    axis_name: str | None,
    own: Visitor,
    visit: Callable[[State, Visitor], State],
    state: State,
) -> State:
    """Runs ``state = visit(state, rows)`` until the rows of every device have come.

    `own` are the rows of this device, a tree of arrays; without an exchange there are no others.
    "gather" calls `visit` once, with the rows of all devices; "ring" once for every device, sending
    the next shard on its way before it computes with the present one.
    """
    if exchange is None or axis_name is None:
        return visit(state, own)
    if exchange == "gather":
        return visit(state, jax.tree.map(lambda x: lax.all_gather(x, axis_name, tiled=True), own))
    size = lax.axis_size(axis_name)
    onwards = [(i, (i + 1) % size) for i in range(size)]

    def hop(carry: tuple[State, Visitor], _: None) -> tuple[tuple[State, Visitor], None]:
        state, visiting = carry
        arriving = jax.tree.map(lambda x: lax.ppermute(x, axis_name, onwards), visiting)
        return (visit(state, visiting), arriving), None

    own = varying_like(own, own)
    start = (varying_like(state, own), own)
    (state, last), _ = lax.scan(hop, start, length=size - 1)
    return visit(state, last)
