"""Data sets of one's own in an .npz file."""

import zipfile

import numpy as np
import pytest

from hcl_jax.data import (
    Dataset,
    DatasetError,
    ImageSet,
    channel_statistics,
    npz_arrays,
    npz_set,
)
from hcl_jax.data.indexed_rows import IndexedRows

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), np.uint8)
LABELS = np.array([30, 10, 20] * 4)


def written(tmp_path, **arrays):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS[:, None].astype(np.uint8), np.array(["c", "ä", "b"] * 4)],
    ids=["integers", "column", "strings"],
)
def test_every_image_keeps_its_class(tmp_path, labels):
    found = npz_set(written(tmp_path, x=IMAGES, y=labels), test_fraction=0.25)
    assert isinstance(found, ImageSet)
    flat = labels.reshape(-1)
    assert found.class_names == tuple(map(str, sorted(set(flat.tolist()))))
    assert [len(found.train.labels), len(found.test.labels)] == [9, 3]
    for split in (found.train, found.test):
        assert split.labels.dtype == np.int32
        for image, label in zip(split.images, split.labels, strict=True):
            [row] = np.flatnonzero((IMAGES == image).all(axis=(1, 2, 3)))
            assert found.class_names[label] == str(flat[row])
    assert (found.mean, found.std) == channel_statistics(found.train.images)


def test_both_parts_are_taken_as_they_are(tmp_path):
    arrays = {"x_train": IMAGES[:8, ..., 0], "y_train": LABELS[:8]}
    arrays |= {"x_test": IMAGES[8:, ..., 0], "y_test": LABELS[8:]}
    found = npz_set(written(tmp_path, **arrays))
    assert np.array_equal(found.train.images, IMAGES[:8, ..., :1])
    assert np.array_equal(found.test.images, IMAGES[8:, ..., :1])
    assert found.test.labels.tolist() == [1, 2, 0, 1]  # 20, 30, 10, 20
    with pytest.raises(
        DatasetError, match=r"npz has images to test with.* nothing, got 0.5; leave"
    ):
        npz_set(written(tmp_path, **arrays), test_fraction=0.5)
    with pytest.raises(DatasetError, match=r"npz has images to test with.* split_seed .*, got 3"):
        npz_set(written(tmp_path, **arrays), split_seed=3)


def test_the_images_to_evaluate_on_can_be_chosen(tmp_path):
    parts = {"train": slice(6), "val": slice(6, 9), "test": slice(9, 12)}
    arrays = {f"{part}_images": IMAGES[rows] for part, rows in parts.items()}
    arrays |= {f"{part}_labels": LABELS[rows] for part, rows in parts.items()}
    path = written(tmp_path, **arrays)
    for chosen, rows in ((None, parts["test"]), ("test", parts["test"]), ("val", parts["val"])):
        assert np.array_equal(npz_set(path, evaluate_on=chosen).test.images, IMAGES[rows])
    del arrays["test_images"], arrays["test_labels"]
    path = written(tmp_path, **arrays)
    assert np.array_equal(npz_set(path).test.images, IMAGES[parts["val"]])
    with pytest.raises(DatasetError, match="holds no test_images; it holds train_images, val_im"):
        npz_set(path, evaluate_on="test")
    with pytest.raises(DatasetError, match="holds no val_images; it holds images, labels"):
        npz_set(written(tmp_path, images=IMAGES, labels=LABELS), evaluate_on="val")


@pytest.fixture
def large(monkeypatch):
    """Takes small arrays for large ones."""
    monkeypatch.setattr(npz_arrays, "LEAST_MAPPED", 64)


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": IMAGES, "labels": LABELS},
        {"images": np.asfortranarray(IMAGES), "labels": LABELS},
        {"images": IMAGES[..., 0].astype(np.float32) / 255, "labels": LABELS},
        {"x": np.random.default_rng(2).normal(size=(12, 40)).astype(np.float32), "y": LABELS},
    ],
    ids=["bytes", "by columns", "floats", "vectors"],
)
def test_large_arrays_are_mapped_and_the_same(tmp_path, large, arrays):
    path = written(tmp_path, **arrays)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(npz_arrays, "LEAST_MAPPED", 10**9)
        held = npz_set(path)
    mapped = npz_set(path)
    assert isinstance(mapped.train.images, IndexedRows)
    assert isinstance(mapped.train.images.array, np.memmap)
    assert held.num_classes == mapped.num_classes
    for ours, theirs in ((mapped.train, held.train), (mapped.test, held.test)):
        assert np.array_equal(np.asarray(ours.images), theirs.images)
        assert np.array_equal(ours.labels, theirs.labels)
        assert ours.images.dtype == theirs.images.dtype
    np.savez_compressed(path, **arrays)
    assert isinstance(npz_set(path).train.images, np.ndarray), "a compressed one is held"


def test_a_flipped_bit_of_a_mapped_array_is_found(tmp_path, large):
    path = written(tmp_path, images=IMAGES, labels=LABELS)
    content = bytearray(path.read_bytes())
    content[content.index(IMAGES.tobytes()) + 100] ^= 4
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot be read as .npz without pickle: Bad CRC-32"):
        npz_set(path)


def test_a_mapped_array_of_another_length_than_it_says_is_refused(tmp_path, large):
    path = written(tmp_path, images=IMAGES, labels=LABELS)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["images.npy"] += b"more"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(DatasetError, match=r"images.npy holds \d+ bytes, expected \d+"):
        npz_set(path)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_vectors_are_taken_as_they_are(tmp_path, dtype):
    vectors = np.random.default_rng(1).normal(0, 9, (12, 7)).astype(dtype)
    found = npz_set(written(tmp_path, embeddings=vectors, targets=LABELS))
    assert isinstance(found, Dataset)
    assert found.train.images.dtype == np.float32
    rows = np.concatenate([found.train.images, found.test.images])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, vectors.astype(np.float32)))


def test_large_labels_of_other_dtypes_are_the_same(tmp_path):
    large = np.array([2**60, 2**60 + 1])
    arrays = {"x_train": IMAGES, "y_train": large.astype(np.uint64)[[0, 1] * 6]}
    found = npz_set(written(tmp_path, **arrays, x_test=IMAGES[:2], y_test=large))
    assert found.test.labels.tolist() == [0, 1]


def not_an_array(tmp_path):
    path = written(tmp_path, labels=LABELS)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("images", b"text")
    return path


def damaged(tmp_path):
    path = written(tmp_path, images=IMAGES, labels=LABELS)
    content = path.read_bytes()
    path.write_bytes(content.replace(IMAGES.tobytes()[:9], bytes(9)))
    return path


def cut_off(tmp_path):
    path = written(tmp_path, images=IMAGES, labels=LABELS)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def lone_array(tmp_path):
    np.save(tmp_path / "one.npy", IMAGES)
    return tmp_path / "one.npy"


def nan_in_row_2():
    vectors = np.ones((12, 3))
    vectors[2, 1] = np.nan
    return vectors


def pair(images=IMAGES, labels=LABELS, **others):
    return lambda tmp_path: written(tmp_path, images=images, labels=labels, **others)


def parts(train=(IMAGES, LABELS), test=(IMAGES, LABELS)):
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return lambda tmp_path: written(tmp_path, **dict(zip(names, (*train, *test), strict=True)))


WRONG = {
    "holds no array for images": not_an_array,
    "there is no file": lambda tmp_path: tmp_path / "none.npz",
    "cannot be read as .npz without pickle: Bad CRC": damaged,
    "own.npz is not an .npz file, or cut off": cut_off,
    "one.npy is not an .npz file": lone_array,
    "it holds images, label$": lambda tmp_path: written(tmp_path, images=IMAGES, label=LABELS),
    "has images and x: which are the images": pair(x=IMAGES),
    "without pickle: labels.npy holds Python objects; save texts as array.astype.str.": pair(
        labels=LABELS.astype(object)
    ),
    "images must be uint8 or floating-point, got int64": pair(IMAGES.astype(np.int64)),
    "images must be uint8 or floating-point, got complex128": pair(np.ones((12, 3), complex)),
    r"are channels first\? transpose to \(0, 2, 3, 1\)": pair(IMAGES.transpose(0, 3, 1, 2)),
    r"1 or 3 channels on the last axis, got \(12, 5, 4, 4\)$": pair(np.zeros((12, 5, 4, 4), "u1")),
    r"got \(12, 6\) and uint8": pair(np.zeros((12, 6), np.uint8)),
    r"none of them 0, got \(12, 0, 4\)": pair(np.zeros((12, 0, 4), np.uint8)),
    r"in \[0, 1\], got values from 0 to 255": pair(np.linspace(0, 255, 192).reshape(12, 4, 4)),
    "images must be finite in float32, row 2 is not": pair(nan_in_row_2()),
    "finite in float32, row 0 is not": pair(np.full((12, 3), 1e300)),
    "of one length, got 12 and 11": pair(labels=LABELS[:11]),
    r"got shape \(12, 3\) and dtype float64; of one-hot rows": pair(labels=np.eye(12)[:, :3]),
    "labels must be one integer or string": pair(labels=LABELS / 1),
    "labels must not be negative, got -1": pair(labels=LABELS * 0 - 1),
    "at least two classes, got 1": pair(labels=LABELS * 0),
    "class 2 has 1 image": pair(labels=np.array([0, 1] * 5 + [0, 2])),
    "test labels hold 40, a class without training images": parts(test=(IMAGES, LABELS + 10)),
    "test labels hold '10'": parts(test=(IMAGES, LABELS.astype(str))),
    r"shape \(5, 4, 3\) and test images \(4, 5, 3\)": parts(
        test=(IMAGES.transpose(0, 2, 1, 3), LABELS)
    ),
    "have dtype uint8 and test images float32": parts(test=(IMAGES / 255, LABELS)),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_one_error_that_names_the_file(tmp_path, message):
    path = WRONG[message](tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        npz_set(path)
    assert str(path) in str(caught.value)
