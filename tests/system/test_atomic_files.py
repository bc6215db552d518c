"""Files written beside their place: whole or not there, whatever ends the writing."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hcl_jax.system.atomic_files import atomic_open, atomic_write


@pytest.fixture
def old(tmp_path):
    """Two files as they were before, in a directory of their own."""
    paths = tmp_path / "first", tmp_path / "second"
    for path in paths:
        path.write_bytes(b"old " + path.name.encode())
    return paths


def assert_as_before(paths):
    assert [path.read_bytes() for path in paths] == [b"old first", b"old second"]
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)


def write_and_stop(paths, stop):
    with atomic_open(*paths) as files:
        for file in files:
            file.write(bytes(100_000))
        raise stop


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_what_was_there(old, stop):
    with pytest.raises(stop):
        write_and_stop(old, stop)
    assert_as_before(old)


def test_an_exception_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(ValueError, match="stopped"):
        write_and_stop([tmp_path / "file"], ValueError("stopped"))
    assert not list(tmp_path.iterdir())


def test_files_take_their_places_together(old):
    with atomic_open(*old) as (first, second):
        first.write(b"new first")
        second.write(b"new second")
        second.flush()
        assert [path.read_bytes() for path in old] == [b"old first", b"old second"]
    assert [path.read_bytes() for path in old] == [b"new first", b"new second"]
    assert sorted(old[0].parent.iterdir()) == sorted(old)


def test_every_file_and_directory_reaches_the_disk_before_a_file_is_moved(old, monkeypatch):
    events = []
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: events.append(
            "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor)
        ),
    )
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda *names: events.append(names[1].name) or replace(*names)
    )
    atomic_write({path: bytes(size) for path, size in zip(old, (7, 9), strict=True)})
    assert [event if isinstance(event, str) else event.st_size for event in events] == [
        7,
        9,
        "first",
        "second",
        "directory",
    ]


@pytest.mark.parametrize("number", [1, 2])
def test_a_disk_that_is_full_at_the_end_leaves_what_was_there(old, monkeypatch, number):
    calls = []

    def full(_):
        calls.append(1)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(dict.fromkeys(old, b"new"))
    assert_as_before(old)


def test_a_write_that_is_cut_short_leaves_what_was_there(old):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            atomic_write({old[0]: b"new", old[1]: bytes(2**17)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert_as_before(old)


def test_a_kill_leaves_what_was_there(old):
    code = (
        "import os, pathlib, signal, sys\n"
        "from hcl_jax.system.atomic_files import atomic_open\n"
        "with atomic_open(pathlib.Path(sys.argv[1])) as (file,):\n"
        "    file.write(bytes(100_000))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", code, str(old[0])], cwd=root)
    assert killed.returncode == -signal.SIGKILL
    assert old[0].read_bytes() == b"old first"
    (left,) = set(old[0].parent.iterdir()) - set(old)
    assert left.name.startswith("first.")
    assert left.suffix == ".partial"
    atomic_write({old[0]: b"new"})
    assert old[0].read_bytes() == b"new"


def test_a_place_that_is_a_directory_is_refused(old):
    old[1].unlink()
    old[1].mkdir()
    with pytest.raises(OSError, match="directory"):
        atomic_write({old[1]: b"new"})
    assert sorted(old[0].parent.iterdir()) == sorted(old)


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        atomic_write({tmp_path / "nowhere" / "file": b""})


def test_two_that_write_one_file_do_not_mix(tmp_path):
    path = tmp_path / "file"
    with atomic_open(path) as (one,):
        one.write(b"on")
        one.flush()
        with atomic_open(path) as (other,):
            other.write(b"other")
        assert path.read_bytes() == b"other"
        one.write(b"e")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_files_may_be_read_by_whom_the_umask_allows(tmp_path):
    mask = os.umask(0o022)
    try:
        atomic_write({tmp_path / "file": b""})
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
