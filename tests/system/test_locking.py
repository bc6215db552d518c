"""One process writes in a directory, and notices when the directory is no longer the one it had."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hcl_jax.system.locking import locked, waiting_lock

ROOT = Path(__file__).parents[2]


def test_a_directory_is_locked_once(tmp_path):
    with locked(tmp_path / "a" / "b") as lock:
        lock.check()
        with pytest.raises(BlockingIOError, match="another process is writing there"):
            locked(tmp_path / "a" / "b").__enter__()
        lock.check()
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "a" / "b"):
        pass


def test_who_waits_for_a_file_says_so_and_gets_it(tmp_path):
    order, held = [], threading.Event()

    def hold():
        with waiting_lock(tmp_path / "file.lock"):
            held.set()
            time.sleep(0.2)
            order.append("first")

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(hold)
        held.wait()
        with (
            pytest.warns(UserWarning, match="waiting for another process that holds .*file.lock"),
            waiting_lock(tmp_path / "file.lock"),
        ):
            order.append("second")
        done.result()
    assert order == ["first", "second"]


HOLDER = """
import sys, time
from pathlib import Path
from hcl_jax.system.locking import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(BlockingIOError):
            locked(tmp_path).__enter__()
        process.kill()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("change", ["removed", "replaced", "moved"])
def test_a_lock_that_is_gone_is_noticed(tmp_path, change):
    place = tmp_path / "run"
    with locked(place) as lock:
        if change == "moved":
            place.rename(tmp_path / "elsewhere")
            place.mkdir()
        else:
            (place / "lock").unlink()
        if change != "removed":
            (place / "lock").touch()
        with pytest.raises(OSError, match="no longer that of this process"):
            lock.check()
