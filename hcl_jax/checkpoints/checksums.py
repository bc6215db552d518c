"""The SHA-256 hash of every file of a directory, written once and verified before each use.

`SHA256SUMS` lists every other file of the directory with its hash, in the format of `sha256sum`:
`cd DIRECTORY && sha256sum -c SHA256SUMS` verifies one by hand. The list needs no hash of its own:
wherever a bit of it changes, a hash differs, a listed file is missing or a file is not listed.
"""

import hashlib
import os
import re
from pathlib import Path

from hcl_jax.system.atomic_files import atomic_write, sync_directory

MANIFEST = "SHA256SUMS"


class ChecksumError(Exception):
    """A file of the directory is missing, not listed, truncated or altered, or cannot be read."""


def write(directory: Path) -> None:
    """Lists the hashes of a complete directory, after its files have reached the disk."""
    hashes = {name: _sha256(path, sync=True) for name, path in _files(directory).items()}
    lines = (f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    atomic_write({directory / MANIFEST: "".join(lines).encode()})
    for folder in {directory, *(path for path in directory.rglob("*") if path.is_dir())}:
        sync_directory(folder)


def verify(directory: Path) -> None:
    """Raises ChecksumError, which names the first file at fault, unless all files are as listed."""
    try:
        _compare(_read_manifest(directory), _files(directory))
    except OSError as error:
        path = error.filename or directory
        raise ChecksumError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_manifest(directory: Path) -> dict[str, str]:
    """The listed hashes by file name."""
    if not (directory / MANIFEST).is_file():
        raise ChecksumError(f"{MANIFEST} is missing")
    text = (directory / MANIFEST).read_bytes().decode("utf-8", errors="replace")
    *lines, rest = text.split("\n")
    entries = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in lines]
    if rest or not all(entries):
        raise ChecksumError(f"{MANIFEST} is truncated or altered")
    return {entry[2]: entry[1] for entry in entries if entry}


def _compare(listed: dict[str, str], present: dict[str, Path]) -> None:
    """Raises ChecksumError unless exactly the listed files are present, with the listed hashes."""
    if missing := sorted(listed.keys() - present.keys()):
        raise ChecksumError(f"{missing[0]} is missing")
    if unlisted := sorted(present.keys() - listed.keys()):
        raise ChecksumError(f"{unlisted[0]} is not listed in {MANIFEST}")
    for name, path in sorted(present.items()):
        if not path.is_file():  # a FIFO would be waited for
            raise ChecksumError(f"{name} is not a regular file")
        found = _sha256(path)
        if found != listed[name]:
            raise ChecksumError(
                f"{name} is truncated or altered: "
                f"its sha256 is {found[:12]}, expected {listed[name][:12]}"
            )


def _files(directory: Path) -> dict[str, Path]:
    """All files of a directory and its folders by relative name, without the manifest."""
    paths = (path for path in directory.rglob("*") if not path.is_dir())
    named = {path.relative_to(directory).as_posix(): path for path in paths}
    return {name: path for name, path in named.items() if name != MANIFEST}


def _sha256(path: Path, *, sync: bool = False) -> str:
    """The hash of a file in hexadecimal, with `sync` of what has reached the disk."""
    with path.open("rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()
