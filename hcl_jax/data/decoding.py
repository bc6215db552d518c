"""Decoding image files: in threads, with a progress bar, and only once.

Decoded images are kept in one file with a description of what they were decoded from. A file that
describes anything else, or cannot be read, is decoded anew.
"""

import os
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Shaped
from tqdm import tqdm

from hcl_jax.system.atomic_files import atomic_open

Job = TypeVar("Job")


def decode_in_threads(
    decode: Callable[[Job], int], jobs: Iterable[Job], *, total: int, description: str
) -> None:
    """Does all jobs in a pool of threads under a bar that counts images.

    Args:
        decode: does one job and returns how many images it decoded.
        jobs: what there is to do.
        total: how many images there are.
        description: what the bar says.

    Raises:
        Exception: that of the first job that raised; jobs not begun are dropped.

    Example:
        >>> found = []
        >>> decode_in_threads(lambda job: found.append(job) or 1, "ab", total=2, description="two")
        >>> sorted(found)
        ['a', 'b']
    """
    interval = 0.5 if sys.stderr.isatty() else 15
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=total, desc=description, unit="image", mininterval=interval) as progress,
    ):
        pending = [pool.submit(decode, job) for job in jobs]
        try:
            for done in pending:
                progress.update(done.result())
        finally:
            for left in pending:
                left.cancel()


def decoded_once(
    path: Path, source: str, decode: Callable[[], Mapping[str, Shaped[np.ndarray, "..."]]]
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """What `decode` returns, from the file at `path` if that was decoded from this very source.

    Args:
        path: an .npz file, written atomically. If it cannot be written, one is warned and goes on.
        source: describes what is decoded, so that it differs once that has changed.
        decode: makes the arrays.

    Returns:
        Arrays by name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "decoded.npz"
        >>> decoded_once(path, "one file", lambda: {"images": np.arange(2)})["images"].tolist()
        [0, 1]
        >>> decoded_once(path, "one file", dict)["images"].tolist()
        [0, 1]
    """
    arrays = _read(path, source)
    if arrays is None:
        arrays = dict(decode())
        try:
            _write(path, {**arrays, "source": np.array(source)})
        except OSError as error:
            warnings.warn(
                f"decoded images could not be kept in {path} ({error.strerror or error}), "
                "so that they will be decoded again the next time",
                RuntimeWarning,
                stacklevel=3,
            )
    return arrays


def _read(path: Path, source: str) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if it is of another source, damaged (zip has CRCs) or absent."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["source"]) != source:
                return None
            return {name: arrays[name] for name in arrays.files if name != "source"}
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error):
        return None


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(path) as (file,):
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
