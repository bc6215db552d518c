"""Decoding image files: in threads, with a progress bar, and only once.

Decoded images are cached in one file, with a description of what they were decoded from. A cache
of anything else, with other arrays than there should be, or that cannot be read, is made anew.
"""

import hashlib
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Shaped

from hcl_jax.data.splits import DatasetError
from hcl_jax.system.atomic_files import atomic_open
from hcl_jax.system.progress import progress_bar

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
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress_bar(total=total, desc=description, unit="image") as progress,
    ):
        pending = [pool.submit(decode, job) for job in jobs]
        try:
            for done in pending:
                progress.update(done.result())
        finally:
            for left in pending:
                left.cancel()


class ArrayLayout(NamedTuple):
    """What a cached array has to be.

    Attributes:
        dtype: its dtype, or a kind of dtypes such as `numpy.str_`.
        shape: its shape; a name stands for one length, the same wherever it comes up.
    """

    dtype: type[np.generic]
    shape: tuple[int | str, ...]


def load_or_decode(
    path: Path,
    source: str,
    decode: Callable[[], Mapping[str, Shaped[np.ndarray, "..."]]],
    *,
    layouts: Mapping[str, ArrayLayout],
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays cached at `path` if they were decoded from `source`, else what `decode` returns.

    `source` describes what is decoded, so that it differs once that has changed; `layouts` says
    which arrays there have to be. Decoded arrays are then cached; where that fails, a warning says
    so.
    """
    arrays = _read(path, source, layouts)
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


def version_of(path: Path) -> str:
    """Size, time of the last change and number of a file: what tells it from another in its place.

    Raises OSError if there is none, or a directory or pipe instead.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is not a file")
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"


def digest_of_files(
    folder: Path, paths: Sequence[Path], labels: Sequence[int] | None = None
) -> str:
    """Changes once a file is added, removed, renamed, replaced or given another label.

    A link that leads nowhere counts as a file. DatasetError names a file that cannot be looked at.
    """
    digest = hashlib.sha256()
    for number, path in enumerate(paths):
        try:
            version = "broken link" if is_broken_link(path) else version_of(path)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error}") from error
        label = "" if labels is None else f" {labels[number]}"
        digest.update(os.fsencode(path.relative_to(folder)) + f"{label} {version}\n".encode())
    return digest.hexdigest()


def is_broken_link(path: Path) -> bool:
    """Whether there is a link that leads to no file."""
    return path.is_symlink() and not path.exists()


def listing_of(directory: Path) -> str:
    """Names, sizes and times of all files below: what tells one preparation from another."""
    folders = [Path(folder) for folder, _, _ in os.walk(directory, followlinks=True)]
    paths = sorted(path for folder in folders for path in folder.iterdir() if path.is_file())
    return "\n".join(
        f"{path.relative_to(directory).as_posix()} {version_of(path)}" for path in paths
    )


def open_image(opener: Callable[[Any], Any], file: Any, *, height: int, width: int) -> Any:
    """Opens an image by a class of Pillow's, which reads no more than the header, and checks it.

    The function `PIL.Image.open` is not used: it warns of large images instead of refusing them.
    Raises ValueError for another size, and what Pillow raises for what is no image of its format.
    """
    image = opener(file)
    if image.size != (width, height):
        found = image.size
        image.close()
        raise ValueError(
            f"an image of {found[1]} x {found[0]} pixels instead of {height} x {width}"
        )
    return image


def _read(
    path: Path, source: str, layouts: Mapping[str, ArrayLayout]
) -> dict[str, Shaped[np.ndarray, "..."]] | None:
    """The arrays of a file; None if it is of another source, damaged (zip has CRCs) or absent."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["source"]) != source:
                return None
            found = {name: arrays[name] for name in layouts}
    except Exception:  # NumPy, zipfile, zlib and the disk each raise their own
        return None
    return found if _fits(found, layouts) else None


def _fits(
    arrays: Mapping[str, Shaped[np.ndarray, "..."]], layouts: Mapping[str, ArrayLayout]
) -> bool:
    lengths: dict[str, int] = {}
    for name, layout in layouts.items():
        array = arrays[name]
        if not np.issubdtype(array.dtype, layout.dtype) or array.ndim != len(layout.shape):
            return False
        for length, expected in zip(array.shape, layout.shape, strict=True):
            if isinstance(expected, str):
                expected = lengths.setdefault(expected, length)
            if length != expected:
                return False
    return True


def _write(path: Path, arrays: dict[str, Shaped[np.ndarray, "..."]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_open(path) as (file,):
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
