"""The training program on devices and hosts, streamed and in parts: the same curves as without."""

import dataclasses
import errno
import json
import shutil
import sys
from pathlib import Path

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from references.processes import environment_with, free_address, side_by_side
from tqdm import tqdm

import hcl_jax
from hcl_jax import data, networks, training
from hcl_jax.data import ImageSet
from hcl_jax.normalization import unit_sphere
from hcl_jax.training import Program, loss_and_gradient, runner
from scripts import train
from scripts.experiments import datasets
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import program_of
from scripts.runs.exit_status import RefusedError
from scripts.runs.loop import run
from scripts.runs.run_directory import RunDirectory
from scripts.runs.run_files import read_metrics
from scripts.runs.runners import runner_of
from scripts.runs.runtime import Runtime

ROOT = Path(__file__).parents[2]
DIGITS = Experiment(data="digits", epochs=2, evaluations=2, synchronized=True, learning_rate=1e-4)
ALONE = Runtime(devices=1, keep=0)


def run_quietly(experiment, path, runtime):
    with tqdm(disable=True) as progress:
        return run(experiment, path, progress, runtime)


def assert_same_curves(path, other, rtol):
    for found, expected in zip(read_metrics(path), read_metrics(other), strict=True):
        assert found["epoch"] == expected["epoch"]
        for name in ("loss", "zero_sum", "equal_inner_product", "within_class", "top1"):
            if expected[name] is not None:
                np.testing.assert_allclose(found[name], expected[name], rtol=rtol, err_msg=name)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    path = tmp_path_factory.mktemp("one")
    run_quietly(DIGITS, path, ALONE)
    return path


def test_eight_devices_give_the_curves_of_one(one_device, tmp_path):
    run_quietly(DIGITS, tmp_path, Runtime(devices=8, keep=0))
    assert_same_curves(tmp_path, one_device, rtol=2e-3)


def train_on_two_hosts(out):
    """Two processes with two devices each, as two hosts would; returns what each printed."""
    command = [sys.executable, "-m", "scripts.train", "digits-hscl5", "--hosts"]
    command += ["--epochs", "2", "--evaluations", "2", "--synchronized", "--learning-rate", "1e-4"]
    command += ["--no-probes", "--coordinator", free_address(), "--host-count", "2"]
    command += ["--checkpoint-seconds", "0", "--out", str(out)]
    hosts = [[*command, "--host", str(number)] for number in range(2)]
    ended = side_by_side(hosts, cwd=ROOT, env=environment_with(devices=2))
    printed = [text for _, text in ended]
    assert [status for status, _ in ended] == [0, 0], "\n".join(printed)
    return printed


@pytest.mark.slow
def test_two_hosts_give_the_curves_of_one_device(one_device, tmp_path):
    printed = train_on_two_hosts(tmp_path)
    assert "HSCL 5, seed 0: loss" in printed[0]
    assert "HSCL 5, seed 0: loss" not in printed[1], "one of them writes and speaks"
    changes = "synchronized=True-evaluations=2-probes=False-learning_rate=0.0001"
    path = tmp_path / f"digits-hscl5-{changes}"
    assert_same_curves(path, one_device, rtol=2e-3)
    metrics = (path / "metrics.jsonl").read_bytes()
    (path / "results.json").unlink()
    shutil.rmtree(path / "checkpoints" / "step_000000002")
    printed = train_on_two_hosts(tmp_path)
    assert "resumes after epoch 1" in printed[0]
    assert (path / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_streamed_set_trains_as_one_on_the_device(one_device, tmp_path, devices):
    run_quietly(DIGITS, tmp_path, Runtime(devices=devices, keep=0, resident_gib=0))
    assert_same_curves(tmp_path, one_device, rtol=1e-4 if devices == 1 else 2e-3)


def test_seeds_of_a_streamed_set_run_one_by_one(tmp_path):
    several = dataclasses.replace(DIGITS, seeds=(0, 1))
    with pytest.raises(ValueError, match=r"digits is larger than the 0 GiB.*not 2 at once"):
        run_quietly(several, tmp_path, Runtime(devices=1, keep=0, resident_gib=0))


def test_a_batch_that_devices_do_not_divide_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="a batch of 128 cannot be spread evenly over 3 devices"):
        run_quietly(DIGITS, tmp_path, Runtime(devices=3, keep=0))
    with pytest.raises(RefusedError, match="at most 8, as many as there are, got 9"):
        run_quietly(DIGITS, tmp_path, Runtime(devices=9, keep=0))


def test_a_batch_larger_than_the_set_is_refused(tmp_path, capsys):
    command = ["digits-scl", "--batch-size", "2000", "--devices", "1", "--out", str(tmp_path)]
    assert train.main(command) == 2
    assert "a batch of 2000 is more than all training images of digits" in capsys.readouterr().err


def test_a_full_disk_is_named(tmp_path, capsys, monkeypatch):
    def full(self, mark):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunDirectory, "resume", full)
    command = ["triangle-scl", "--devices", "1", "--keep", "0", "--out", str(tmp_path)]
    assert train.main(command) == 1
    said = capsys.readouterr().err
    assert f"cannot read or write {tmp_path / 'triangle-scl'}: No space left on device" in said


GAUSSIANS = data.gaussian_classes(jax.random.key(0), num_classes=4, dim=8, train_per_class=12)


def steps(program, objective):
    state = training.init_state(jax.random.key(0), program)
    state, infos = training.train_epoch(state, GAUSSIANS.train, objective, program)
    return state.variables.params, infos.loss


@pytest.mark.parametrize("beta", [pytest.param(0.0, marks=pytest.mark.slow), 5.0])
@pytest.mark.parametrize("positives", [pytest.param("class", marks=pytest.mark.slow), "views"])
def test_a_batch_in_parts_is_the_whole_batch(beta, positives):
    """Exact for a contrastive loss: features of the whole batch come first."""
    model = networks.mlp(8, 3, depth=2, width=16)
    whole = Program(model, optax.sgd(0.5), 24, positives=positives)
    objective = training.traced_objective(supervised=True, beta=beta)
    expected = steps(whole, objective)
    for parts in (2, 4):
        found = steps(whole._replace(parts=parts), objective)
        chex.assert_trees_all_close(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_the_mean_of_the_gradients_of_parts_is_another():
    """What accumulating gradients the usual way would do."""
    model = networks.mlp(8, 3, depth=2, width=16)
    variables = model.init(jax.random.key(0))
    images, labels = 3 * GAUSSIANS.train.images[::2], GAUSSIANS.train.labels[::2]

    def gradient(chosen, parts=1):
        def loss_of(projections):
            return hcl_jax.hscl(unit_sphere(projections), labels[chosen], beta=5.0), None

        found = loss_and_gradient(model, variables, images[chosen], loss_of, parts=parts)
        return jax.flatten_util.ravel_pytree(found[2])[0]

    whole = gradient(np.arange(24))
    np.testing.assert_allclose(gradient(np.arange(24), 4), whole, rtol=1e-4, atol=1e-6)
    halves = [gradient(np.arange(24)[start::2]) for start in (0, 1)]
    away = jnp.linalg.norm(whole - sum(halves) / 2) / jnp.linalg.norm(whole)
    assert away > 0.02


def test_parts_have_to_divide_the_batch():
    model = networks.mlp(8, 3, depth=1, width=4)
    program = Program(model, optax.sgd(0.5), 24, parts=5)
    with pytest.raises(ValueError, match="24 images cannot be cut into 5 equal parts"):
        steps(program, training.traced_objective(supervised=True))


def test_parts_over_devices_are_one_device():
    model = networks.mlp(8, 3, depth=2, width=16)
    program = Program(model, optax.sgd(0.5), 24, parts=3)
    objective = training.traced_objective(supervised=False, beta=2.0)
    _, expected = steps(program._replace(parts=1), objective)
    several = runner.DataParallel(program, devices=jax.devices()[:4])
    states = several.init(jax.random.key(0)[None])
    states, infos = several.train_epoch(states, several.replicate(GAUSSIANS.train), objective)
    np.testing.assert_allclose(several.fetch(infos).loss[0], expected, rtol=1e-4)


def images(count, seed):
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 10
    pixels = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return data.Split(pixels // 2 + (labels * 12).astype(np.uint8)[:, None, None, None], labels)


@pytest.fixture
def small_cifar(monkeypatch):
    """CIFAR-10 in form, not in content."""
    found = ImageSet(images(20, 0), images(10, 1), 10, tuple("abcdefghij"), (0.5,) * 3, (0.25,) * 3)
    cifar10 = datasets.DATASETS["cifar10"]._replace(load=lambda _: found)
    monkeypatch.setitem(datasets.DATASETS, "cifar10", cifar10)
    datasets.load_dataset.cache_clear()
    yield
    datasets.load_dataset.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "network"), [("cifar10-hscl5", "resnet18"), ("cifar10-hucl5-simclr", "convnet")]
)
def test_image_experiments_run(small_cifar, tmp_path, name, network, capsys):
    command = [name, "--network", network, "--epochs", "2", "--batch-size", "10", "--parts", "2"]
    command += [
        "--evaluations",
        "1",
        "--schedule",
        "cosine",
        "--warmup-epochs",
        "1",
        "--devices",
        "1",
    ]
    assert train.main([*command, "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob(f"{name}-network={network}-*-schedule=cosine-warmup_epochs=1")
    record = read_metrics(path)[-1]
    assert (record["epoch"], record["step"], record["dim"]) == (2, 4, 9)
    assert np.isfinite(record["loss"])
    assert {"knn", "linear_probe", "top5"} <= set(record)
    assert "linear probe" in capsys.readouterr().out


def test_the_reference_statistics_are_used_where_asked_for():
    experiment = Experiment(data="cifar100", network="resnet18")
    black = jnp.zeros((1, 32, 32, 3), jnp.uint8)
    own = program_of(experiment).prepare(black)
    reference = dataclasses.replace(experiment, reference_conventions=True)
    theirs = program_of(reference).prepare(black)
    np.testing.assert_allclose(
        own[0, 0, 0], -np.array([0.5071, 0.4865, 0.4409]) / [0.2673, 0.2564, 0.2762], rtol=1e-5
    )
    np.testing.assert_allclose(
        theirs[0, 0, 0], -np.array([0.4914, 0.4822, 0.4465]) / [0.2023, 0.1994, 0.2010], rtol=1e-5
    )


def test_a_data_set_that_is_not_prepared_says_how(tmp_path, capsys):
    command = ["cifar100-hscl5", "--data-dir", str(tmp_path), "--out", str(tmp_path / "runs")]
    assert train.main(command) == 1
    said = capsys.readouterr().err
    assert f"python -m scripts.prepare_data cifar100 --data-dir {tmp_path}" in said
    assert not (tmp_path / "runs").exists()


def test_a_profile_is_written(tmp_path):
    triangle = Experiment(data="triangle", epochs=2, evaluations=1)
    run_quietly(
        triangle, tmp_path / "run", Runtime(devices=1, keep=0, profile=tmp_path / "profile")
    )
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


@pytest.mark.slow
def test_schedules_change_the_learning_rate(tmp_path):
    base = Experiment(data="triangle", epochs=4, evaluations=4)
    ends = {}
    for name, changes in {
        "constant": {},
        "cosine": {"schedule": "cosine"},
        "warm": {"warmup_epochs": 2},
        "decay": {"weight_decay": 0.1},
        "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
        "sgd": {"optimizer": "sgd"},
    }.items():
        experiment = dataclasses.replace(base, **changes)
        (result,) = run_quietly(experiment, tmp_path / name, ALONE)
        ends[name] = result["loss"]
    assert len(set(ends.values())) == len(ends), json.dumps(ends)


@pytest.mark.slow
def test_balanced_batches_are_the_same_streamed_and_on_several_devices(tmp_path):
    balanced = Experiment(data="triangle", per_class=20, epochs=2, evaluations=2, imbalance=5)
    assert balanced.images_per_step == 60
    run_quietly(balanced, tmp_path / "one", ALONE)
    run_quietly(balanced, tmp_path / "streamed", Runtime(devices=1, keep=0, resident_gib=0))
    run_quietly(balanced, tmp_path / "four", Runtime(devices=4, keep=0))
    assert_same_curves(tmp_path / "streamed", tmp_path / "one", rtol=1e-4)
    assert_same_curves(tmp_path / "four", tmp_path / "one", rtol=2e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_class": 60, "imbalance": 2}, "triangle: every class must have at least per_class"),
        ({"per_class": 20, "batch_size": 90}, "does not have 20 of each of 2 to 3 classes"),
        ({"per_class": 20, "batch_size": 80}, "does not have 20 of each of 2 to 3 classes"),
        ({"per_class": 20, "batch_size": 20}, "does not have 20 of each of 2 to 3 classes"),
        ({"per_class": 1}, "per_class must be at least 2"),
        ({"per_class": 5000}, "per_class = 5000 rows, but class 0 has 100 .3 of 3 classes have"),
    ],
)
def test_batches_that_cannot_be_balanced_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        runner_of(Experiment(data="triangle", **changes), ALONE)
