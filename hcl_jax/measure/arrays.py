"""Arrays in files, read a block of rows at a time, as often as wanted.

What is read is never held: `.npy` files and the members of `.npz` archives are read as streams,
compressed or not, and safetensors by slices. Pickled objects are never read.
"""

import contextlib
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from hcl_jax.measure.extras import InputError, need

BLOCK = 2**24
"""Bytes that are read at a time."""

DAMAGED = (ValueError, LookupError, EOFError, OSError, RuntimeError)
DAMAGED += (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What readers raise for a file that is not as it should be; those of pyarrow are among them."""


class Stored(NamedTuple):
    """An array in a file.

    Attributes:
        shape: its shape; the first axis is that of the rows.
        dtype: its dtype.
        blocks: gives its rows from the first to the last, some at a time.
        note: what else is to be said of it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[Shaped[np.ndarray, "rows ..."]]]
    note: str = ""


def read_all(stored: Stored) -> Shaped[np.ndarray, "rows ..."]:
    """The whole array."""
    return np.concatenate(list(stored.blocks()), axis=0)


def layer(stored: Stored, number: int) -> Stored:
    """One of the matrices that are stacked along a first axis."""

    def blocks() -> Iterator[np.ndarray]:
        first = 0
        for block in stored.blocks():
            if number < first + len(block):
                yield block[number - first]
                return
            first += len(block)

    return Stored(stored.shape[1:], stored.dtype, blocks)


def chunks(stored: Stored, rows: int) -> Iterator[Float[np.ndarray, "rows dim"]]:
    """The rows of a matrix in float64, so many at a time and fewer only in the end."""
    parts: list[np.ndarray] = []
    for block in stored.blocks():
        while len(block):
            part = block[: rows - sum(map(len, parts))]
            block = block[len(part) :]
            parts.append(part)
            if sum(map(len, parts)) == rows:
                yield np.concatenate(parts).astype(np.float64)
                parts = []
    if parts:
        yield np.concatenate(parts).astype(np.float64)


def npy_arrays(path: Path) -> dict[str, Stored]:
    """The one array of a `.npy` file, under the name of the file."""

    @contextlib.contextmanager
    def opened() -> Iterator[BinaryIO]:
        with path.open("rb") as file:
            yield file

    return {path.stem: _stored(f"{path}", opened)}


def npz_arrays(path: Path) -> dict[str, Stored]:
    """The arrays of a `.npz` archive by their keys."""

    def stored(member: str) -> Stored:
        @contextlib.contextmanager
        def opened() -> Iterator[BinaryIO]:
            with zipfile.ZipFile(path) as archive, archive.open(member) as file:
                yield file  # type: ignore[misc]

        return _stored(f"{member} of {path}", opened)

    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is no npz archive: {error}") from error
    if twice := repeated(members):
        raise InputError(f"{path} has {twice} twice, and one of them would be lost")
    return {member.removesuffix(".npy"): stored(member) for member in members}


def repeated(names: Sequence[str]) -> str | None:
    """The first name that is there more than once, if one is."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def safetensors_arrays(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file by their names."""
    need(("safetensors",), f"{path.name}")
    import safetensors

    def stored(name: str) -> Stored:
        with safetensors.safe_open(path, framework="numpy") as file:
            shape = tuple(file.get_slice(name).get_shape())
            part = file.get_slice(name)[:1] if shape and shape[0] else file.get_tensor(name)

        def blocks() -> Iterator[np.ndarray]:
            with safetensors.safe_open(path, framework="numpy") as file:
                slices = file.get_slice(name)
                for start, stop in _ranges(shape, part.dtype):
                    yield slices[start:stop]

        return Stored(shape, part.dtype, blocks)

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.keys())
        return {name: stored(name) for name in names}
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is no safetensors file: {error}") from error


def _stored(name: str, opened: Callable[[], contextlib.AbstractContextManager[BinaryIO]]) -> Stored:
    """The array of one npy stream; by rows, or whole where columns are what lies together."""
    with refusing(name), opened() as file:
        shape, by_columns, dtype = _header(file, name)

    def blocks() -> Iterator[np.ndarray]:
        with refusing(name), opened() as file:
            _header(file, name)
            if by_columns:
                yield _read(file, shape[::-1], dtype, name).T
                return
            for start, stop in _ranges(shape, dtype):
                yield _read(file, (stop - start, *shape[1:]), dtype, name)

    return Stored(shape, dtype, blocks)


def _header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns lie together, and dtype; the stream is then at the numbers."""
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise InputError(f"{name} has version {version} of the npy format, not 1.0 or 2.0")
    shape, by_columns, dtype = readers[version](file)
    if dtype.hasobject:
        raise InputError(
            f"{name} holds Python objects, which are never unpickled: save labels.astype(str)"
        )
    return shape, by_columns and len(shape) > 1, dtype


def _read(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype, name: str) -> np.ndarray:
    """The next numbers of a stream."""
    array = np.empty(shape, dtype)
    view = array.reshape(-1).view(np.uint8)
    done = 0
    while done < len(view):
        part = file.read(min(len(view) - done, BLOCK))
        if not part:
            raise InputError(f"{name} is cut short: numbers are missing at its end")
        view[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    return array


def _ranges(shape: tuple[int, ...], dtype: np.dtype) -> Iterator[tuple[int, int]]:
    """Ranges of rows of about `BLOCK` bytes."""
    step = max(1, BLOCK // max(1, int(np.prod(shape[1:])) * dtype.itemsize))
    for start in range(0, shape[0] if shape else 0, step):
        yield start, min(start + step, shape[0])


@contextlib.contextmanager
def refusing(name: str) -> Iterator[None]:
    """Makes one kind of error of whatever is wrong with a file; the system's own name the file.

    zipfile raises RuntimeError where a member is encrypted or compressed in a way it does not know.
    """
    try:
        yield
    except InputError:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{name} cannot be read: {reason}") from error
