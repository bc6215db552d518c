"""Locks: on a directory, held by the one process that writes there, and on a file.

The lock of a directory is on a file `lock` in it, by `filelock`, and ends with the process. Where
the disk goes away under a running process, or the directory is replaced, the lock is on a file that
is no longer there; `DirectoryLock.check` notices, before anything is written in another place.
"""

import contextlib
import errno
import warnings
from collections.abc import Iterator
from pathlib import Path

LOCK = "lock"
"""Name of the file."""


class DirectoryLock:
    """A lock that is held; use `locked`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = _identity(path)

    def check(self) -> None:
        """Raises OSError unless the file in the directory is still the one that is locked."""
        with contextlib.suppress(OSError):
            if _identity(self._path) == self._identity:
                return
        reason = (
            "the lock there is no longer that of this process: was the disk or directory removed?"
        )
        raise OSError(errno.ESTALE, reason, str(self._path))


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[DirectoryLock]:
    """Locks a directory, which is made if it does not exist, for this process.

    BlockingIOError says that another process holds the lock.
    """
    from filelock import FileLock, Timeout

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / LOCK
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        reason = "another process is writing there"
        raise BlockingIOError(errno.EWOULDBLOCK, reason, str(directory)) from None
    try:
        yield DirectoryLock(path)
    finally:
        lock.release()


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Locks a file for this process; a warning says that another one is waited for."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        warnings.warn(f"waiting for another process that holds {path}", stacklevel=3)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _identity(path: Path) -> tuple[int, int]:
    """What tells a file from every other."""
    found = path.stat()
    return found.st_dev, found.st_ino
