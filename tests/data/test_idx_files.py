"""MNIST's kind: idx files of the published layout, their damage, and preparing them."""

import gzip
import hashlib
import struct
import zipfile

import numpy as np
import pytest

from hcl_jax import data
from hcl_jax.data import DatasetError
from hcl_jax.data.idx_files import FASHION_MNIST, KMNIST, MNIST, IdxSet, ZipArchive, read_idx_set
from hcl_jax.data.image_sets import ChannelStatistics, ImageSetSpec
from scripts import prepare_data
from scripts.experiments.datasets import DATASETS, Archive

SMALL = IdxSet(
    ImageSetSpec("small", (28, 28, 1), {"label": 3}, ChannelStatistics((0.5,), (0.25,))),
    ("train", "t10k"),
    ((4, 3, 2), (1, 1, 1)),
    ("a", "b", "c"),
)


def idx(array):
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def arrays_of(idx_set, seed=0):
    """Images and labels by name of the file, in a random order."""
    random, found = np.random.default_rng(seed), {}
    for prefix, counts in zip(idx_set.prefixes, idx_set.counts, strict=True):
        labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
        found[f"{prefix}-images-idx3-ubyte"] = random.integers(0, 256, (len(labels), 28, 28))
        found[f"{prefix}-labels-idx1-ubyte"] = labels + idx_set.first_label
    return found


def write(directory, contents, *, compressed=True):
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = directory / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(content) if compressed else content)


@pytest.fixture
def contents():
    return {name: idx(array) for name, array in arrays_of(SMALL).items()}


@pytest.mark.parametrize("compressed", [True, False])
def test_images_and_labels_are_those_of_the_files(tmp_path, contents, compressed):
    write(tmp_path / "small", contents, compressed=compressed)
    found, arrays = read_idx_set(tmp_path, SMALL), arrays_of(SMALL)
    for split, prefix in ((found.train, "train"), (found.test, "t10k")):
        np.testing.assert_array_equal(split.images[..., 0], arrays[f"{prefix}-images-idx3-ubyte"])
        np.testing.assert_array_equal(split.labels, arrays[f"{prefix}-labels-idx1-ubyte"])
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
    assert (found.num_classes, found.mean, found.class_names) == (3, (0.5,), ("a", "b", "c"))


def test_columns_and_labels_that_begin_at_one(tmp_path):
    other = SMALL._replace(transposed=True, first_label=1)
    arrays = arrays_of(other)
    write(tmp_path / "small", {name: idx(array) for name, array in arrays.items()})
    found = read_idx_set(tmp_path, other)
    transposed = arrays["train-images-idx3-ubyte"].transpose(0, 2, 1)
    np.testing.assert_array_equal(found.train.images[..., 0], transposed)
    assert sorted(set(found.train.labels.tolist())) == [0, 1, 2]


def changed_label(contents):
    labels = bytearray(contents["t10k-labels-idx1-ubyte"])
    labels[-1] = (labels[-1] + 1) % 3
    return bytes(labels)


DAMAGE = {
    r"t10k-labels-idx1-ubyte must hold 11 bytes once decompressed, but holds 10": lambda c: {
        "t10k-labels-idx1-ubyte": c["t10k-labels-idx1-ubyte"][:-1]
    },
    r"train-labels-idx1-ubyte must hold 17 bytes once decompressed, but holds more than 17": (
        lambda c: {"train-labels-idx1-ubyte": c["train-labels-idx1-ubyte"] + b"\0" * 10**6}
    ),
    r"train-images-idx3-ubyte must begin with the integers \[2051, 9, 28, 28\], but has \[2051": (
        lambda c: {
            "train-images-idx3-ubyte": struct.pack(">4I", 2051, 9, 14, 56)
            + c["train-images-idx3-ubyte"][16:]
        }
    ),
    r"the labels in .*t10k-labels-idx1-ubyte are not the published ones: class . has": (
        lambda c: {"t10k-labels-idx1-ubyte": changed_label(c)}
    ),
    r"labels reach from 0 to 200 instead of 0 to 2": lambda c: {
        "train-labels-idx1-ubyte": c["train-labels-idx1-ubyte"][:-1] + b"\xc8"
    },
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damage_is_named(tmp_path, contents, message):
    write(tmp_path / "small", contents | DAMAGE[message](contents), compressed=False)
    with pytest.raises(DatasetError, match=message):
        read_idx_set(tmp_path, SMALL)


@pytest.mark.parametrize("cut", [5, 30])
def test_damaged_compression_is_named(tmp_path, contents, cut):
    write(tmp_path / "small", contents)
    path = tmp_path / "small" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DatasetError, match=r"train-labels-idx1-ubyte\.gz cannot be read"):
        read_idx_set(tmp_path, SMALL)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(DatasetError, match=r"cannot be read: Not a gzipped file"):
        read_idx_set(tmp_path, SMALL)


def test_other_images_than_the_known_ones_are_refused(tmp_path, contents):
    known = SMALL._replace(digests={"train-images-idx3-ubyte": "0" * 64})
    write(tmp_path / "small", contents)
    with pytest.raises(DatasetError, match=r"is damaged, or not of small: the SHA-256 .* expected"):
        read_idx_set(tmp_path, known)


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(DatasetError, match=r"looked for .*mnist/train-images-idx3-ubyte, with .gz"):
        data.mnist(tmp_path)
    with pytest.raises(DatasetError, match=r"scripts\.prepare_data fashion-mnist --data-dir"):
        data.fashion_mnist(tmp_path)
    with pytest.raises(DatasetError, match="kmnist is not in"):
        data.kmnist(tmp_path)


@pytest.mark.parametrize("idx_set", [MNIST, FASHION_MNIST, KMNIST], ids=lambda s: s.spec.name)
def test_published_counts(idx_set):
    assert [sum(counts) for counts in idx_set.counts] == [60000, 10000]
    assert all(len(counts) == idx_set.spec.num_classes == 10 for counts in idx_set.counts)
    assert len(set(idx_set.class_names)) == 10
    assert set(idx_set.digests) <= set(idx_set.files)


@pytest.fixture
def small(monkeypatch):
    """Preparing the small set under the name of another."""
    archive = Archive("the four idx files", folder="small", idx_set=SMALL)
    prepared = (archive, lambda data_dir: read_idx_set(data_dir, SMALL))
    monkeypatch.setitem(prepare_data.PREPARED, "fashion-mnist", prepared)


def prepare(data_dir, *more):
    return prepare_data.main(["fashion-mnist", "--data-dir", str(data_dir), *map(str, more)])


def test_preparing_copies_the_four_files_and_shows_them(tmp_path, contents, small, capsys):
    write(tmp_path / "archives", contents)
    (tmp_path / "archives" / "other").write_text("not copied")
    assert prepare(tmp_path / "data", "--archive-dir", tmp_path / "archives") == 0
    assert "9 training and 3 test images of 3 classes, (28, 28, 1)" in capsys.readouterr().out
    copied = sorted(path.name for path in (tmp_path / "data" / "small").iterdir())
    assert copied == sorted(f"{name}.gz" for name in SMALL.files)
    assert prepare(tmp_path / "data") == 0, "what is there is not wanted again"


def test_bad_files_are_not_copied(tmp_path, contents, small, capsys):
    write(tmp_path / "archives", contents | {"train-labels-idx1-ubyte": b"short"})
    assert prepare(tmp_path / "data", "--archive-dir", tmp_path / "archives") == 1
    assert "must hold 17 bytes" in capsys.readouterr().err
    assert not list((tmp_path / "data").glob("*"))
    assert prepare(tmp_path / "data") == 1
    assert "download the four idx files and give the directory" in capsys.readouterr().err


def test_classes_of_unpublished_counts_must_be_there(tmp_path):
    uncounted = SMALL._replace(counts=(9, 3))
    write(tmp_path / "small", {name: idx(array) for name, array in arrays_of(SMALL).items()})
    assert len(read_idx_set(tmp_path, uncounted).train.labels) == 9
    write(tmp_path / "small", {"train-labels-idx1-ubyte": idx(np.array([0, 1] * 4 + [0]))})
    with pytest.raises(DatasetError, match="class 2 has 0 images, expected some"):
        read_idx_set(tmp_path, uncounted)


# Of NIST's page, by class where it says that the classes are equally large.
EMNIST_PAGE = {
    "byclass": (814255, 62, 697932),
    "bymerge": (814255, 47, 697932),
    "balanced": (131600, 47, 112800),
    "letters": (145600, 26, 124800),
    "digits": (280000, 10, 240000),
    "mnist": (70000, 10, 60000),
}


@pytest.mark.parametrize("split", EMNIST_PAGE)
def test_emnist_is_as_published(split):
    images, classes, train = EMNIST_PAGE[split]
    idx_set = data.EMNIST[split]
    counts = [n if isinstance(n, int) else sum(n) for n in idx_set.counts]
    assert counts == [train, images - train]
    assert len(set(idx_set.class_names)) == idx_set.spec.num_classes == classes
    assert idx_set.transposed
    assert idx_set.first_label == (1 if split == "letters" else 0)
    assert idx_set.files[0] == f"emnist-{split}-train-images-idx3-ubyte"
    assert DATASETS[f"emnist_{split}"].num_classes == classes


LETTERS = SMALL._replace(
    prefixes=("emnist-letters-train", "emnist-letters-test"), first_label=1, transposed=True
)


@pytest.fixture
def zipped(tmp_path, monkeypatch):
    """An archive of all splits of which one is small, and the preparation of that one."""
    contents = {name: idx(array) for name, array in arrays_of(LETTERS).items()}
    path = tmp_path / "archives" / "gzip.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gzip/emnist-balanced-mapping.txt", "0 48")
        for name, content in contents.items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = LETTERS._replace(archive=ZipArchive("gzip.zip", digest))
    entry = Archive("gzip.zip", folder="small", idx_set=known)
    loads = (entry, lambda data_dir: read_idx_set(data_dir, known))
    monkeypatch.setitem(prepare_data.PREPARED, "fashion-mnist", loads)
    return path


def test_a_split_is_taken_from_the_archive_of_all(tmp_path, zipped):
    assert prepare(tmp_path / "data", "--archive-dir", zipped.parent) == 0
    found = sorted(path.name for path in (tmp_path / "data" / "small").iterdir())
    assert found == sorted(f"{name}.gz" for name in LETTERS.files)
    loaded, arrays = read_idx_set(tmp_path / "data", LETTERS), arrays_of(LETTERS)
    upright = arrays["emnist-letters-test-images-idx3-ubyte"].transpose(0, 2, 1)
    np.testing.assert_array_equal(loaded.test.images[..., 0], upright)


def test_a_damaged_archive_of_all_splits_is_refused(tmp_path, zipped, capsys):
    content = bytearray(zipped.read_bytes())
    content[200] ^= 1
    zipped.write_bytes(content)
    assert prepare(tmp_path / "data", "--archive-dir", zipped.parent) == 1
    assert "gzip.zip is damaged, or another archive: its SHA-256" in capsys.readouterr().err
    assert not list((tmp_path / "data").glob("*"))


def test_an_archive_without_the_files_is_named(tmp_path, zipped, capsys, monkeypatch):
    entry, load = prepare_data.PREPARED["fashion-mnist"]
    other = entry.idx_set._replace(prefixes=("train", "t10k"))
    changed = (entry._replace(idx_set=other), load)
    monkeypatch.setitem(prepare_data.PREPARED, "fashion-mnist", changed)
    assert prepare(tmp_path / "data", "--archive-dir", zipped.parent) == 1
    assert "holds no train-images-idx3-ubyte.gz" in capsys.readouterr().err
    assert not list((tmp_path / "data").glob("*"))


@pytest.mark.usefixtures("unchecked")
def test_other_splits_of_emnist_are_refused():
    with pytest.raises(ValueError, match=r"split must be one of 'balanced', .*, got 'all'"):
        data.emnist("nowhere", "all")


def test_experiments_on_gray_images_have_names_and_a_small_network():
    from scripts.experiments.catalogue import find_experiment

    for name in ("fashion_mnist-hscl5", "mnist-ucl-unit_sphere", "kmnist-hucl30-near_nc"):
        experiment = find_experiment(name)
        assert experiment.epochs == 20
        assert DATASETS[experiment.data].network == "convnet"
