"""Training on data of one's own."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from hcl_jax import measure
from hcl_jax.data import npz_set, stratified_split
from hcl_jax.data.indexed_rows import IndexedRows
from scripts import export, train
from scripts.experiments import datasets
from scripts.experiments.catalogue import METHODS_ALONE, described
from scripts.experiments.experiment import Experiment
from scripts.experiments.own_data import found_in
from scripts.experiments.program import program_of
from scripts.runs.run_files import experiment_of
from scripts.runs.runtime import ONE_DEVICE, Runtime

EPOCH = ("--epochs", "1", "--evaluations", "1", "--devices", "1", "--batch-size", "16")


@pytest.fixture(autouse=True)
def forget_data():
    yield
    datasets.load_dataset.cache_clear()


def vectors(seed=0):
    centres = 4 * np.random.default_rng(9).normal(size=(3, 8))
    labels = np.arange(60) % 3
    noise = np.random.default_rng(seed).normal(size=(60, 8))
    return {"x": (centres[labels] + noise).astype(np.float32), "y": np.array(list("abc"))[labels]}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A directory with vectors in a file, and a folder of images of two sizes."""
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", **vectors())
    arrays, parts = vectors(), ("train", "test")
    both = {f"{name}_{part}": array for part in parts for name, array in arrays.items()}
    np.savez("both.npz", **both)
    for number in range(12):
        path = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9 + number, 9), (20 * number, 9, 99)).save(path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("hscl5", "--data", "npz:own.npz"),
        ("--data", "npz:own.npz", "hscl5"),
        ("--data=npz:../" + "{}/own.npz", "hscl5"),
    ],
    ids=["method first", "after the data", "from elsewhere"],
)
def test_a_file_is_trained_on(own, words, capsys):
    words = [word.format(own.name) for word in words]
    # A method that is the value of an option is none.
    assert train.main([*words, *EPOCH, "--data-dir", "ucl", "--out", "runs"]) == 0
    [path] = (own / "runs").iterdir()
    kept = experiment_of(path)
    data = f"own.npz-{kept.own.digest[:8]}"
    assert path.name == f"hscl5-data={data}-evaluations=1-batch_size=16"
    assert (kept.data, kept.beta) == (f"npz:{own / 'own.npz'}", 5.0)
    assert (kept.own.image_shape, kept.own.num_classes, kept.own.num_train) == ((8,), 3, 48)
    assert kept.own.class_names == ("a", "b", "c")
    [result] = json.loads((path / "results.json").read_text())
    assert result["dim"] == 2
    arrays = np.load(path / "embeddings.npz")
    assert arrays["test_labels"].tolist().count(2) == 4
    assert arrays["class_names"].tolist() == ["a", "b", "c"]
    assert "the run is in runs" in capsys.readouterr().out
    words = [str(path / "embeddings.npz"), "--embeddings-key", "test_embeddings"]
    assert measure.main(words) == 0
    assert "names of classes: class_names" in capsys.readouterr().out


def test_a_finished_run_is_that_of_the_same_data_wherever_they_lie(own, capsys):
    words = ["scl", "--data", "npz:own.npz", *EPOCH, "--out", "runs"]
    assert train.main(words) == 0
    [path] = (own / "runs").iterdir()
    datasets.load_dataset.cache_clear()
    np.savez("own.npz", **vectors(seed=1))
    assert train.main(words) == 0  # other data of the same name
    assert len(list((own / "runs").iterdir())) == 2
    (own / "elsewhere").mkdir()
    np.savez("elsewhere/own.npz", **vectors())
    words[2] = "npz:elsewhere/own.npz"
    finished = (path / "results.json").stat().st_mtime_ns
    assert train.main(words) == 0  # the same data in another place
    assert (path / "results.json").stat().st_mtime_ns == finished
    assert len(list((own / "runs").iterdir())) == 2
    (own / "own.npz").unlink()
    assert export.main([str(path), "--out", "encoder"]) == 0


def test_images_of_a_folder_reach_the_network(own):
    experiment = Experiment(
        data=f"folder:{own / 'pictures'}", image_size=8, objective="UCL", beta=0
    )
    found = described(experiment, own / "data")
    assert found.own.image_shape == (8, 8, 3)
    assert (found.defaults.network, found.defaults.views) == ("convnet", "simclr")
    assert found.images_per_step == found.own.num_train == 10
    loaded = datasets.load_dataset(found.source, own / "data")
    standardize = program_of(found).standardization
    images = np.asarray(standardize(loaded.train.images / np.float32(255)))
    np.testing.assert_allclose(images.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    large = dataclasses.replace(found, own=dataclasses.replace(found.own, image_shape=(64, 64, 1)))
    assert (large.defaults.network, large.defaults.views) == ("resnet18", "shift")


def test_a_long_tail_of_a_folder_is_an_index_and_what_is_hashed_is_hashed_once(own, monkeypatch):
    source = Experiment(data=f"folder:{own / 'pictures'}", image_size=4, imbalance=2).source
    found = datasets.load_dataset(source, own / "data")
    whole = datasets.load_dataset(source._replace(imbalance=1), own / "data")
    assert isinstance(found.train.images, IndexedRows)
    assert np.bincount(found.train.labels).tolist() == [5, 2]
    assert found.digest not in (None, whole.digest)
    unread = found._replace(train=found.train._replace(images=np.zeros((7, 4, 4, 3), np.uint8)))
    assert found_in(unread).digest == found.digest
    other = source._replace(split_seed=1)
    assert datasets.load_dataset(other, own / "data").digest != found.digest


def test_beside_test_images_the_seed_is_that_of_a_long_tail(own):
    tailed = Experiment(data="npz:both.npz", imbalance=2).source
    first, second = (
        datasets.load_dataset(tailed._replace(split_seed=seed)).train.images for seed in (0, 1)
    )
    assert len(first) == len(second)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("data", ["digits", "own"])
def test_any_training_set_gets_a_long_tail(own, data):
    name = data if data == "digits" else f"npz:{own / 'own.npz'}"
    tailed = Experiment(data=name, imbalance=8)
    whole = datasets.load_dataset(dataclasses.replace(tailed, imbalance=1).source)
    found = datasets.load_dataset(tailed.source)
    sizes, before = (np.bincount(np.asarray(s.train.labels)) for s in (found, whole))
    assert sizes[0] // 8 == sizes[-1] <= before.min()
    assert np.array_equal(found.test.labels, whole.test.labels)
    rows = {np.asarray(row).tobytes() for row in whole.train.images}
    assert all(np.asarray(row).tobytes() in rows for row in found.train.images)


def test_channels_are_standardised_over_what_a_long_tail_keeps(own):
    shades = np.repeat(np.uint8([0, 200]), 50)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    np.savez("shades.npz", images=shades, labels=np.repeat([0, 1], 50))
    tailed = datasets.load_dataset(Experiment(data="npz:shades.npz", imbalance=4).source)
    assert len(tailed.train.labels) == 40 + 10
    assert tailed.mean == pytest.approx((10 * 200 / 50 / 255,))


def test_the_split_is_that_of_its_options(own):
    chosen = Experiment(data="npz:own.npz", test_fraction=0.4, split_seed=3)
    found = datasets.load_dataset(chosen.source)
    labels = vectors()["y"]
    train_rows, _ = stratified_split(
        np.unique(labels, return_inverse=True)[1], test_fraction=0.4, seed=3
    )
    assert np.array_equal(found.train.images, vectors()["x"][train_rows])
    assert not np.array_equal(
        found.train.images, npz_set("own.npz", test_fraction=0.4).train.images
    )


def test_every_method_goes_by_its_name_alone():
    assert {e.method for e in METHODS_ALONE.values()} == {
        *("SCL", "UCL"),
        *(f"{name} {beta}" for name in ("HSCL", "HUCL") for beta in (2, 5, 10, 30)),
    }


REFUSED = {
    "image_size is for data of folder:, hf:, tfds:, not for npz:": [
        "--data",
        "npz:own.npz",
        "--image-size",
        "9",
    ],
    "damaged is for data of folder:, hf:, tfds:, not for grouped": [
        *("--data", "grouped", "--damaged", "skip")
    ],
    "test_fraction is for data of one's own, not for grouped": [
        *("--data", "grouped", "--test-fraction", "0.5")
    ],
    "imbalance must be at least 1 and finite, got 0.5": [
        *("--data", "grouped", "--imbalance", "0.5")
    ],
    "so that the imbalance must be at most": ["--data", "npz:own.npz", "--imbalance", "1e30"],
    "does not say which FILE": ["--data", "npz:"],
    "needs dim of at least 2": [
        *("--data", "npz:own.npz", "--initialization", "near_nc", "--dim", "1")
    ],
    "one training image of every class, so that no two are positives": [
        *("--data", "npz:own.npz", "--test-fraction", "0.95")
    ],
    "test_fraction must lie between 0 and 1": ["--data", "npz:own.npz", "--test-fraction", "1"],
    "has images to test with, so that none are held out and split_seed would": [
        *("--data", "npz:both.npz", "--split-seed", "1")
    ],
    "data_dir must be a directory, own.npz is a file": [
        *("--data", "folder:pictures", "--data-dir", "own.npz")
    ],
    "has no split val to evaluate on; found a, b": [
        *("--data", "folder:pictures", "--evaluate-on", "val")
    ],
    "holds no test_images; it holds x, y": ["--data", "npz:own.npz", "--evaluate-on", "test"],
    "evaluate_on is for data of one's own, not for grouped": [
        *("--data", "grouped", "--evaluate-on", "val")
    ],
    "the method hscl5 needs --data, such as --data folder:flowers": ["--epochs", "1"],
    "; the folder that is there is folder:pictures": ["--data", "pictures"],
    "; the file that is there is npz:own.npz": ["--data", "own.npz"],
    "own.npz is no folder": ["--data", "folder:own.npz"],
    "is no data set; there are grouped": ["--data", "zip:own.npz"],
    "there is no file": ["--data", "npz:none.npz"],
    "there is no folder": ["--data", "folder:none"],
    "beans/small is not prepared in data": ["--data", "tfds:beans:small"],
    "a batch of 500 is more than all training images": [
        *("--data", "npz:own.npz", "--batch-size", "500")
    ],
    "per_class = 20 rows, but class a has": ["--data", "npz:own.npz", "--per-class", "20"],
    "convnet takes images, but those here are vectors": [
        *("--data", "npz:own.npz", "--network", "convnet")
    ],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(own, message, capsys):
    try:
        status = train.main(["hscl5", *REFUSED[message], "--out", "runs"])
    except SystemExit as stopped:
        status = stopped.code
    assert status in (1, 2)
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed
    assert not list(own.glob("runs/*/results.json"))


def test_what_is_not_described_has_no_defaults():
    with pytest.raises(ValueError, match="it is not known what is in npz:/own"):
        program_of(Experiment(data="npz:/own"))


def test_the_directory_of_decoded_images_is_that_of_prepared_data(own):
    folder = Experiment(data="folder:pictures", image_size=4)
    described(folder, Runtime(data_dir=own / "elsewhere").data_dir)
    assert len(list((own / "elsewhere" / "decoded").glob("pictures-4-*.npy"))) == 1
    assert ONE_DEVICE.data_dir == datasets.DATA_DIR
