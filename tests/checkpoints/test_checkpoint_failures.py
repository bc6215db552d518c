"""A disk that is full or read-only: a clear message, and the checkpoint before is whole."""

import contextlib
import os
import subprocess
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax.checkpoints import CheckpointError, Checkpoints, checksums, restore_latest

# TensorStore may end a write that Orbax has given up, and then finds no one to tell.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SMALL = {"kernel": jnp.arange(4.0)}
LARGE = {"kernel": jax.random.normal(jax.random.key(0), (2**20,))}


@pytest.fixture
def disk(tmp_path):
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a file system can be mounted only by root")
    yield place
    time.sleep(0.2)  # for what has been given up to end under this module's filter of warnings
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(disk, mode):
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)


def save_and_wait(checkpoints, step, state, notes):
    checkpoints.save(step, state, notes)
    checkpoints.wait()


def assert_small_is_whole(directory, step=1):
    restored = restore_latest(directory, SMALL)
    assert (restored.step, restored.rejected) == (step, ())
    np.testing.assert_array_equal(restored.state["kernel"], SMALL["kernel"])


def test_a_full_disk_is_told_by_wait(disk):
    runs = disk / "run"
    with Checkpoints(runs) as checkpoints:
        save_and_wait(checkpoints, 1, SMALL, {})
        checkpoints.save(2, LARGE, {})
        with pytest.raises(CheckpointError) as caught:
            checkpoints.wait()
        assert str(caught.value) == (
            f"the checkpoint of step 2 cannot be saved in {runs}, where those before it stay as "
            "they are: No space left on device"
        )
        assert_small_is_whole(runs)
        checkpoints.wait()
        save_and_wait(checkpoints, 2, SMALL, {})
        assert sorted(os.listdir(runs)) == ["lock", "step_000000001", "step_000000002"]
        assert_small_is_whole(runs, step=2)


def test_a_full_disk_is_told_by_the_next_save_and_on_leaving(disk):
    with Checkpoints(disk) as checkpoints:
        save_and_wait(checkpoints, 1, SMALL, {})
        checkpoints.save(2, LARGE, {})
        with pytest.raises(CheckpointError, match=r"step 2 .* No space left on device"):
            checkpoints.save(3, SMALL, {})
        assert_small_is_whole(disk)
    with (
        pytest.raises(CheckpointError, match=r"step 4 .* No space left on device"),
        Checkpoints(disk) as checkpoints,
    ):
        checkpoints.save(4, LARGE, {})
    assert_small_is_whole(disk)


def test_a_full_disk_does_not_hide_another_error(disk):
    def fail():
        with Checkpoints(disk) as checkpoints:
            checkpoints.save(1, SMALL, {})
            checkpoints.save(2, LARGE, {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert "No space left on device" in caught.value.__notes__[0]
    assert_small_is_whole(disk)


@pytest.mark.parametrize("kib", [1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48])
def test_a_disk_that_is_full_at_any_point(disk, kib):
    """Whichever file it is that finds no room: the arrays, the notes or the hashes."""
    with Checkpoints(disk) as checkpoints:
        save_and_wait(checkpoints, 1, SMALL, {})
        filler = disk / "filler"
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler.write_bytes(b"\0" * (free - kib * 1024))
        with contextlib.suppress(CheckpointError):
            save_and_wait(checkpoints, 2, SMALL, {"much": "x" * 5000})
        assert_small_is_whole(disk, step=checkpoints._directory.steps()[-1])
        filler.unlink()
        save_and_wait(checkpoints, 3, SMALL, {})
        assert_small_is_whole(disk, step=3)


def test_a_disk_that_turns_read_only(disk):
    with Checkpoints(disk / "run") as checkpoints:
        save_and_wait(checkpoints, 1, SMALL, {})
        checkpoints._closing.pop_all().close()
        remount(disk, "ro")
        with pytest.raises(CheckpointError, match=f"step 2 .* {disk}/run.*Read-only file system"):
            save_and_wait(checkpoints, 2, SMALL, {})
        with pytest.raises(CheckpointError, match=f"saved in {disk}/run: Read-only file system"):
            Checkpoints(disk / "run")
        assert_small_is_whole(disk / "run")
        remount(disk, "rw")


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    place = tmp_path / "file" / "run"
    with pytest.raises(CheckpointError, match=f"cannot be saved in {place}: Not a directory"):
        Checkpoints(place)


def test_two_that_save_in_one_directory(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        save_and_wait(checkpoints, 1, SMALL, {})
        with pytest.raises(CheckpointError, match=f"{tmp_path}: another process is writing there"):
            Checkpoints(tmp_path)
        checkpoints.save(2, SMALL, {})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(SMALL).step == 2


def test_a_directory_that_is_replaced_under_a_run_is_noticed(tmp_path):
    """As where a disk is unmounted, and a directory of the same name is below it."""
    place = tmp_path / "run"
    with Checkpoints(place) as checkpoints:
        save_and_wait(checkpoints, 1, SMALL, {})
        place.rename(tmp_path / "unmounted")
        place.mkdir()
        with pytest.raises(CheckpointError, match=r"step 2 .* no longer that of this process"):
            save_and_wait(checkpoints, 2, SMALL, {})
    assert not list(place.iterdir())
    assert_small_is_whole(tmp_path / "unmounted")


def test_a_directory_that_is_replaced_during_a_save_is_noticed(tmp_path, monkeypatch):
    place, write = tmp_path / "run", checksums.write

    def replace_and_write(staging):
        write(staging)
        (place / "lock").unlink()

    with Checkpoints(place) as checkpoints:
        monkeypatch.setattr(checksums, "write", replace_and_write)
        with pytest.raises(CheckpointError, match="no longer that of this process"):
            save_and_wait(checkpoints, 1, SMALL, {})
        assert checkpoints.steps() == []


def test_a_path_that_is_not_utf_8_is_refused(tmp_path):
    place = tmp_path / os.fsdecode(b"run\xff")
    with pytest.raises(CheckpointError, match="its path is not UTF-8"):
        Checkpoints(place)
