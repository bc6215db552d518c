"""Compiled programs are taken from the disk by the next process, and nothing there stops a run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.runs import kept_programs

ROOT = Path(__file__).parents[2]
PROGRAM = """
from scripts.runs.kept_programs import keep_compiled_programs
import jax
keep_compiled_programs()
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.split("/")[-1]))
found = jax.jit(lambda x: jax.numpy.sin(x) @ x)(jax.numpy.arange(9.0).reshape(3, 3))
print(found.tobytes().hex(), events.count("cache_hits"), events.count("cache_misses"))
"""

SET_FOR_TESTS = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
"""By tests/conftest.py, so that commands in other tests do not write to the user's directory."""


def run(cache, *, enabled="1", flags=()):
    """What a process computes, how many programs it finds and does not find, and what it says."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in SET_FOR_TESTS},
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": str(ROOT),
        "JAX_ENABLE_COMPILATION_CACHE": enabled,
    }
    command = [sys.executable, *flags, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    value, hits, misses = done.stdout.split()
    return value, int(hits), int(misses), done.stderr.splitlines()


def entries(cache):
    return sorted(cache.rglob(f"*{kept_programs.ENTRY}"))


@pytest.mark.skipif(sys.platform != "linux", reason="the directory is that of Linux")
def test_a_second_process_finds_the_programs_of_the_first(tmp_path):
    value, hits, misses, [said] = run(tmp_path)
    assert (hits, misses) == (0, len(entries(tmp_path)))
    assert misses > 1
    assert str(tmp_path / "hcl-jax") in said
    assert run(tmp_path) == (value, misses, 0, [])
    changed, cut, *_ = entries(tmp_path)
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    cut.write_bytes(cut.read_bytes()[:100])
    kept_programs._checksum_of(cut).unlink()
    found, hits, again, [said] = run(tmp_path, flags=("-W", "error"))
    assert (found, hits, again) == (value, misses - 2, 2)
    assert said.startswith("reading compiled programs fails, so that they are compiled: ")
    assert run(tmp_path) == (value, misses, 0, [])


@pytest.mark.skipif(sys.platform != "linux", reason="the directory is that of Linux")
def test_a_directory_that_cannot_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    value, hits, misses, said = run(tmp_path / "file")
    assert (hits, misses, len(said)) == (0, 0, 1)
    assert said[0].startswith("compiled programs are not kept: ")
    assert run(tmp_path, enabled="0") == (value, 0, 0, [])
    assert not entries(tmp_path)


def entry(directory, name, content, *, age=0.0, checksum=True):
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}{kept_programs.ENTRY}"
    file.write_bytes(content)
    if checksum:
        kept_programs.write_checksums(directory)
    os.utime(file, (time.time() - age,) * 2)
    return file


def test_what_is_damaged_or_was_left_by_a_killed_process_is_removed(tmp_path):
    whole = entry(tmp_path, "whole", b"program", age=1e6)
    damaged = entry(tmp_path, "damaged", b"program")
    damaged.write_bytes(b"progran")
    written_now = entry(tmp_path, "now", b"prog", checksum=False)
    left = entry(
        tmp_path, "left", b"prog", checksum=False, age=2 * kept_programs.UNFINISHED_SECONDS
    )
    kept_programs._prepare(tmp_path)
    assert [file.exists() for file in (whole, damaged, written_now, left)] == [True, False] * 2
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "now-cache",
        "whole-cache",
        "whole-cache.sha256",
    ]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no such users")
def test_the_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="is another user's"):
        kept_programs._prepare(tmp_path)


def test_the_oldest_programs_of_all_processors_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_programs, "LARGEST", 25)
    files = [
        entry(tmp_path / f"programs-{age % 2}", str(age), b"0123456789", age=100.0 * age)
        for age in range(4)
    ]
    kept_programs._remove_oldest(tmp_path)
    assert [file.exists() for file in files] == [True, True, False, False]


def test_the_directory_tells_releases_and_processors_apart(monkeypatch):
    before = kept_programs.default_directory()
    monkeypatch.setattr(kept_programs.importlib.metadata, "version", lambda _: "0.0.1")
    other_release = kept_programs.default_directory()
    monkeypatch.undo()
    monkeypatch.setattr(kept_programs.platform, "machine", lambda: "another")
    assert len({before, other_release, kept_programs.default_directory()}) == 3
