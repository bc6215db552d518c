"""Keeps the programs that XLA compiles, so that the next command of the kind starts at once.

JAX's persistent compilation cache does the work. Here is where it keeps them unless
`JAX_COMPILATION_CACHE_DIR` says so, and what makes it harmless: machine code lies in a directory of
its own for every processor, operating system and release of jaxlib, an entry is used only if its
checksum is that of its content, and what cannot be read or written costs one line and the time to
compile. `JAX_ENABLE_COMPILATION_CACHE=0` turns all of it off.
"""

import atexit
import contextlib
import glob
import hashlib
import importlib.metadata
import os
import platform
import re
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from hcl_jax.system.atomic_files import atomic_write

ENTRY = "-cache"
"""How JAX ends the name of a program's file."""

CHECKSUM = ".sha256"
"""What is added to that for the file with its checksum, which a process writes at its end."""

LARGEST = 2**30
"""Bytes of all programs that are kept, for whatever processors: older ones go first."""

UNFINISHED_SECONDS = 3600.0
"""An entry without checksum that is older was left by a process that was killed."""

TOLERATED = 3
"""Programs that cannot be read or written before no more is tried."""

ENABLED = "jax_enable_compilation_cache"
DIRECTORY = "jax_compilation_cache_dir"
COMPILED_IN = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
FAILURE = r"Error (reading|writing) persistent compilation cache entry for '([^']*)': (.*)"
"""JAX's warning."""


def keep_compiled_programs() -> None:
    """Has programs kept on the disk from here on, and taken from there, unless JAX may not.

    Raises nothing: what is wrong with the directory is said in one line.
    """
    if not getattr(jax.config, ENABLED):
        return
    directory = None
    if getattr(jax.config, DIRECTORY) is None:
        try:
            directory = default_directory()
            _prepare(directory)
        except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
            _say(f"compiled programs are not kept: {error}")
            return
        jax.config.update(DIRECTORY, str(directory))
        atexit.register(write_checksums, directory)
    if COMPILED_IN not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _FailuresInOneLine(directory).install()


def default_directory() -> Path:
    """Where programs for this processor and release of jaxlib are kept."""
    release = importlib.metadata.version("jaxlib")
    return _user_cache() / "hcl-jax" / f"programs-{release}-{_processor()}"


def _user_cache() -> Path:
    """The directory for what a user can do without, as the platform has it."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"


def _processor() -> str:
    """Digits that tell this system and processor, with all its instructions, from others."""
    facts = [*platform.uname()[:1], platform.machine(), platform.processor()]
    described = Path("/proc/cpuinfo")
    if described.is_file():
        first = described.read_text(errors="replace").split("\n\n", 1)[0]
        names = r"(vendor_id|model name|flags|Features|CPU implementer|CPU part|isa)\s*:.*"
        facts += [found[0] for found in re.finditer(names, first)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _prepare(directory: Path) -> None:
    """Makes the directory, and removes from it what is not to be used; OSError if it cannot be."""
    if not directory.is_dir():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _say(
            f"compiled programs are kept in {directory.parent} for the next run; "
            "JAX_ENABLE_COMPILATION_CACHE=0 turns this off"
        )
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"{directory} cannot be read and written")
    if hasattr(os, "getuid") and directory.stat().st_uid != os.getuid():
        raise PermissionError(f"{directory} is another user's, who could run code by it")
    _remove_damaged(directory)
    _remove_oldest(directory.parent)


def _remove_damaged(directory: Path) -> None:
    """Removes entries that are not those that were written, or not known to be."""
    for entry in directory.glob(f"*{ENTRY}"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            written = _read(_checksum_of(entry))
            if written is None:
                damaged = time.time() - entry.stat().st_mtime > UNFINISHED_SECONDS
            else:
                damaged = written != _digest(entry)
            if damaged:
                _remove(entry)


def _remove_oldest(root: Path) -> None:
    """Leaves at most `LARGEST` bytes, those that were compiled last."""
    found = []
    for entry in root.glob(f"programs-*/*{ENTRY}"):
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat()
            found.append((status.st_mtime, status.st_size, entry))
    total = 0
    for _, size, entry in sorted(found, reverse=True):
        total += size
        if total > LARGEST:
            _remove(entry)


def write_checksums(directory: Path) -> None:
    """Writes the checksum of every entry that has none; one that is still written gets a wrong one.

    Nothing is said of a full disk: what has no checksum is removed some day.
    """
    with contextlib.suppress(OSError):
        for entry in directory.glob(f"*{ENTRY}"):
            if not _checksum_of(entry).exists():
                atomic_write({_checksum_of(entry): _digest(entry)})


def _checksum_of(entry: Path) -> Path:
    return entry.with_name(entry.name + CHECKSUM)


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).hexdigest().encode()


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _remove(entry: Path) -> None:
    for file in (entry, _checksum_of(entry)):
        file.unlink(missing_ok=True)


class _FailuresInOneLine:
    """Shows JAX's warnings of programs that cannot be read or written as one line in all."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._count = 0
        self._shown = warnings.showwarning

    def install(self) -> None:
        """Stands before what shows warnings; not even where warnings are errors does JAX stop."""
        warnings.filterwarnings("always", message="Error (reading|writing) persistent compilation")
        warnings.showwarning = self._show

    def _show(self, message: Warning | str, *others: Any, **named: Any) -> None:
        found = re.match(FAILURE, str(message), re.DOTALL)
        if found is None:
            self._shown(message, *others, **named)
            return
        what, program, reason = found.groups()
        self._count += 1
        if self._count == 1:
            _say(f"{what} compiled programs fails, so that they are compiled: {reason}")
        if what == "reading" and self._directory is not None:
            for entry in self._directory.glob(f"{glob.escape(program)}-*{ENTRY}"):
                with contextlib.suppress(OSError):
                    _remove(entry)
        if self._count == TOLERATED:
            jax.config.update(ENABLED, False)
            compilation_cache.reset_cache()


def _say(what: str) -> None:
    print(" ".join(what.split()), file=sys.stderr)
