"""Training that diverges: it stops at once, says where, and the last good state is kept."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tqdm import tqdm

from hcl_jax.training import runner
from scripts import sweep, train
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import program_of
from scripts.runs.exit_status import NonFiniteError
from scripts.runs.loop import run
from scripts.runs.run_files import read_metrics
from scripts.runs.runtime import ONE_DEVICE, Runtime

EVERY_EPOCH = Runtime(devices=1, checkpoint_seconds=0)
SHORT = Experiment(data="triangle", epochs=3, evaluations=3, seeds=(0, 1))


def run_quietly(experiment, path, runtime=EVERY_EPOCH):
    with tqdm(disable=True) as progress:
        return run(experiment, path, progress, runtime)


@pytest.mark.parametrize(
    "options",
    [
        ["--learning-rate", "1e30"],
        pytest.param(["--learning-rate", "1e10"], marks=pytest.mark.slow),
        pytest.param(["--learning-rate", "1e30", "--optimizer", "sgd"], marks=pytest.mark.slow),
        ["--weight-decay", "1e38"],
    ],
)
@pytest.mark.parametrize("name", ["triangle-hscl5", "triangle-scl", "triangle-hucl5-near_nc"])
def test_a_run_that_diverges_stops(tmp_path, capsys, name, options):
    command = [name, "--devices", "1", "--epochs", "6", "--checkpoint-seconds", "0", *options]
    assert train.main([*command, "--out", str(tmp_path)]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "at step " in line
    assert "no checkpoint has it" in line
    (path,) = tmp_path.iterdir()
    assert not (path / "results.json").exists()
    assert not list((path / "checkpoints").glob("step_*")), "nothing that was not finite is saved"
    diagnostic = json.loads((path / "diagnostic.json").read_text())
    assert diagnostic["what"] in line
    assert all(record["epoch"] == 0 for record in read_metrics(path))


def spoiled_epochs(monkeypatch, spoil, after):
    """Lets the epochs that begin after so many steps end in another state or with other infos."""
    train_epoch = runner.train_epoch_of_seeds

    def spoiled(states, split, target, program):
        late = int(states.step[0]) >= after
        states, infos = train_epoch(states, split, target, program)
        return spoil(states, infos) if late else (states, infos)

    monkeypatch.setattr(runner, "train_epoch_of_seeds", spoiled)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loss", jnp.nan, "the loss is nan at step 3"),
        ("gradient_norm", jnp.inf, "the norm of the gradient is inf at step 3"),
        ("parameter_norm", jnp.nan, "the norm of the parameters is nan at step 3"),
        ("projection_norm", jnp.inf, "the largest norm of a projection is inf at step 3"),
    ],
)
def test_the_first_number_of_a_step_that_is_not_finite_is_named(
    tmp_path, monkeypatch, name, value, message
):
    def spoil(states, infos):
        changed = infos._replace(**{name: getattr(infos, name).at[1, 0].set(value)})
        return states, changed._replace(loss=changed.loss.at[0, 1].set(jnp.nan))

    spoiled_epochs(monkeypatch, spoil, after=2)
    with pytest.raises(NonFiniteError, match=message + r" of HSCL 5 \(beta = 5, seed 1"):
        run_quietly(SHORT, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step_*")] == ["step_000000001"]


@pytest.mark.parametrize("part", ["params", "moments"])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path, monkeypatch, part):
    def spoil(states, infos):
        def one_nan(leaf):
            return leaf.at[(1, *(0,) * (leaf.ndim - 1))].set(jnp.nan)

        leaves = states.variables.params if part == "params" else states.optimizer_state[0].nu
        spoiled = {id(leaf): one_nan(leaf) for leaf in jax.tree.leaves(leaves)[:1]}
        return jax.tree.map(lambda leaf: spoiled.get(id(leaf), leaf), states), infos

    spoiled_epochs(monkeypatch, spoil, after=2)
    message = r"the state \(parameters, optimizer, batch norm\) is not finite at step 4"
    with pytest.raises(NonFiniteError, match=message):
        run_quietly(SHORT, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step_*")] == ["step_000000001"]
    assert json.loads((tmp_path / "diagnostic.json").read_text())["seed"] == 1


@pytest.mark.parametrize("devices", [1, 2])
def test_states_are_looked_at_on_every_device(devices):
    program = program_of(SHORT)
    several = runner.SingleDevice(program)
    if devices > 1:
        several = runner.DataParallel(program, devices=jax.devices()[:devices])
    states = several.init(jax.random.split(jax.random.key(0), 3))
    leaves, structure = jax.tree.flatten(states.variables.params)
    where = (..., 1, *(0,) * (leaves[0].ndim - (1 if devices == 1 else 2)))
    leaves[0] = leaves[0].at[where].set(jnp.inf)
    params = jax.tree.unflatten(structure, leaves)
    states = states._replace(variables=states.variables._replace(params=params))
    found = several.fetch(several.all_finite(states))
    np.testing.assert_array_equal(found, [True, False, True])


def test_embeddings_that_are_not_finite_are_not_measured(tmp_path, monkeypatch):
    embed = runner.SingleDevice.embed
    calls = []

    def spoiled(self, states, images):
        calls.append(None)
        features, found = embed(self, states, images)
        return features, found.at[1, 5].set(jnp.nan) if len(calls) > 2 else found

    monkeypatch.setattr(runner.SingleDevice, "embed", spoiled)
    with pytest.raises(NonFiniteError, match=r"an embedding is not finite at step 2 .* seed 1"):
        run_quietly(SHORT, tmp_path)
    assert {record["epoch"] for record in read_metrics(tmp_path)} == {0}
    assert not list((tmp_path / "checkpoints").glob("step_*"))


def test_the_diagnostic_of_an_attempt_does_not_outlive_a_run_that_finishes(tmp_path):
    once = dataclasses.replace(SHORT, epochs=1, evaluations=1)
    (tmp_path / "diagnostic.json").write_text("{}")
    run_quietly(once, tmp_path, ONE_DEVICE)
    assert not (tmp_path / "diagnostic.json").exists()


def test_a_metric_that_is_not_finite_is_null(tmp_path, capsys):
    """On a line there is no simplex of three points to be near to."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    command = ["triangle-scl", "--dim", "1", "--epochs", "1", "--devices", "1"]
    assert train.main([*command, "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    for file in [*path.glob("*.json*"), *path.rglob("checkpoint.json")]:
        for line in (
            file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        ):
            json.loads(line, parse_constant=refuse)
    assert read_metrics(path)[-1]["etf_distance"] is None
    assert "NaN or Inf found" not in capsys.readouterr().err


def test_a_sweep_goes_on_after_a_run_that_diverges(tmp_path, capsys, monkeypatch):
    spoiled_epochs(
        monkeypatch,
        lambda states, infos: (states, infos._replace(loss=infos.loss * jnp.nan)),
        after=1,
    )
    command = ["triangle-scl", "triangle-ucl", "--devices", "1", "--epochs", "2", "--keep", "0"]
    assert sweep.main([*command, "--out", str(tmp_path)]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line == "error: stopped at a number that is not finite: triangle-scl, triangle-ucl"
