"""Two processes in one run directory, and directories that go away under a run."""

import os
import signal

import pytest
from tqdm import tqdm

from hcl_jax.system.locking import locked
from hcl_jax.training import runner
from scripts import train
from scripts.experiments.experiment import Experiment
from scripts.runs.exit_status import PreemptedError
from scripts.runs.loop import run
from scripts.runs.run_files import read_metrics
from scripts.runs.runtime import Runtime

SHORT = Experiment(data="triangle", epochs=3, evaluations=3)


def run_quietly(experiment, path, runtime):
    with tqdm(disable=True) as progress:
        return run(experiment, path, progress, runtime)


def before_epoch(monkeypatch, number, action):
    """Does something when the epoch of this number, counted from 1, begins."""
    train_epoch, calls = runner.train_epoch_of_seeds, []

    def acting(*arguments, **options):
        calls.append(None)
        if len(calls) == number:
            action()
        return train_epoch(*arguments, **options)

    monkeypatch.setattr(runner, "train_epoch_of_seeds", acting)


def contents(path):
    return {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("keep", ["0", "2"])
def test_a_second_process_is_refused_and_touches_nothing(tmp_path, capsys, keep):
    path = tmp_path / "triangle-scl"
    with locked(path):
        for name in ("config.json", "results.json.0a1b2c3d.partial", "metrics.jsonl"):
            (path / name).write_text("of the first")
        before = contents(path)
        command = ["triangle-scl", "--epochs", "1", "--devices", "1", "--keep", keep]
        assert train.main([*command, "--out", str(tmp_path)]) == 2
        assert contents(path) == before
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == f"error: another process is training in {path}"


@pytest.mark.parametrize("keep", [0, 2])
def test_a_run_is_locked_while_it_trains(tmp_path, monkeypatch, keep):
    said = []

    def try_another():
        try:
            with locked(tmp_path):
                said.append("open")
        except BlockingIOError:
            said.append("locked")

    before_epoch(monkeypatch, 2, try_another)
    run_quietly(SHORT, tmp_path, Runtime(devices=1, keep=keep))
    assert said == ["locked"]
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("keep", [0, 2])
def test_a_run_whose_directory_goes_away_stops(tmp_path, monkeypatch, keep):
    """As where a disk is unmounted: what appears in its place gets nothing of the run."""
    path, moved = tmp_path / "run", tmp_path / "moved"

    def replace():
        path.rename(moved)
        (path / "checkpoints").mkdir(parents=True)

    before_epoch(monkeypatch, 2, replace)
    with pytest.raises(OSError, match="no longer that of this process"):
        run_quietly(SHORT, path, Runtime(devices=1, keep=keep))
    assert [file for file in path.rglob("*") if file.is_file()] == []
    assert [record["epoch"] for record in read_metrics(moved)] == [0, 1]


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGHUP", "SIGTERM", "SIGINT"])
def test_signals_that_were_named_save_and_stop(tmp_path, monkeypatch, name):
    runtime = Runtime(devices=1, stop_signals=(name,))
    number = getattr(signal, name)
    before = signal.getsignal(number)
    before_epoch(monkeypatch, 2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(PreemptedError, match="resumes after epoch 2 of 3"):
        run_quietly(SHORT, tmp_path, runtime)
    assert signal.getsignal(number) == before
    assert (tmp_path / "checkpoints" / "step_000000002").is_dir()


def test_the_command_takes_signals_and_ends_with_their_status(tmp_path, monkeypatch):
    before_epoch(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    command = ["triangle-scl", "--epochs", "2", "--devices", "1", "--stop-signals"]
    assert train.main([*command, "SIGTERM", "SIGUSR1", "--out", str(tmp_path)]) == 143


def test_a_signal_that_this_system_lacks_is_refused(monkeypatch):
    monkeypatch.delattr(signal, "SIGUSR1")
    with pytest.raises(ValueError, match="this system has no signal SIGUSR1"):
        Runtime(stop_signals=("SIGUSR1",))
