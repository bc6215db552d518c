"""Where a data set lives: on the device if it fits a budget, else on the host, streamed in chunks.

A chunk holds the batches of some steps. While the device works on one chunk, a thread gathers the
next one from the host's memory and begins its transfer.
"""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from hcl_jax.data.indexed_rows import IndexedRows
from hcl_jax.data.splits import Split
from hcl_jax.validation.arrays import check_array
from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_kind

BUDGET_BYTES = 2 * 2**30
"""2 GiB. CIFAR takes 0.2 GiB, STL-10 0.3, Tiny-ImageNet 1.3; a device of 16 GB keeps seven eighths
of its memory for the network. The unlabelled images of STL-10, 2.6 GiB, stream."""

Put = Callable[[Split], Split]
"""Brings images and labels from the host to the device or devices."""


class PlacedSplit(NamedTuple):
    """A split, and whether it lives on the device.

    Attributes:
        host: the split as it was loaded.
        resident: the split on the device or devices; None where it is streamed from the host.
    """

    host: Split
    resident: Split | None


def place_split(
    split: Split, *, budget_bytes: int = BUDGET_BYTES, put: Put = jax.device_put
) -> PlacedSplit:
    """Puts a split on the device if it fits a budget; otherwise `chunks` streams it.

    Args:
        split: images and labels on the host.
        budget_bytes: largest number of bytes that the split may take on the device.
        put: brings the split to the device or devices.

    Returns:
        The split on the host and, if it takes at most the budget, on the device.

    Raises:
        ValueError, TypeError: if the budget is not a non-negative integer, or images and labels are
            not arrays of one length.

    Example:
        >>> import numpy as np
        >>> split = Split(np.zeros((10, 32, 32, 3), np.uint8), np.zeros(10, np.int32))
        >>> place_split(split).resident.images.shape
        (10, 32, 32, 3)
        >>> image_bytes = 10 * 32 * 32 * 3
        >>> place_split(split, budget_bytes=image_bytes).resident is None  # labels are 40 more
        True
    """
    check_count("budget_bytes", budget_bytes, minimum=0)
    _check_split(split)
    fits = split.images.nbytes + split.labels.nbytes <= budget_bytes
    return PlacedSplit(split, put(_gathered(split)) if fits else None)


def chunks(
    split: Split,
    batches: Int[np.ndarray, "steps batch"],
    *,
    steps_per_chunk: int,
    put: Put = jax.device_put,
) -> Generator[Split, None, None]:
    """Streams the batches of an epoch to the device, some steps at a time, one chunk ahead.

    At most two chunks exist: the one that was yielded last and the next one. That holds for a
    caller that keeps no other chunk, and waits for the results of one chunk before it asks for the
    one after the next; computations that have only been dispatched keep their inputs alive.

    An exception in the thread is raised where its chunk would have come. A caller that stops early
    closes the iterator (`contextlib.closing`) or drops it; either ends the thread.

    Args:
        split: images and labels on the host.
        batches: indices (steps, batch) of the images of each batch.
        steps_per_chunk: number of steps in a chunk; the last chunk may have fewer.
        put: brings a chunk to the device or devices. It is called in the thread with images
            (steps, batch, ...) and labels (steps, batch) in fresh memory of the host.

    Returns:
        An iterator over what `put` returned, chunk after chunk.

    Raises:
        ValueError, TypeError: if an index is out of range or not an integer, `steps_per_chunk` is
            not a positive integer, or images and labels are not arrays of one length.

    Example:
        >>> import numpy as np
        >>> split = Split(np.arange(6, dtype=np.uint8), np.arange(6, dtype=np.int32))
        >>> for chunk in chunks(split, np.array([[5, 0], [1, 2], [3, 4]]), steps_per_chunk=2):
        ...     print(chunk.images.tolist())
        [[5, 0], [1, 2]]
        [[3, 4]]
    """
    check_count("steps_per_chunk", steps_per_chunk)
    _check_split(split)
    _check_batches(batches, len(split.labels))
    return _chunks(split, batches, steps_per_chunk, put)


def _gathered(split: Split) -> Split:
    """The split with images in one array, where they are an index."""
    if not isinstance(split.images, IndexedRows):
        return split
    return split._replace(images=np.asarray(split.images))


def _check_split(split: Split) -> None:
    check_kind("split", split, Split, "hcl_jax.data.Split(images, labels)")
    shapes = []
    for name, array in zip(("images", "labels"), split, strict=True):
        check_array(name, array)
        shapes.append(np.shape(array))
    if not all(shapes) or shapes[0][0] != shapes[1][0]:
        raise ValueError(
            f"images and labels must be of one length, got shapes {shapes[0]} and {shapes[1]}"
        )


def _in_range(images: np.ndarray) -> np.ndarray:
    """The images in the dtype that they have on a device; ValueError if that cannot hold them."""
    with np.errstate(over="raise"):
        try:
            return images.astype(jax.dtypes.canonicalize_dtype(images.dtype), copy=False)
        except FloatingPointError as error:
            raise ValueError("images must be finite in float32, and some are beyond it") from error


def _check_batches(batches: np.ndarray, length: int) -> None:
    check_array("batches", batches)
    if np.ndim(batches) != 2 or not np.issubdtype(batches.dtype, np.integer):
        raise TypeError(
            "batches must be integers of shape (steps, batch), "
            f"got shape {batches.shape} and dtype {batches.dtype}"
        )
    wrong = batches[(batches < 0) | (batches >= length)]
    if wrong.size:
        raise ValueError(f"batches must hold indices in 0..{length - 1}, got {wrong[0]}")


def _chunks(
    split: Split, batches: Int[np.ndarray, "steps batch"], steps_per_chunk: int, put: Put
) -> Generator[Split, None, None]:
    starts = range(0, len(batches), steps_per_chunk)

    def load(start: int) -> Split:
        indices = batches[start : start + steps_per_chunk]
        return put(Split(_in_range(split.images[indices]), split.labels[indices]))

    worker = ThreadPoolExecutor(1, thread_name_prefix="chunks")
    try:
        coming = [worker.submit(load, start) for start in starts[:1]]
        for start in starts:
            chunk = coming.pop().result()
            if start != starts[-1]:
                coming.append(worker.submit(load, start + steps_per_chunk))
            yield chunk
            del chunk
    finally:
        worker.shutdown(cancel_futures=True)
