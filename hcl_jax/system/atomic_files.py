"""Files that are whole or not there: written beside their place, and moved there at the end.

Whatever ends the writing early, an error, a full disk or a kill, what was there before stays.
A kill leaves a file `NAME.XXXXXXXX.partial` behind, which no reader looks at.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

PARTIAL = ".partial"
"""The end of the name of a file that is not whole yet."""


@contextlib.contextmanager
def whole_files(*paths: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """Opens files to be written, which take their places at the end of the block.

    All have reached the disk before the first is moved. After an exception none is moved and
    nothing is left of them.

    Args:
        *paths: where they belong; the directories must be there.

    Returns:
        A context manager of the open files, in this order.

    Raises:
        OSError: if a file cannot be written or moved, or the disk is full.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "numbers.bin"
        >>> with whole_files(path) as (file,):
        ...     written = file.write(bytes(3))
        ...     path.exists()
        False
        >>> path.read_bytes()
        b'\\x00\\x00\\x00'
    """
    with contextlib.ExitStack() as stack:
        files = tuple(stack.enter_context(_beside(path)) for path in paths)
        yield files
        for file in files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for path, file in zip(paths, files, strict=True):
            os.replace(file.name, path)
    for directory in {path.parent for path in paths}:
        sync_directory(directory)


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Writes files that take their places once all of them are whole.

    Args:
        contents: of each file, in the order in which they take their places.

    Raises:
        OSError: if a file cannot be written or moved, or the disk is full.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> write_files({path: b"whole"})
        >>> path.read_text()
        'whole'
    """
    with whole_files(*contents) as files:
        for file, content in zip(files, contents.values(), strict=True):
            file.write(content)


def json_bytes(value: Any) -> bytes:
    """A value as the content of a JSON file, in lines.

    Args:
        value: of what JSON can hold.

    Returns:
        The file.

    Raises:
        TypeError: for what JSON cannot hold.

    Example:
        >>> json_bytes({"seed": 0})
        b'{\\n "seed": 0\\n}\\n'
    """
    return json.dumps(value, indent=1).encode() + b"\n"


def remove_partial_files(directory: Path) -> None:
    """Removes what kills left half written in a directory that nobody else writes to.

    Args:
        directory: where files were being written.

    Raises:
        OSError: if a file cannot be removed.

    Example:
        >>> import tempfile
        >>> left = Path(tempfile.mkdtemp()) / "notes.txt.0a1b2c3d.partial"
        >>> left.touch()
        >>> remove_partial_files(left.parent)
        >>> left.exists()
        False
    """
    for path in directory.glob(f"*{PARTIAL}"):
        path.unlink()


def sync_directory(directory: Path) -> None:
    """Makes sure that the names in a directory have reached the disk.

    Args:
        directory: one in which files were made, renamed or removed.

    Raises:
        OSError: if the directory cannot be opened.

    Example:
        >>> sync_directory(Path("."))
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    """A new file, under a name of its own since others may write the same one; removed if left."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with beside.open("xb") as file:
            yield file
    finally:
        beside.unlink(missing_ok=True)
