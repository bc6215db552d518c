"""Directories that can tell whether they are whole.

A sealed directory holds a file `SHA256SUMS` that lists every other file in it with its hash, in the
format of the program of that name: `cd DIRECTORY && sha256sum -c SHA256SUMS` checks one by hand.
The list needs no hash of its own. Whatever is changed in it, a hash differs, or a file is listed
that is not there, or one is there that is not listed.
"""

import hashlib
import os
import re
from pathlib import Path

from hcl_jax.system.atomic_files import sync_directory

MANIFEST = "SHA256SUMS"


def seal(directory: Path) -> None:
    """Lists the files of a directory in its manifest, after all of them have reached the disk.

    Args:
        directory: what is complete and will not be written to any more.

    Raises:
        OSError: if a file cannot be read, or the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     _ = (Path(name) / "notes.txt").write_text("whole")
        ...     seal(Path(name))
        ...     fault(Path(name)) is None
        True
    """
    hashes = {name: _sha256(path, sync=True) for name, path in _files(directory).items()}
    with (directory / MANIFEST).open("w") as file:
        file.writelines(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
        file.flush()
        os.fsync(file.fileno())
    for folder in {directory, *(path for path in directory.rglob("*") if path.is_dir())}:
        sync_directory(folder)


def fault(directory: Path) -> str | None:
    """What is wrong with a sealed directory.

    Args:
        directory: a directory that was sealed once.

    Returns:
        None if it is whole; else the first file that is missing, not listed, truncated or altered.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     fault(Path(name))
        'SHA256SUMS is missing'
    """
    try:
        return _fault(directory)
    except OSError as error:
        return f"{error.filename or directory} cannot be read: {error.strerror or error}"


def _fault(directory: Path) -> str | None:
    if not (directory / MANIFEST).is_file():
        return f"{MANIFEST} is missing"
    text = (directory / MANIFEST).read_bytes().decode("utf-8", errors="replace")
    *lines, rest = text.split("\n")
    entries = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines]
    if rest or not all(entries):
        return f"{MANIFEST} is truncated or altered"
    listed = {entry[2]: entry[1] for entry in entries if entry}
    present = _files(directory)
    if missing := sorted(listed.keys() - present.keys()):
        return f"{missing[0]} is missing"
    if unlisted := sorted(present.keys() - listed.keys()):
        return f"{unlisted[0]} is not listed in {MANIFEST}"
    for name, path in sorted(present.items()):
        found = _sha256(path)
        if found != listed[name]:
            return (
                f"{name} is truncated or altered: "
                f"its sha256 is {found[:12]}, expected {listed[name][:12]}"
            )
    return None


def _files(directory: Path) -> dict[str, Path]:
    """Everything in a directory but its manifest and the folders, by relative name."""
    paths = (path for path in directory.rglob("*") if not path.is_dir())
    named = {path.relative_to(directory).as_posix(): path for path in paths}
    return {name: path for name, path in named.items() if name != MANIFEST}


def _sha256(path: Path, *, sync: bool = False) -> str:
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
