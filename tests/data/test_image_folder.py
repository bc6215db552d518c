"""Tiny-ImageNet: a generated folder of the published layout, its damage, the file kept beside."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hcl_jax.data import TINY_IMAGENET, DatasetError, decoding, image_folder, tiny_imagenet
from scripts import prepare_data

Image = pytest.importorskip("PIL.Image")

CLASSES = ["n02124075", "n01443537", "n04067472"]  # not sorted, as in the published file
NAMES = ["Egyptian cat", "goldfish, Carassius auratus", "reel"]
PER_CLASS, NUM_VAL = 4, 7
GRAY = "n01443537_2.JPEG"


def write_jpeg(path, seed):
    """A smooth random image, in grayscale if its name is GRAY."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    image = small.resize((64, 64), Image.Resampling.BICUBIC)
    (image.convert("L") if path.name == GRAY else image).save(path, "JPEG")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tiny")
    folder = data_dir / "tiny-imagenet-200"
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(CLASSES) + "\n")
    words = [f"{w}\t{n}" for w, n in zip(CLASSES, NAMES, strict=True)] + ["n00001740\tentity"]
    (folder / "words.txt").write_text("\n".join(sorted(words)) + "\n")
    for label, wnid in enumerate(CLASSES):
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        names = [f"{wnid}_{i}.JPEG" for i in range(PER_CLASS)]
        for i, name in enumerate(names):
            write_jpeg(images / name, seed=100 * label + i)
        boxes = "".join(f"{name}\t0\t10\t63\t58\n" for name in names)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
    lines = []
    for i in range(NUM_VAL):
        write_jpeg(folder / "val" / "images" / f"val_{i}.JPEG", seed=1000 + i)
        lines.append(f"val_{i}.JPEG\t{CLASSES[val_label(i)]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return data_dir


def val_label(i):
    return (2 * i) % 3


@pytest.fixture
def data_dir(original, tmp_path):
    shutil.copytree(original / "tiny-imagenet-200", tmp_path / "tiny-imagenet-200")
    return tmp_path


def decoded(path):
    with Image.open(path) as image:
        array = np.asarray(image)
    return np.stack([array] * 3, axis=-1) if array.ndim == 2 else array


def test_folder_comes_back_image_by_image(data_dir, monkeypatch):
    monkeypatch.setattr(decoding, "IMAGES_PER_JOB", 5)
    loaded = tiny_imagenet(data_dir)
    folder = data_dir / "tiny-imagenet-200"
    assert loaded.class_names == tuple(NAMES)
    assert loaded.num_classes == 3
    assert loaded.coarse_labels is None
    assert loaded.train.images.shape[1:] == TINY_IMAGENET.image_shape
    assert (loaded.mean, loaded.std) == TINY_IMAGENET.statistics
    assert loaded.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert loaded.test.labels.tolist() == [val_label(i) for i in range(NUM_VAL)]
    for position, image in enumerate(loaded.train.images):
        wnid = CLASSES[position // PER_CLASS]
        path = folder / "train" / wnid / "images" / f"{wnid}_{position % PER_CLASS}.JPEG"
        np.testing.assert_array_equal(image, decoded(path))
    for i, image in enumerate(loaded.test.images):
        np.testing.assert_array_equal(image, decoded(folder / "val" / "images" / f"val_{i}.JPEG"))
    assert loaded.train.images.dtype == np.uint8
    assert loaded.test.labels.dtype == np.int32


def test_grayscale_becomes_three_equal_channels(data_dir):
    images = tiny_imagenet(data_dir).train.images
    equal = [(image == image[..., :1]).all() for image in images]
    assert np.flatnonzero(equal).tolist() == [PER_CLASS + 2]


def test_second_time_decodes_nothing(data_dir, monkeypatch):
    first = tiny_imagenet(data_dir)
    monkeypatch.setattr(image_folder, "_decode", None)
    again = tiny_imagenet(data_dir)
    for split in ("train", "test"):
        for one, other in zip(getattr(first, split), getattr(again, split), strict=True):
            np.testing.assert_array_equal(one, other)
    assert [path.name for path in (data_dir / "decoded").iterdir()] == ["tiny-imagenet-200.npz"]


def test_cache_directory_can_be_chosen(data_dir, tmp_path):
    tiny_imagenet(data_dir, cache_dir=tmp_path / "elsewhere" / "deep")
    assert (tmp_path / "elsewhere" / "deep" / "tiny-imagenet-200.npz").is_file()
    assert not (data_dir / "decoded").exists()


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


SPOILED = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an archive"),
    "one bit": flip_a_byte,
    "other arrays": lambda path: np.savez(path, train=np.zeros(1)),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_spoiled_cache_is_made_again(data_dir, spoil):
    first = tiny_imagenet(data_dir)
    path = data_dir / "decoded" / "tiny-imagenet-200.npz"
    good = path.read_bytes()
    SPOILED[spoil](path)
    again = tiny_imagenet(data_dir)
    np.testing.assert_array_equal(first.train.images, again.train.images)
    np.testing.assert_array_equal(first.test.images, again.test.images)
    assert len(path.read_bytes()) == len(good)
    assert len(list(path.parent.iterdir())) == 1


def test_cache_of_another_folder_is_not_used(data_dir):
    before = tiny_imagenet(data_dir)
    folder = data_dir / "tiny-imagenet-200" / "train" / CLASSES[0]
    (folder / "images" / f"{CLASSES[0]}_3.JPEG").unlink()
    lines = (folder / f"{CLASSES[0]}_boxes.txt").read_text().splitlines()[:3]
    (folder / f"{CLASSES[0]}_boxes.txt").write_text("\n".join(lines))
    after = tiny_imagenet(data_dir)
    np.testing.assert_array_equal(after.train.images, np.delete(before.train.images, 3, axis=0))


def test_cache_that_cannot_be_written_is_done_without(data_dir):
    (data_dir / "decoded").write_text("a file where a directory should be")
    with pytest.warns(RuntimeWarning, match="decoded images could not be kept in .*npz"):
        loaded = tiny_imagenet(data_dir)
    assert len(loaded.train.labels) == 12


def test_failure_while_writing_leaves_no_file(data_dir, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        tiny_imagenet(data_dir)
    assert list((data_dir / "decoded").iterdir()) == []


def jpeg(mode="RGB", size=(64, 64), kind="JPEG"):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def add_line(text):
    return lambda path: path.write_text(path.read_text() + text)


TRAIN = f"train/{CLASSES[1]}/images/{CLASSES[1]}_1.JPEG"
BOXES = f"train/{CLASSES[1]}/{CLASSES[1]}_boxes.txt"
DAMAGE = {
    "missing image": (TRAIN, lambda p: p.unlink(), r"lists 4 images.* holds 3: \w+_1.JPEG is miss"),
    "unlisted image": (
        "val/images/val_0.JPEG",
        lambda p: shutil.copy(p, p.with_name("val_99.JPEG")),
        "lists 7 images.* holds 8: val_99.JPEG is not listed",
    ),
    "truncated image": (TRAIN, halve, r"n01443537_1.JPEG is damaged or not a JPEG"),
    "empty image": (TRAIN, lambda p: p.write_bytes(b""), "n01443537_1.JPEG is damaged"),
    "not an image": ("val/images/val_3.JPEG", lambda p: p.write_text("x"), "val_3.JPEG is damaged"),
    "a PNG": (TRAIN, lambda p: p.write_bytes(jpeg(kind="PNG")), "not a JPEG"),
    "another size": (
        TRAIN,
        lambda p: p.write_bytes(jpeg(size=(64, 32))),
        r"n01443537_1.JPEG has shape \(32, 64, 3\), expected \(64, 64, 3\)",
    ),
    "missing list": (BOXES, lambda p: p.unlink(), "n01443537_boxes.txt is missing or cannot"),
    "empty list": (BOXES, lambda p: p.write_text("\n"), "n01443537_boxes.txt is empty"),
    "binary list": (BOXES, lambda p: p.write_bytes(b"\xff\xfe"), "boxes.txt is missing or cannot"),
    "image listed twice": (
        BOXES,
        add_line("n01443537_1.JPEG\t0\t1\t2\t3\n"),
        "boxes.txt lists an image twice",
    ),
    "no annotations": (
        "val/val_annotations.txt",
        lambda p: p.unlink(),
        "val_annotations.txt is missing",
    ),
    "unknown class": (
        "val/val_annotations.txt",
        add_line("val_7.JPEG\tn00000000\t0\t0\t1\t1\n"),
        "val_annotations.txt, line 8: 'n00000000' is not a class",
    ),
    "annotation without class": (
        "val/val_annotations.txt",
        add_line("val_7.JPEG\n"),
        "val_annotations.txt, line 8: '' is not a class",
    ),
    "no classes": ("wnids.txt", lambda p: p.unlink(), "wnids.txt is missing"),
    "class listed twice": ("wnids.txt", add_line(CLASSES[0]), "wnids.txt lists a class twice"),
    "class without folder": (
        f"train/{CLASSES[2]}",
        shutil.rmtree,
        "lists 3 classes, but .*train has 2 folders: n04067472 is missing",
    ),
    "class without name": (
        "words.txt",
        lambda p: p.write_text(f"{CLASSES[0]}\tcat\n"),
        "words.txt has no name for the class n01443537",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(data_dir, damage):
    name, do, message = DAMAGE[damage]
    do(data_dir / "tiny-imagenet-200" / name)
    with pytest.raises(DatasetError, match=message):
        tiny_imagenet(data_dir)
    assert not (data_dir / "decoded").exists()


def test_missing_pillow_is_named(data_dir, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(DatasetError, match=r'PIL.Image.* pip install "hcl-jax\[tfds\]"$'):
        tiny_imagenet(data_dir)


def test_a_missing_folder_comes_with_the_command_and_where_to_run_it(tmp_path, monkeypatch):
    """In any directory: the command names the directory of data sets by its absolute path."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError) as caught:
        tiny_imagenet(Path("images"))
    said, command, archives = str(caught.value).splitlines()
    assert said.endswith("or run, in a checkout of hcl-jax,")
    assert command == (
        "    python -m scripts.prepare_data tiny-imagenet "
        f"--data-dir {tmp_path / 'images'} --archive-dir ARCHIVES"
    )
    assert archives == "where ARCHIVES is the directory that holds tiny-imagenet-200.zip"


def zipped(original, directory):
    path = directory / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(path, "w") as file:
        for found in sorted((original / "tiny-imagenet-200").rglob("*")):
            file.write(found, found.relative_to(original))
    return path


def test_command_unpacks_the_archive(original, tmp_path, capsys):
    zipped(original, tmp_path)
    data = tmp_path / "data"
    arguments = ["tiny-imagenet", "--data-dir", str(data), "--archive-dir", str(tmp_path)]
    assert prepare_data.main(arguments) == 0
    assert "12 training and 7 test images of 3 classes" in capsys.readouterr().out
    assert prepare_data.main(["tiny-imagenet", "--data-dir", str(data)]) == 0
    assert sorted(path.name for path in data.iterdir()) == ["decoded", "tiny-imagenet-200"]


def test_command_with_a_truncated_archive_leaves_nothing(original, tmp_path, capsys):
    halve(zipped(original, tmp_path))
    data = tmp_path / "data"
    arguments = ["tiny-imagenet", "--data-dir", str(data), "--archive-dir", str(tmp_path)]
    assert prepare_data.main(arguments) == 1
    assert "tiny-imagenet-200.zip cannot be unpacked" in capsys.readouterr().err
    assert list(data.iterdir()) == []


def test_command_without_archive_says_what_to_do(tmp_path, capsys):
    assert prepare_data.main(["tiny-imagenet", "--data-dir", str(tmp_path)]) == 1
    assert "--archive-dir" in capsys.readouterr().err
