"""A longer run as the continuation of a shorter one, and names that tell variations apart."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tqdm import tqdm

from hcl_jax.checkpoints import restore_latest
from hcl_jax.training import runner
from scripts import sweep, train
from scripts.experiments.catalogue import LONGEST_NAME, changed_name, find_experiment
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import program_of
from scripts.runs.exit_status import RefusedError
from scripts.runs.loop import run
from scripts.runs.run_files import RunDirectoryError, read_metrics
from scripts.runs.runtime import Runtime

LONG = Experiment(data="triangle", epochs=5, evaluations=5, seeds=(0, 1), warmup_epochs=1)
SHORT = dataclasses.replace(LONG, epochs=3)
USUAL = Runtime(devices=1)
CONTINUE = Runtime(devices=1, continues=True)


def run_quietly(experiment, path, runtime=USUAL):
    with tqdm(disable=True) as progress:
        return run(experiment, path, progress, runtime)


def bits_at_the_end(path, experiment):
    keys = jax.vmap(jax.random.key)(np.asarray(experiment.seeds))
    like = runner.SingleDevice(program_of(experiment, steps_per_epoch=2)).abstract_states(keys)
    state = restore_latest(path / "checkpoints", like).state
    leaves = jax.tree.leaves(state._replace(key=jax.random.key_data(state.key)))
    return [np.asarray(leaf).tobytes() for leaf in leaves]


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("long")
    run_quietly(LONG, path)
    return path


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("short")
    run_quietly(SHORT, path)
    return path


@pytest.fixture
def short(short_run, tmp_path):
    """A copy of a finished run."""
    for file in (f for f in short_run.rglob("*") if f.is_file()):
        copy = tmp_path / "run" / file.relative_to(short_run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    return tmp_path / "run"


def test_a_continued_run_is_the_long_one_bit_for_bit(short, long_run):
    began = json.loads((short / "config.json").read_text())["environment"]
    results = run_quietly(LONG, short, CONTINUE)
    for name in ("metrics.jsonl", "results.json", "embeddings.npz"):
        assert (short / name).read_bytes() == (long_run / name).read_bytes(), name
    assert bits_at_the_end(short, LONG) == bits_at_the_end(long_run, LONG)
    config = json.loads((short / "config.json").read_text())
    assert (config["experiment"]["epochs"], config["environment"]) == (5, began)
    assert run_quietly(LONG, short) == results, "it is a run of that length, and finished"


def test_a_continued_run_that_is_stopped_resumes(short, long_run, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "train_epoch_of_seeds", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(LONG, short, CONTINUE)
    assert not (short / "results.json").exists()
    run_quietly(LONG, short)
    assert (short / "metrics.jsonl").read_bytes() == (long_run / "metrics.jsonl").read_bytes()


def test_what_was_measured_stays_where_the_long_run_would_not_measure(short):
    rarely = dataclasses.replace(SHORT, epochs=4)
    run_quietly(rarely, short, CONTINUE)
    epochs = [record["epoch"] for record in read_metrics(short) if record["seed"] == 0]
    assert epochs == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "runtime", "message"),
    [
        ({"epochs": 5}, USUAL, r"epochs: the directory has 3, asked was 5\); --continue trains it"),
        ({"epochs": 2}, CONTINUE, "--continue trains for longer only"),
        ({"epochs": 2}, USUAL, r"asked was 2\); choose another directory with --out"),
        ({"epochs": 5, "learning_rate": 1.0}, CONTINUE, "learning_rate: .*; choose another"),
    ],
)
def test_what_is_no_continuation_is_refused(short, changes, runtime, message):
    before = {file.name: file.read_bytes() for file in short.iterdir() if file.is_file()}
    with pytest.raises(RunDirectoryError, match=message):
        run_quietly(dataclasses.replace(SHORT, **changes), short, runtime)
    assert before == {file.name: file.read_bytes() for file in short.iterdir() if file.is_file()}


def test_a_schedule_that_depends_on_the_length_is_not_continued(tmp_path):
    cosine = Experiment(data="triangle", epochs=1, schedule="cosine")
    run_quietly(cosine, tmp_path)
    longer = dataclasses.replace(cosine, epochs=2)
    for runtime, hint in ((CONTINUE, "cosine schedule depends on the number"), (USUAL, "choose")):
        with pytest.raises(RunDirectoryError, match=hint) as caught:
            run_quietly(longer, tmp_path, runtime)
        assert "--continue" not in str(caught.value)


def test_the_commands_refuse_to_continue_such_a_schedule(tmp_path, capsys):
    words = ["triangle-scl", "--schedule", "cosine", "--epochs", "2", "--continue"]
    assert train.main([*words, "--devices", "1", "--out", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "the learning rate of the cosine schedule depends on the number of epochs" in line
    assert not (tmp_path / "runs").exists()


def test_a_run_without_checkpoints_is_not_continued(tmp_path):
    short = Experiment(data="triangle", epochs=1)
    run_quietly(short, tmp_path, Runtime(devices=1, keep=0))
    with pytest.raises(RefusedError, match="no checkpoint to continue from"):
        run_quietly(dataclasses.replace(short, epochs=2), tmp_path, CONTINUE)
    assert (tmp_path / "results.json").exists()
    with pytest.raises(ValueError, match="keep must be at least 1"):
        Runtime(continues=True, keep=0)


@pytest.mark.parametrize("command", [train, sweep])
def test_the_commands_continue(command, tmp_path, capsys):
    words = ["triangle-scl", "--devices", "1", "--evaluations", "1"]
    words = words[:-2] if command is sweep else words
    assert command.main([*words, "--epochs", "1", "--out", str(tmp_path)]) == 0
    assert command.main([*words, "--epochs", "2", "--out", str(tmp_path)]) == 1
    assert "--continue trains it for longer" in capsys.readouterr().err
    assert command.main([*words, "--epochs", "2", "--continue", "--out", str(tmp_path)]) == 0
    (path,) = (p for p in tmp_path.iterdir() if p.is_dir())
    assert read_metrics(path)[-1]["epoch"] == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"epochs": 7}, ""),
        ({"learning_rate": 0.01}, "-learning_rate=0.01"),
        ({"learning_rate": 0.010000000000000002}, "-learning_rate=0.010000000000000002"),
        ({"seeds": (0, 1, 2)}, "-seeds=0,1,2"),
        ({"probes": True, "batch_size": 64}, "-probes=True-batch_size=64"),
        ({"epochs": 7, "schedule": "cosine"}, "-epochs=7-schedule=cosine"),
        ({"dim": 5, "beta": 3.0}, "-beta=3.0-dim=5"),
    ],
)
def test_a_directory_is_named_by_what_differs(changes, expected):
    named = find_experiment("grouped-hucl2")
    changed = dataclasses.replace(named, **changes)
    assert changed_name("grouped-hucl2", named, changed) == f"grouped-hucl2{expected}"


def test_long_names_are_cut_and_still_differ():
    named = find_experiment("grouped-hucl2")
    many = [dataclasses.replace(named, seeds=(*range(100), last)) for last in (100, 101)]
    names = {changed_name("grouped-hucl2", named, one) for one in many}
    assert {len(name) for name in names} == {LONGEST_NAME}
    assert len(names) == 2


def test_two_variations_have_two_directories(tmp_path):
    for seed in ("1", "2"):
        options = ["--seeds", seed, "--epochs", "1", "--devices", "1", "--keep", "0"]
        assert train.main(["triangle-scl", *options, "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"triangle-scl-seeds=1", "triangle-scl-seeds=2"}


def test_a_sweep_names_directories_as_train_does(tmp_path):
    command = ["triangle-scl", "--seeds", "3", "--epochs", "1", "--devices", "1", "--keep", "0"]
    assert sweep.main([*command, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "triangle-scl-seeds=3" / "results.json").exists()
