"""Runs that stop, in whatever way, and resume: they end as if they had never stopped."""

import dataclasses
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.processes import PATIENCE
from tqdm import tqdm

from hcl_jax.checkpoints import restore_latest
from hcl_jax.training import runner
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import program_of
from scripts.runs.exit_status import NonFiniteError, PreemptedError, RefusedError
from scripts.runs.loop import run
from scripts.runs.run_files import RunDirectoryError, read_class_means, read_metrics
from scripts.runs.runtime import ONE_DEVICE, Runtime

ROOT = Path(__file__).parents[2]
SHORT = Experiment(data="triangle", beta=5.0, epochs=6, evaluations=6, seeds=(0, 1))
EVERY_EPOCH = Runtime(devices=1, checkpoint_seconds=0, keep=3)


def run_quietly(experiment, path, runtime=EVERY_EPOCH):
    with tqdm(disable=True) as progress:
        return run(experiment, path, progress, runtime)


def state_at_the_end(path, experiment):
    keys = jax.vmap(jax.random.key)(np.asarray(experiment.seeds))
    like = runner.SingleDevice(program_of(experiment)).abstract_states(keys)
    restored = restore_latest(path / "checkpoints", like)
    leaves = restored.state._replace(key=jax.random.key_data(restored.state.key))
    return restored.notes, [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(leaves)]


def assert_same_end(path, other, experiment=SHORT):
    for name in ("metrics.jsonl", "results.json", "embeddings.npz"):
        assert (path / name).read_bytes() == (other / name).read_bytes(), name
    assert state_at_the_end(path, experiment) == state_at_the_end(other, experiment)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("uninterrupted")
    run_quietly(SHORT, path)
    return path


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run that got SIGTERM in its third epoch."""
    train_epoch, calls = runner.train_epoch_of_seeds, []

    def with_signal(*arguments, **options):
        calls.append(None)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_epoch(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "train_epoch_of_seeds", with_signal)
        with pytest.raises(PreemptedError, match="resumes after epoch 3 of 6"):
            run_quietly(SHORT, tmp_path)
    return tmp_path


def test_a_run_that_was_asked_to_stop_resumes(stopped, uninterrupted):
    assert [r["epoch"] for r in read_metrics(stopped)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert not (stopped / "results.json").exists()
    run_quietly(SHORT, stopped)
    assert_same_end(stopped, uninterrupted)
    assert len(list(stopped.glob("events.out.*"))) == 1


def test_a_run_that_keeps_no_checkpoints_does_not_discard_those_of_another(stopped, uninterrupted):
    measured = (stopped / "metrics.jsonl").read_bytes()
    with pytest.raises(RefusedError, match=f"{stopped} has checkpoints .* leave --keep 0 out"):
        run_quietly(SHORT, stopped, ONE_DEVICE)
    assert (stopped / "metrics.jsonl").read_bytes() == measured
    run_quietly(SHORT, stopped)
    assert_same_end(stopped, uninterrupted)


def test_what_was_measured_after_the_checkpoint_is_taken_back(stopped, uninterrupted):
    with (stopped / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"seed": 0, "step": 8, "epoch": 4, "loss": 0.5}\n{"seed": 1, "st')
    run_quietly(SHORT, stopped)
    assert_same_end(stopped, uninterrupted)


def test_class_means_that_did_not_reach_the_disk_are_left_out(stopped, uninterrupted):
    file = stopped / "class_means.npy"
    file.write_bytes(file.read_bytes()[:-3])
    run_quietly(SHORT, stopped)
    assert_same_end(stopped, uninterrupted)
    kept = read_class_means(stopped, SHORT, 7)
    whole = read_class_means(uninterrupted, SHORT, 7)
    np.testing.assert_array_equal(kept, whole[4:])


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    stopped, uninterrupted, damage, capsys
):
    latest = sorted((stopped / "checkpoints").glob("step_*"))[-1]
    victim = max((f for f in latest.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(victim.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    run_quietly(SHORT, stopped)
    printed = capsys.readouterr().err
    assert f"not used: {latest}" in printed or latest.name in printed
    assert "resumes after epoch 2" in printed
    assert_same_end(stopped, uninterrupted)


def test_metrics_that_were_changed_are_refused(stopped):
    metrics = stopped / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"epoch": 1', '"epoch": 7'))
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl was changed since the checkpoint"):
        run_quietly(SHORT, stopped)


def test_a_stopped_run_of_another_experiment_is_refused(stopped):
    other = dataclasses.replace(SHORT, learning_rate=2e-3)
    with pytest.raises(RunDirectoryError, match=r"learning_rate: the directory has 0\.001, asked"):
        run_quietly(other, stopped)


def test_a_run_resumes_with_another_number_of_devices(stopped, uninterrupted):
    results = run_quietly(SHORT, stopped, dataclasses.replace(EVERY_EPOCH, devices=3))
    assert (stopped / "results.json").exists()
    for found, expected in zip(read_metrics(stopped), read_metrics(uninterrupted), strict=True):
        assert (found["epoch"], found["seed"]) == (expected["epoch"], expected["seed"])
        if found["epoch"]:
            np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)
    assert len(results) == 2


def test_a_finished_run_that_was_killed_before_its_results(stopped, uninterrupted):
    run_quietly(SHORT, stopped)
    (stopped / "results.json").unlink()
    (stopped / "embeddings.npz").unlink()
    run_quietly(SHORT, stopped)
    assert_same_end(stopped, uninterrupted)


def test_the_last_good_checkpoint_outlives_a_loss_that_is_not_finite(tmp_path, monkeypatch):
    train_epoch = runner.train_epoch_of_seeds

    def spoiled(states, split, aim, program):
        late = int(states.step[0]) >= 4
        states, infos = train_epoch(states, split, aim, program)
        spoil = infos._replace(loss=infos.loss.at[0, 1].set(jnp.inf)) if late else infos
        return states, spoil

    monkeypatch.setattr(runner, "train_epoch_of_seeds", spoiled)
    with pytest.raises(NonFiniteError, match="the loss is inf at step 6"):
        run_quietly(SHORT, tmp_path)
    notes, state = state_at_the_end(tmp_path, SHORT)
    assert notes["epoch"] == 2
    assert state
    assert (tmp_path / "diagnostic.json").exists()


def test_fitting_to_the_simplex_is_resumed_too(tmp_path, monkeypatch):
    near = dataclasses.replace(
        SHORT, initialization="near_nc", fit_epochs=20, seeds=(0,), learning_rate=3e-3
    )
    run_quietly(near, tmp_path / "whole")
    records = read_metrics(tmp_path / "whole")
    assert [r["epoch"] for r in records] == [0, 1, 2, 3, 4, 5, 6]
    assert records[0]["etf_distance"] < 0.1, "it starts near neural collapse"
    assert records[0]["step"] == 0
    train_epoch, calls = runner.train_epoch_of_seeds, []

    def with_signal(*arguments, **options):
        calls.append(None)
        if len(calls) in (7, 14):
            os.kill(os.getpid(), signal.SIGTERM)
        return train_epoch(*arguments, **options)

    monkeypatch.setattr(runner, "train_epoch_of_seeds", with_signal)
    for epoch in (-13, -6):
        with pytest.raises(PreemptedError, match=f"resumes after epoch {epoch} of 6"):
            run_quietly(near, tmp_path / "stopped")
    run_quietly(near, tmp_path / "stopped")
    assert_same_end(tmp_path / "stopped", tmp_path / "whole", near)


COMMAND = [sys.executable, "-m", "scripts.train", "triangle-hscl5", "--devices", "1"]
COMMAND += ["--checkpoint-seconds", "0", "--epochs", "80", "--evaluations", "20"]
RUN = "triangle-hscl5-evaluations=20"


def start(out):
    """Starts the command; what it compiles is kept beside its output, as a kill may tear it."""
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    environment["JAX_COMPILATION_CACHE_DIR"] = str(out.parent / "programs")
    return subprocess.Popen(
        [*COMMAND, "--out", str(out)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    printed, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, printed


def wait_for_a_new_checkpoint(checkpoints, process, seconds=math.inf):
    """Returns when another checkpoint than now is latest, the process has ended, or time is up."""
    before, end = latest_step(checkpoints), time.monotonic() + seconds
    while latest_step(checkpoints) == before and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)


def latest_step(checkpoints):
    steps = [int(p.name[5:]) for p in checkpoints.glob("step_*") if p.name[5:].isdigit()]
    return max(steps, default=0)


MOMENTS = ("during a save", "at the start", "during a save", "at any time")
"""The start is importing, compiling and restoring; any time may be during a save as well."""


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_never_killed(tmp_path):
    status, printed = finish(start(tmp_path / "whole"))
    assert status == 0, printed
    random_delay = random.Random(0)
    run_path = tmp_path / "killed" / RUN
    checkpoints, during_a_save = run_path / "checkpoints", 0
    for moment in MOMENTS:
        process = start(tmp_path / "killed")
        if moment == "at the start":
            wait_for_a_new_checkpoint(checkpoints, process, random_delay.uniform(0, 5))
        else:
            wait_for_a_new_checkpoint(checkpoints, process)
            time.sleep(random_delay.uniform(0, 0.1))
        if moment == "during a save":
            while not any(checkpoints.glob("*.saving")) and process.poll() is None:
                time.sleep(0.0005)
            time.sleep(random_delay.uniform(0, 0.01))
        assert process.poll() is None, "it ended before it could be killed; give it more epochs"
        process.kill()
        process.communicate()
        during_a_save += any(checkpoints.glob("*.saving"))
    assert during_a_save
    status, printed = finish(start(tmp_path / "killed"))
    assert status == 0, printed
    whole = tmp_path / "whole" / RUN
    experiment = dataclasses.replace(SHORT, epochs=80, evaluations=20, seeds=(0,))
    assert_same_end(run_path, whole, experiment)
    for figure in ("metrics.png", "metrics.pdf"):
        assert (run_path / figure).read_bytes() == (whole / figure).read_bytes(), figure


@pytest.mark.slow
def test_sigterm_saves_and_ends_cleanly(tmp_path):
    process = start(tmp_path / "runs")
    wait_for_a_new_checkpoint(tmp_path / "runs" / RUN / "checkpoints", process)
    process.terminate()
    status, printed = finish(process)
    assert status == 143, printed
    assert "asked to stop; the same command resumes after epoch" in printed
    assert "Traceback" not in printed
