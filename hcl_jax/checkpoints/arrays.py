"""Arrays in a directory, by name; the only file that knows Orbax.

Orbax takes half a second to import, so that is left until the first array is written or read.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Writing(Protocol):
    """Arrays that are being written in the background."""

    def result(self) -> None:
        """Waits for the end; raises what went wrong."""


def begin_to_write(path: Path, arrays: Mapping[str, jax.Array]) -> Writing:
    """Starts to write arrays; from here on they may be donated.

    Arrays without numbers are left out. Nothing is compressed: the bits of weights hardly shrink.

    Args:
        path: the directory to be made.
        arrays: typed PRNG keys among them; with several processes, all call this with their parts.

    Returns:
        What to wait for.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     begin_to_write(Path(name) / "arrays", {"bias": jnp.ones(2)}).result()
        ...     read(Path(name) / "arrays", {"bias": jnp.zeros(2)})["bias"].tolist()
        [1.0, 1.0]
    """
    from orbax.checkpoint import v1 as ocp

    logging.getLogger("absl").addFilter(_is_news)
    context = ocp.Context()
    context.array.saving.use_compression = False
    with context:
        filled = {name: array for name, array in arrays.items() if not _is_empty(array)}
        return ocp.save_async(str(path), filled)


def read(path: Path, like: Mapping[str, jax.Array | jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """Reads arrays, wherever they lived when they were written.

    Args:
        path: the directory.
        like: shapes and dtypes as they were written, and where the arrays shall live. Where that
            is open, JAX may move them, like any array that nobody has placed.

    Returns:
        The arrays, bit for bit.

    Example:
        See `begin_to_write`.

        >>> read(Path("no-such-place"), {"empty": jnp.zeros((0, 2))})["empty"].shape
        (0, 2)
    """
    from orbax.checkpoint import v1 as ocp

    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_placement(leaf) or here)
        for name, leaf in like.items()
        if not _is_empty(leaf)
    }
    found = ocp.load(str(path), wanted) if wanted else {}
    return {name: _placed(found.get(name), leaf) for name, leaf in like.items()}


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a message of Orbax says more than the error that `Writing.result` raises."""
    return "_SignalingThread.run() raised an exception" not in record.getMessage()


def _is_empty(leaf: jax.Array | jax.ShapeDtypeStruct) -> bool:
    return 0 in leaf.shape


def _placement(leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.sharding.Sharding | None:
    """Where an array has to live, or None if JAX may move it."""
    if isinstance(leaf, jax.Array) and not leaf.committed:
        return None
    return leaf.sharding


def _placed(found: Any, leaf: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
    if found is None:
        return jnp.zeros(leaf.shape, leaf.dtype, device=_placement(leaf))
    return found if _placement(leaf) else _unplaced(found)


def _unplaced(array: jax.Array) -> jax.Array:
    """The same bits, not committed to a device."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = _unplaced(jax.random.key_data(array))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    return jnp.array(np.asarray(array))
