"""What type checkers say of a user's files: every option is known, and every result has a type."""

import json
import re
import shutil
import subprocess

import pytest
from references.checkout import build, install

CALLS = """
from functools import partial

import jax
import jax.numpy as jnp

import hcl_jax
from hcl_jax import parallel

z, y = jnp.ones((4, 2)), jnp.arange(4) % 2
where = parallel.over_axis("devices", exchange="ring")
value: jax.Array = hcl_jax.scl(z, y, collectives=where, temperature=0.5, normalize="unit_sphere")
value = hcl_jax.ucl(z, y, collectives=where, average="anchors", bank=hcl_jax.Bank(z))
value = hcl_jax.hscl(z, y, beta=5.0, collectives=where, weights=jnp.ones(4), quiet=True)
value = hcl_jax.hucl(z, y, beta=jnp.float32(5.0), num_negatives=8, key=jax.random.key(0))
later = hcl_jax.PairRule(lambda a, c: a["time"] < c["time"])
value = hcl_jax.supcon(z, {"time": y}, pair_rule=later)
value = parallel.objective(
    z, y, axis_name="devices", supervised=True, hardening=hcl_jax.hardening.exponential(5.0)
)
value, found = hcl_jax.with_statistics(hcl_jax.hscl)(z, y, beta=5.0)
mean: jax.Array = found.positives.mean
value, found = hcl_jax.with_statistics(partial(hcl_jax.hscl, beta=5.0))(z, y)
eta = hcl_jax.without_false_negatives(hcl_jax.hardening.no_hardening(), margin=0.1)
hcl_jax.scl(z, y, temprature=0.5)  # wrong
hcl_jax.scl(z, y, collectives=3)  # wrong
hcl_jax.ucl(z, y, average="rows")  # wrong
hcl_jax.ucl(z, y, normalize="sphere")  # wrong
hcl_jax.hscl(z, y)  # wrong
hcl_jax.hucl(z, y, beta=5.0, implementation="fast")  # wrong
hcl_jax.with_statistics(hcl_jax.hscl)(z, y)  # wrong
found.positives.means  # wrong
"""


@pytest.mark.slow
def test_options_are_known_and_wrong_ones_are_told(tmp_path):
    checker = shutil.which("pyright")
    if checker is None:
        pytest.skip("pyright is not installed")
    (tmp_path / "calls.py").write_text(CALLS)
    done = subprocess.run(
        [checker, "--outputjson", tmp_path / "calls.py"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    told = {d["range"]["start"]["line"] for d in found if d["severity"] == "error"}
    wrong = {n for n, line in enumerate(CALLS.splitlines()) if line.endswith("# wrong")}
    assert told == wrong, found


USER = """
from pathlib import Path
from typing import assert_type

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped, unused-ignore]

import hcl_jax
from hcl_jax import checkpoints, data, evaluation, geometry, hardening, losses, networks, pairs
from hcl_jax import training
from hcl_jax.normalization import unit_sphere

Array = jax.Array


def loss(projections: Array, labels: Array, beta: float) -> Array:
    return hcl_jax.hscl(unit_sphere(projections), labels, beta=beta, temperature=0.5)


def train(images: Array, labels: Array) -> training.Fitted:
    model = networks.mlp(64, 3, depth=1, width=32)
    program = training.Program(model, optax.adam(1e-3), batch_size=64)
    objective = training.traced_objective(supervised=True, beta=5.0)

    def show(epoch: int, state: training.TrainState, infos: training.StepInfo) -> None:
        print(epoch, float(infos.loss.mean()))

    key = jax.random.key(0)
    return training.fit(key, images, labels, objective, program, epochs=2, after_epoch=show)


z, y, key = jnp.ones((4, 2)), jnp.arange(4) % 2, jax.random.key(0)
program = training.Program(networks.mlp(2, 3, depth=1, width=4), optax.sgd(0.1), batch_size=4)
target = training.traced_objective(supervised=True)
split = data.Split(z, y)
state = training.init_state(key, program)
runner = training.SingleDevice(program)
eta = hardening.exponential(5.0)
Step = tuple[training.TrainState, training.StepInfo]
"""
TYPES = {
    "hcl_jax.scl(z, y)": "Array",
    "hcl_jax.hscl(z, y, beta=5.0)": "Array",
    "hcl_jax.ucl(z, y)": "Array",
    "hcl_jax.hucl(z, y, beta=5.0, num_negatives=8, key=key)": "Array",
    "hcl_jax.objective(z, y, supervised=True, hardening=eta)": "Array",
    "hcl_jax.supcon(z, y)": "Array",
    "hcl_jax.nt_xent(z, y)": "Array",
    "hcl_jax.nscl(z, y)": "Array",
    "hcl_jax.clip(z, z)": "Array",
    "hcl_jax.with_statistics(hcl_jax.scl)(z, y)": "tuple[Array, losses.LossStatistics]",
    "eta": "hardening.Hardening",
    "pairs.supervised(pairs.rows(y))": "pairs.Pairs",
    "losses.contrastive_loss(z, pairs.supervised(pairs.rows(y)))": "losses.AnchorLosses",
    "unit_sphere(z)": "Array",
    "geometry.measure(z, y, num_classes=2)": "geometry.Geometry",
    "geometry.measure(z, y, num_classes=2).directions": "Array",
    "geometry.class_means(z, y, 2)": "Array",
    "geometry.simplex_etf(3, 2)": "Array",
    "geometry.hucl_threshold(10, 1.0)": "float",
    "evaluation.knn_accuracy(z, y, z, y, k=1)": "float",
    "evaluation.linear_probe_accuracy(z, y, z, y)": "float",
    "evaluation.top_k_accuracy(z, y)": "Array",
    "data.digits()": "data.Dataset",
    "data.place_split(split)": "data.PlacedSplit",
    "state": "training.TrainState",
    "training.train_step(state, split, target, program)": "Step",
    "training.train_epoch(state, split, target, program)": "Step",
    "training.train_batches(state, split, target, program)": "Step",
    "training.train_epoch_of_seeds(state, split, target, program)": "Step",
    "training.run_epoch(runner, state, data.place_split(split), target)": "Step",
    "training.embed(state.variables, z, program)": "tuple[Array, Array]",
    "training.fit(key, z, y, target, program, epochs=1)": "training.Fitted",
    "training.fit(key, z, y, target, program, epochs=1).infos.loss": "Array",
    "runner.embed(state, z)": "tuple[Array, Array]",
    'checkpoints.Checkpoints(Path("runs")).restore_latest(state)': "checkpoints.Restored | None",
    "loss(z, y, 5.0)": "int",  # the control, which is wrong
}
"""Expressions of that file and their types."""


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """The file, which asserts every type, and the Python for which the wheel is installed."""
    folder = tmp_path_factory.mktemp("typing")
    *_, wheel = build(folder)
    asserted = "".join(f"assert_type({value}, {kind})\n" for value, kind in TYPES.items())
    (folder / "user.py").write_text(USER + asserted)
    return folder / "user.py", install(wheel, folder / "venv")


def by_mypy(output):
    return [int(number) for number in re.findall(r"^user\.py:(\d+): error", output, re.MULTILINE)]


def by_pyright(output):
    found = json.loads(output)["generalDiagnostics"]
    return [d["range"]["start"]["line"] + 1 for d in found if d["severity"] == "error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checker", "options", "read"),
    [
        ("mypy", ("--strict", "--no-incremental", "--python-executable"), by_mypy),
        ("pyright", ("--outputjson", "--pythonpath"), by_pyright),
    ],
    ids=["mypy", "pyright"],
)
def test_a_user_of_the_wheel_is_told_the_types(user, checker, options, read):
    """`assert_type` fails for Any too, and for the wrong type of the last line."""
    program, (file, python) = shutil.which(checker), user
    if program is None:
        pytest.skip(f"{checker} is not installed")
    done = subprocess.run(
        [program, *options, python, file.name],
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert read(done.stdout) == [len(file.read_text().splitlines())], done.stdout
