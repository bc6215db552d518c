"""SVHN: generated files of MATLAB through TFDS and back, and what is wrong with others."""

import hashlib
import sys

import numpy as np
import pytest
from scipy.io import savemat

from hcl_jax import data
from hcl_jax.data import DatasetError
from scripts import prepare_data

COUNTS = {"train": 12, "test": 10, "extra": 11}


@pytest.fixture(scope="module")
def builders():
    for module in prepare_data.PACKAGES:
        pytest.importorskip(module)
    from scripts.data_preparation import tfds_builders

    return tfds_builders


def arrays_of(split):
    """Images (32, 32, 3, n) and labels 1 to 10, as published."""
    random = np.random.default_rng(len(split))
    images = random.integers(0, 256, (32, 32, 3, COUNTS[split]), dtype=np.uint8)
    return {"X": images, "y": (np.arange(COUNTS[split]) % 10 + 1).astype(np.uint8)[:, None]}


def accept(monkeypatch, builders, directory):
    """Gives TFDS the checksums of generated files instead of those of the published ones."""
    from tensorflow_datasets.core.download import checksums

    known = checksums.get_all_url_infos() | (builders.Svhn.url_infos or {})
    infos = {}
    for url, info in known.items():
        if info.filename in {f"{split}_32x32.mat" for split in COUNTS}:
            content = (directory / info.filename).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            infos[url] = checksums.UrlInfo(len(content), digest, info.filename)
    assert len(infos) == 3
    monkeypatch.setattr(builders.Svhn, "url_infos", infos)


def prepare(directory):
    arguments = ["svhn", "--data-dir", str(directory), "--archive-dir", str(directory)]
    return prepare_data.main(arguments)


@pytest.fixture(scope="module")
def made(builders, tmp_path_factory):
    directory = tmp_path_factory.mktemp("svhn")
    for split in COUNTS:
        savemat(directory / f"{split}_32x32.mat", arrays_of(split), do_compression=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        accept(monkeypatch, builders, directory)
        assert prepare(directory) == 0
    return directory


def sorted_by_content(images, labels):
    order = np.lexsort(images.reshape(len(images), -1)[:, :8].T)
    return images[order], labels[order]


def test_files_of_matlab_come_back_bit_for_bit(made):
    plain, whole = data.svhn(made), data.svhn(made, extra=True)
    assert "tensorflow" not in sys.modules
    assert plain.class_names == tuple("0123456789")
    assert len(plain.train.labels) == 12
    whole_train = (whole.train.images[12:], whole.train.labels[12:])
    np.testing.assert_array_equal(whole.train.images[:12], plain.train.images)
    for split, found in (("train", plain.train), ("test", plain.test), ("extra", whole_train)):
        arrays = arrays_of(split)
        expected = arrays["X"].transpose(3, 0, 1, 2), arrays["y"][:, 0].astype(int) % 10
        ours, theirs = sorted_by_content(*found), sorted_by_content(*expected)
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
        assert (found[0].dtype, found[1].dtype) == (np.uint8, np.int32)


def test_without_records_it_says_how_to_make_them(tmp_path):
    with pytest.raises(DatasetError, match=r"scripts.prepare_data svhn --data-dir"):
        data.svhn(tmp_path)


def test_files_of_other_content_than_published_are_refused(builders, tmp_path, capsys):
    for split in COUNTS:
        savemat(tmp_path / f"{split}_32x32.mat", arrays_of(split))
    assert prepare(tmp_path) == 1
    assert "svhn could not be prepared" in capsys.readouterr().err
    assert not list(tmp_path.rglob("dataset_info.json"))


def test_a_missing_file_is_named(builders, tmp_path, capsys):
    (tmp_path / "train_32x32.mat").touch()
    assert prepare(tmp_path) == 1
    assert "test_32x32.mat, does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X": None}, "has no variable X"),
        ({"y": np.zeros((12, 1), np.uint8)}, "must hold labels 1 to 10, got 0 to 0"),
        ({"y": np.full((12, 1), 11, np.uint8)}, "must hold labels 1 to 10, got 11 to 11"),
        ({"y": np.ones((11, 1), np.uint8)}, r"\(32, 32, 3, n\) for the 11 labels y, got uint8"),
        ({"X": np.zeros((32, 32, 3, 12))}, "got float64 of shape"),
        ({"X": np.zeros((12, 32, 32, 3), np.uint8)}, r"got uint8 of shape \(12, 32, 32, 3\)"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(builders, tmp_path, changes, message):
    arrays = {name: a for name, a in (arrays_of("train") | changes).items() if a is not None}
    savemat(tmp_path / "train_32x32.mat", arrays)
    with pytest.raises(ValueError, match=message):
        builders._matlab_arrays(tmp_path / "train_32x32.mat")


def test_a_truncated_file_is_named(builders, made, tmp_path, monkeypatch, capsys):
    """As if its checksum were the published one."""
    for split in COUNTS:
        content = (made / f"{split}_32x32.mat").read_bytes()
        (tmp_path / f"{split}_32x32.mat").write_bytes(
            content[: -1000 if split == "train" else None]
        )
    accept(monkeypatch, builders, tmp_path)
    assert prepare(tmp_path) == 1
    assert "from train_32x32.mat: " in capsys.readouterr().err
    assert not list(tmp_path.rglob("dataset_info.json"))
