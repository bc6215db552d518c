"""Named arrays in a directory; the only file that knows Orbax, which writes and reads them.

Orbax takes half a second to import, so it is imported when the first array is written or read.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np


class PendingWrite(Protocol):
    """Arrays that are being written in the background."""

    def result(self) -> None:
        """Waits until they are written; raises the error if they could not be."""


def start_writing(path: Path, arrays: Mapping[str, jax.Array]) -> PendingWrite:
    """Starts to write arrays into a new directory and returns as soon as they may be donated.

    With several processes all of them call this, each with its shards. Arrays without entries are
    left out, as Orbax refuses them. Nothing is compressed: trained weights hardly shrink.
    """
    from orbax.checkpoint import v1 as ocp

    logging.getLogger("absl").addFilter(_adds_to_the_error)
    context = ocp.Context()
    context.array.saving.use_compression = False
    with context:
        filled = {name: array for name, array in arrays.items() if not _is_empty(array)}
        return ocp.save_async(str(path), filled)


def read(path: Path, like: Mapping[str, jax.Array | jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """Reads arrays bit for bit, placed by the shardings of `like`, whatever those they had before.

    Where `like` has no sharding, or holds an array that is not committed to a device, the result is
    not committed either.
    """
    from orbax.checkpoint import v1 as ocp

    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_sharding_of(leaf) or first)
        for name, leaf in like.items()
        if not _is_empty(leaf)
    }
    found = ocp.load(str(path), wanted) if wanted else {}
    return {name: _placed(found.get(name), leaf) for name, leaf in like.items()}


def _adds_to_the_error(record: logging.LogRecord) -> bool:
    """False for the message that repeats what `PendingWrite.result` raises; a logging filter."""
    return "_SignalingThread.run() raised an exception" not in record.getMessage()


def _is_empty(leaf: jax.Array | jax.ShapeDtypeStruct) -> bool:
    """Whether an array has no entries."""
    return 0 in leaf.shape


def _sharding_of(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.sharding.Sharding | None:
    """The sharding that the result must have, or None if it is not to be committed."""
    if isinstance(leaf, jax.Array) and not leaf.committed:
        return None
    return leaf.sharding


def _placed(found: jax.Array | None, leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    """The array that was read, committed as `leaf` asks; None stands for one without entries."""
    if found is None:
        return jnp.zeros(leaf.shape, leaf.dtype, device=_sharding_of(leaf))
    return found if _sharding_of(leaf) else _uncommitted(found)


def _uncommitted(array: jax.Array) -> jax.Array:
    """The same bits, not committed to a device."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = _uncommitted(jax.random.key_data(array))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    return jnp.array(np.asarray(array))
