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
from typing import Any, Literal

import jax
from jax import lax

from hcl_jax.padding import varying_like

Exchange = Literal["gather", "ring"]

GATHERED_BYTES = 64 * 2**20
"""Up to this size the features of all devices are gathered."""


def choose_exchange(rows: int, dim: int, devices: int, itemsize: int = 4) -> Exchange:
    """The exchange taken by default.

    Args:
        rows: of one device.
        dim: the number of features.
        devices: their number.
        itemsize: bytes of a feature.

    Returns:
        "gather" if all features take at most `GATHERED_BYTES`, or there are two devices or fewer
        (where a ring holds as much); else "ring".

    Example:
        >>> choose_exchange(1024, 128, 8), choose_exchange(131072, 128, 8)
        ('gather', 'ring')
    """
    fits = rows * devices * dim * itemsize <= GATHERED_BYTES
    return "gather" if fits or devices <= 2 else "ring"


def meet_all(
    exchange: Exchange,
    axis_name: str,
    own: Any,
    meet: Callable[[Any, Any], Any],
    state: Any,
) -> Any:
    """Runs ``state = meet(state, candidates)`` until the candidates of every device have come.

    Args:
        exchange: "gather" calls `meet` once, "ring" once for every device, sending the next shard
            on its way before computing with the present one.
        axis_name: the axis of the devices.
        own: the rows of this device, a tree of arrays.
        meet: what to do with a portion of rows; portions may have different lengths.
        state: before the first.

    Returns:
        The state after the last.

    Example:
        >>> import jax
        >>> def total(x):
        ...     return meet_all("gather", "devices", x, lambda s, other: s + other.sum(), 0.0)
        >>> jax.vmap(total, axis_name="devices")(jax.numpy.ones((2, 3))).tolist()
        [6.0, 6.0]
    """
    if exchange == "gather":
        return meet(state, jax.tree.map(lambda x: lax.all_gather(x, axis_name, tiled=True), own))
    size = lax.axis_size(axis_name)
    onwards = [(i, (i + 1) % size) for i in range(size)]

    def hop(carry, _):
        state, visiting = carry
        arriving = jax.tree.map(lambda x: lax.ppermute(x, axis_name, onwards), visiting)
        return (meet(state, visiting), arriving), None

    start = (varying_like(state, own), own)
    (state, last), _ = lax.scan(hop, start, length=size - 1)
    return meet(state, last)
