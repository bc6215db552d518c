"""Atomic writes: a file is written beside its place and renamed into it once it is complete.

Whatever ends the writing early, an exception, a full disk or a SIGKILL, the old content stays.
A SIGKILL leaves a file `NAME.XXXXXXXX.partial` behind, which no reader opens.
"""

import contextlib
import glob
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"
"""Suffix of a file that is still being written."""


@contextlib.contextmanager
def atomic_open(*paths: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """Opens files for writing and renames them to `paths`, synced, if the block does not raise.

    Every file has reached the disk before the first is renamed. The directories must exist.
    """
    with contextlib.ExitStack() as stack:
        files = tuple(stack.enter_context(_partial_file(path)) for path in paths)
        yield files
        for file in files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for path, file in zip(paths, files, strict=True):
            os.replace(file.name, path)
    for directory in {path.parent for path in paths}:
        sync_directory(directory)


def atomic_write(contents: Mapping[Path, bytes]) -> None:
    """Writes all files or none; they are renamed in the order of the mapping."""
    with atomic_open(*contents) as files:
        for file, content in zip(files, contents.values(), strict=True):
            file.write(content)


def remove(path: Path) -> None:
    """Removes a directory with all that is in it, or anything else; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_partial_files(directory: Path, name: str | None = None) -> None:
    """Removes what killed processes left of files, or of one file, that no other process writes."""
    of_file = "" if name is None else f"{glob.escape(name)}."
    for path in directory.glob(f"{of_file}*{PARTIAL}"):
        remove(path)


def sync_directory(directory: Path) -> None:
    """Returns when the names of the files in a directory have reached the disk.

    Windows does not let a directory be opened, and sees to it by itself.
    """
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _partial_file(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path`, with a random name since others may write the same file."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            yield file
    finally:
        partial.unlink(missing_ok=True)
