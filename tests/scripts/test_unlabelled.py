"""STL-10's images without labels: training sees those, and evaluation the labelled ones."""

import dataclasses

import numpy as np
import pytest
from tqdm import tqdm

from hcl_jax.data import ImageSet, Split
from hcl_jax.training import epochs, runner
from scripts import train
from scripts.experiments import datasets
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import program_of
from scripts.runs import evaluation
from scripts.runs.exit_status import RefusedError
from scripts.runs.loop import run
from scripts.runs.run_files import read_metrics
from scripts.runs.runtime import Runtime

SIZE = (8, 8, 3)
LABELLED, UNLABELLED = (24, 18), 50
BATCH = 16
VIEWS = Experiment(
    data="stl10_unlabelled",
    objective="HUCL",
    beta=2.0,
    positives="views",
    views="shift",
    network="convnet",
    head="linear",
    batch_size=BATCH,
    epochs=2,
    evaluations=2,
)
ALONE = Runtime(devices=1, keep=0)


def split(count, seed):
    images = np.random.default_rng(seed).integers(0, 256, (count, *SIZE), dtype=np.uint8)
    return Split(images, np.arange(count, dtype=np.int32) % 10)


TRAIN, SEEN = split(LABELLED[0], 0), split(UNLABELLED, 2)


@pytest.fixture(autouse=True)
def load(monkeypatch):
    """Gives the data set other images: a training split, and unlabelled ones or none."""

    def give(train, unlabelled):
        channels, names = (0.5, 0.5, 0.5), tuple("abcdefghij")
        found = ImageSet(
            train, split(LABELLED[1], 1), 10, names, channels, channels, unlabelled=unlabelled
        )
        other = datasets.DATASETS[VIEWS.data]._replace(image_shape=SIZE, load=lambda _: found)
        monkeypatch.setitem(datasets.DATASETS, VIEWS.data, other)
        datasets.load_dataset.cache_clear()

    give(TRAIN, SEEN._replace(labels=np.full(UNLABELLED, -1, np.int32)))
    yield give
    datasets.load_dataset.cache_clear()


def run_quietly(experiment, path, runtime=ALONE):
    with tqdm(disable=True) as progress:
        return run(experiment, path, progress, runtime)


def losses(path):
    return [record["loss"] for record in read_metrics(path)]


@pytest.mark.parametrize(
    ("objective", "beta"), [pytest.param("UCL", 0.0, marks=pytest.mark.slow), ("HUCL", 5.0)]
)
def test_training_sees_the_unlabelled_images_and_evaluation_the_labelled(
    tmp_path, load, objective, beta
):
    experiment = dataclasses.replace(VIEWS, objective=objective, beta=beta)
    run_quietly(experiment, tmp_path / "unlabelled")
    # The same images as a training split, with labels that two views of an image have no use for.
    load(SEEN, None)
    run_quietly(experiment, tmp_path / "labelled")
    assert losses(tmp_path / "unlabelled") == losses(tmp_path / "labelled")
    found, same = (
        np.load(tmp_path / name / "embeddings.npz") for name in ("unlabelled", "labelled")
    )
    np.testing.assert_array_equal(found["test_embeddings"], same["test_embeddings"])
    assert same["train_embeddings"].shape == (1, UNLABELLED, 9)
    assert found["train_labels"].tolist() == TRAIN.labels.tolist()
    assert found["train_embeddings"].shape == (1, LABELLED[0], 9)
    means = [found["train_embeddings"][0][TRAIN.labels == c].mean(axis=0) for c in range(10)]
    np.testing.assert_allclose(found["class_means"][0], means, atol=1e-6)
    scores = found["test_embeddings"][0] @ np.array(means).T
    last = read_metrics(tmp_path / "unlabelled")[-1]
    assert last["step"] == 2 * (UNLABELLED // BATCH)
    assert last["top1"] == pytest.approx(np.mean(scores.argmax(axis=1) == found["test_labels"]))


def test_labelled_images_live_on_the_device_while_unlabelled_ones_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(epochs, "STREAMED_BYTES", 2 * BATCH * SEEN.images[:1].nbytes)
    budget = TRAIN.images.nbytes + TRAIN.labels.nbytes
    single = runner.SingleDevice(program_of(VIEWS))
    placed = evaluation.place_dataset(datasets.load_dataset(VIEWS.source), single, budget)
    assert placed.trained.resident is None
    assert placed.train.resident is not None
    assert placed.test.resident is not None
    run_quietly(VIEWS, tmp_path / "resident")
    streaming = dataclasses.replace(ALONE, resident_gib=budget / 2**30)
    run_quietly(VIEWS, tmp_path / "streaming", streaming)  # of 3 steps, 2 and then 1
    for found, expected in zip(
        read_metrics(tmp_path / "streaming"), read_metrics(tmp_path / "resident"), strict=True
    ):
        assert found["step"] == expected["step"]
        for name in ("zero_sum", "within_class", "top1"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(
        losses(tmp_path / "streaming")[1:], losses(tmp_path / "resident")[1:], rtol=1e-5
    )
    several = dataclasses.replace(VIEWS, seeds=(0, 1))
    with pytest.raises(RefusedError, match=r"stl10_unlabelled is larger than .* not 2 at once"):
        run_quietly(several, tmp_path / "several", streaming)


def test_a_split_that_is_trained_on_and_evaluated_is_placed_once(load):
    load(TRAIN, None)
    single = runner.SingleDevice(program_of(VIEWS))
    placed = evaluation.place_dataset(datasets.load_dataset(VIEWS.source), single, 2**30)
    assert placed.trained is placed.train


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "SCL", "beta": 0.0}, "objective .* one of 'UCL', 'HUCL', got 'SCL'"),
        ({"objective": "HSCL"}, "objective .* one of 'UCL', 'HUCL', got 'HSCL'"),
        ({"positives": "class"}, "positives on stl10_unlabelled must be .*'views', got 'class'"),
        ({"initialization": "near_nc"}, "initialization .* 'random', got 'near_nc'"),
    ],
)
def test_what_needs_labels_is_refused(changes, message, tmp_path, capsys):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(VIEWS, **changes)
    arguments = [f"--{name}={value}" for name, value in changes.items()]
    command = ["stl10_unlabelled-hucl2-simclr", *arguments, "--out", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as stopped:
        train.main(command)
    assert stopped.value.code == 2
    assert f"got '{next(iter(changes.values()))}'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_named_experiments_train_on_views_of_the_unlabelled_images():
    from scripts.experiments.catalogue import find_experiment

    for word, beta in (("ucl", 0), ("hucl2", 2), ("hucl5", 5), ("hucl10", 10), ("hucl30", 30)):
        experiment = find_experiment(f"stl10_unlabelled-{word}-simclr")
        expected = dataclasses.replace(
            find_experiment(f"stl10-{word}-simclr"), data="stl10_unlabelled"
        )
        assert experiment == expected
        assert (experiment.beta, experiment.positives) == (beta, "views")
