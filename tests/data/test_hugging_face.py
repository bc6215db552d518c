"""Data sets that Hugging Face's `datasets` saved."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from hcl_jax.data import DatasetError, hugging_face_set
from hcl_jax.data.square_images import read_square

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()

SIZE = 6
PIXELS = [np.random.default_rng(i).integers(0, 256, (7, 9, 3), np.uint8) for i in range(12)]
NAMES = ["ant", "bee", "cow"]


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": None}


def table(labels, kind=None, images=PIXELS, **others):
    features = {"picture": datasets.Image(), "label": kind or datasets.ClassLabel(names=NAMES)}
    columns = {"picture": [png(p) for p in images[: len(labels)]], "label": labels}
    features |= {name: datasets.Value("int64") for name in others}
    return datasets.Dataset.from_dict({**columns, **others}, datasets.Features(features))


def saved(tmp_path, found):
    found.save_to_disk(str(tmp_path / "insects"))
    return tmp_path / "insects"


def load(place, **options):
    return hugging_face_set(place, image_size=SIZE, cache_dir=place.parent / "kept", **options)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("squares") / "image.png"
    squares = []
    for pixels in PIXELS:
        Image.fromarray(pixels).save(path)
        squares.append(read_square(path, SIZE))
    return np.array(squares)


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_splits_are_taken_as_they_are(tmp_path, expected, held_out):
    parts = {"train": table([0, 1, 2] * 3), held_out: table([2, 0])}
    found = load(saved(tmp_path, datasets.DatasetDict(parts)))
    assert found.class_names == tuple(NAMES)
    assert np.array_equal(found.train.images, expected[:9])
    assert np.array_equal(found.test.images, expected[:2])
    assert (found.train.labels.tolist(), found.test.labels.tolist()) == ([0, 1, 2] * 3, [2, 0])


def test_the_split_to_evaluate_on_can_be_chosen(tmp_path, expected):
    parts = {"train": table([0, 1, 2] * 3), "test": table([2, 0]), "validation": table([1])}
    place = saved(tmp_path, datasets.DatasetDict(parts))
    assert np.array_equal(load(place, evaluate_on="val").test.images, expected[:1])
    assert np.array_equal(load(place).test.images, expected[:2])
    with pytest.raises(DatasetError, match=r"insects has images to test with.*, got 0.5; leave it"):
        load(place, test_fraction=0.5)
    with pytest.raises(DatasetError, match=r"insects has images to test with.* split_seed .*got 3"):
        load(place, split_seed=3)
    table([0, 1, 2] * 3).save_to_disk(str(tmp_path / "alone"))
    with pytest.raises(DatasetError, match="has no split val to evaluate on; found none"):
        load(tmp_path / "alone", evaluate_on="val")


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        ([0, 1, 2] * 4, None, NAMES),
        (["b", "c", "a"] * 4, datasets.Value("string"), ["a", "b", "c"]),
        ([7, 30, 5] * 4, datasets.Value("int32"), ["5", "7", "30"]),
    ],
)
def test_of_one_split_every_image_keeps_its_class(tmp_path, expected, labels, kind, names):
    found = load(saved(tmp_path, table(labels, kind, other=[1] * 12)), test_fraction=0.25)
    assert found.class_names == tuple(names)
    assert np.bincount(found.test.labels).tolist() == [1, 1, 1]
    for split in (found.train, found.test):
        for image, label in zip(split.images, split.labels, strict=True):
            [row] = np.flatnonzero((expected == image).all(axis=(1, 2, 3)))
            shown = NAMES[labels[row]] if kind is None else str(labels[row])
            assert names[label] == shown


@pytest.mark.parametrize("whole", [table, lambda y: datasets.DatasetDict({"train": table(y)})])
def test_the_seed_decides_which_images_are_held_out(tmp_path, expected, whole):
    labels = [0] * 4 + [1] * 4 + [2] * 4  # so that those of all splits are the same
    place = saved(tmp_path, whole(labels))
    held_out = []
    for seed in range(4):
        found = load(place, split_seed=seed, test_fraction=0.25)
        rows = [np.flatnonzero((expected == x).all(axis=(1, 2, 3)))[0] for x in found.test.images]
        assert [labels[row] for row in rows] == found.test.labels.tolist() == [0, 1, 2]
        held_out.append(rows)
    assert len(set(map(tuple, held_out))) > 1


def broken_image(tmp_path):
    found = table([0, 1, 2] * 3)
    rows = [found.cast_column("picture", datasets.Image(decode=False))[i] for i in range(9)]
    rows[4]["picture"]["bytes"] = rows[4]["picture"]["bytes"][:50]
    return saved(tmp_path, datasets.Dataset.from_list(rows, features=found.features))


def test_damaged_images_are_named_or_skipped(tmp_path):
    place = broken_image(tmp_path)
    with pytest.raises(DatasetError, match=r"1 image cannot be read: image 4 of .*insects: "):
        load(place)
    with pytest.warns(UserWarning, match="1 image cannot be read"):
        found = load(place, damaged="skip")
    assert len(found.train.labels) + len(found.test.labels) == 8


def cut_off(tmp_path):
    place = saved(tmp_path, table([0, 1, 2] * 3))
    [arrow] = place.glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:-300])
    return place


def without_state(tmp_path):
    place = saved(tmp_path, table([0, 1, 2] * 3))
    (place / "state.json").unlink()
    return place


def of(*labels, kind=None, **others):
    return lambda tmp_path: saved(tmp_path, table(list(labels), kind, **others))


def splits(**parts):
    made = {name: table(*arguments) for name, arguments in parts.items()}
    return lambda tmp_path: saved(tmp_path, datasets.DatasetDict(made))


def without_column(name):
    return lambda tmp_path: saved(tmp_path, table([0, 1, 2] * 3).remove_columns(name))


STRINGS = datasets.Value("string")
WRONG = {
    "there is no folder": lambda tmp_path: tmp_path / "insects",
    "cannot be read as a saved data set": without_state,
    "cannot be read as a saved data set: .*": cut_off,
    "must be called train and test, .*; found train, extra": splits(train=([0, 1],), extra=([0],)),
    "must have a split train; found first": splits(first=([0, 1],)),
    "a class for every image in label, .* or a string, got 0.5": of(
        0.5, 1.0, kind=datasets.Value("float32")
    ),
    "its columns are label: ClassLabel": without_column("picture"),
    "its columns are picture: Image": without_column("label"),
    "must have a class for every image in label, .*, got None": of(0, 1, None),
    "must have a class for every image in label, .*, got -1": of(0, 1, -1),
    "class 2 has 1 image: .*; classes are ant, bee, cow": of(0, 0, 1, 1, 2),
    "at least two classes, got a": of("a", "a", kind=STRINGS),
    "'c' is a class without training images": splits(
        train=(["a", "b"], STRINGS), test=(["c"], STRINGS)
    ),
    "the splits of .* have different columns": splits(
        train=(["a", "b"], STRINGS), test=([0], None)
    ),
    "class cow has no training image": splits(train=([0, 1],), test=([2],)),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_one_error_that_names_the_folder(tmp_path, message):
    place = WRONG[message](tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        load(place)
    assert "insects" in str(caught.value)


def test_another_content_is_decoded_anew(tmp_path):
    place = saved(tmp_path, table([0, 1, 2] * 2))
    assert len(load(place).train.labels) == 3
    shutil.rmtree(place)
    saved(tmp_path, table([0, 1, 2] * 4))
    assert len(load(place).train.labels) == 9
    info = json.loads((place / "dataset_info.json").read_text())
    assert info["features"]["label"]["names"] == NAMES
