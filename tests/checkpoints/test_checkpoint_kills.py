"""A process that saves without end is killed again and again; nothing is lost or half there."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from references import checkpoint_victim as victim

from hcl_jax.checkpoints import restore_latest
from hcl_jax.checkpoints.directory import CheckpointDirectory

ROOT = Path(__file__).parents[2]


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < deadline, "the victim does nothing"
        time.sleep(0.0005)


def killed_once(directory, log, when, moment):
    """Starts a victim and kills it; returns whether it was in the middle of a save."""
    command = [sys.executable, "-m", "tests.references.checkpoint_victim", str(directory), str(log)]
    # Compiled as here, so that all bits are the same; of one device it starts sooner.
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    environment = {**os.environ, "XLA_FLAGS": " ".join(flags)}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(log.parent / "programs")  # as kills may tear it
    before = confirmed(log)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        if moment == "at the start":
            time.sleep(when.uniform(0.5, 3))
        else:
            wait_for(lambda: confirmed(log) > before, process)
            time.sleep(when.uniform(0, 0.4))
        if moment == "during a save":
            wait_for(lambda: any(directory.glob("*.saving")), process)
            time.sleep(when.uniform(0, 0.03))
    finally:
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors[-3000:]
    return any(directory.glob("*.saving"))


def confirmed(log):
    lines = log.read_text().splitlines() if log.exists() else []
    return max((int(line.split()[1]) for line in lines), default=0)


MOMENTS = ("during a save", "at any time", "during a save", "at the start")


@pytest.mark.parametrize(("kills", "during"), [(1, 0), pytest.param(12, 4, marks=pytest.mark.slow)])
def test_killed_again_and_again(tmp_path, kills, during):
    directory, log, when = tmp_path / "checkpoints", tmp_path / "log", random.Random(kills)
    in_the_middle, latest = 0, 0
    for kill in range(kills):
        in_the_middle += killed_once(directory, log, when, MOMENTS[kill % len(MOMENTS)])
        restored = restore_latest(directory, victim.like())
        assert restored.rejected == (), "what is not whole is not seen"
        assert victim.is_exact(restored)
        assert restored.step >= max(confirmed(log), latest)
        latest = restored.step
        assert len(CheckpointDirectory(directory).steps()) <= 3
    assert in_the_middle >= during
    assert latest >= 3 * kills / 4
