"""Decoding image files: in threads, with a progress bar, and only once.

Decoded images are cached in one file, with a description of what they were decoded from. A file
that describes anything else, or cannot be read, is decoded anew.
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

IMAGES_PER_JOB = 256
"""The most images that one thread decodes before it takes the next job."""

Job = TypeVar("Job")


def jobs_of(start: int, stop: int) -> list[range]:
    """The images from `start` to before `stop`, at most `IMAGES_PER_JOB` in a job."""
    firsts = range(start, stop, IMAGES_PER_JOB)
    return [range(first, min(first + IMAGES_PER_JOB, stop)) for first in firsts]


def decode_in_threads(
    decode: Callable[[Job], int], jobs: Iterable[Job], *, total: int, description: str
) -> None:
    """Runs `decode`, which returns how many images it decoded, on all jobs, under a progress bar.

    The exception of the first job that raises is raised; jobs that have not begun are cancelled.
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


def load_or_decode(
    path: Path, source: str, decode: Callable[[], Mapping[str, Shaped[np.ndarray, "..."]]]
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays cached at `path` if they were decoded from `source`, else what `decode` returns.

    `source` describes what is decoded, so that it differs once that has changed. Decoded arrays are
    then cached; where that fails, a warning says so.
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


def _read(path: Path, source: str) -> dict[str, Shaped[np.ndarray, "..."]] | None:
    """The arrays of a file; None if it is of another source, damaged (zip has CRCs) or absent."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["source"]) != source:
                return None
            return {name: arrays[name] for name in arrays.files if name != "source"}
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error):
        return None


def _write(path: Path, arrays: dict[str, Shaped[np.ndarray, "..."]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(path) as (file,):
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
