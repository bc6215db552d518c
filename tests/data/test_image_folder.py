"""Tiny-ImageNet: a generated folder of the published layout, its damage, the file kept beside."""

import io
import os
import re
import shutil
import struct
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


@pytest.mark.parametrize("kind", [Path, str])
def test_cache_directory_can_be_chosen(data_dir, tmp_path, kind):
    tiny_imagenet(kind(data_dir), cache_dir=kind(tmp_path / "elsewhere" / "deep"))
    assert (tmp_path / "elsewhere" / "deep" / "tiny-imagenet-200.npz").is_file()
    assert not (data_dir / "decoded").exists()


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cached_with(**changes):
    """A cache of the right source in which arrays are replaced, or missing where None."""

    def spoil(path):
        with np.load(path) as arrays:
            found = {**arrays, **changes}
        np.savez(path, **{name: array for name, array in found.items() if array is not None})

    return spoil


SPOILED = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an archive"),
    "one bit": flip_a_byte,
    "other arrays": lambda path: np.savez(path, train=np.zeros(1)),
    "too few images": cached_with(train=np.zeros((11, 64, 64, 3), np.uint8)),
    "images of another shape": cached_with(test=np.zeros((7, 64, 64), np.uint8)),
    "images of another dtype": cached_with(train=np.zeros((12, 64, 64, 3), np.float32)),
    "no test images": cached_with(test=None),
    "objects": cached_with(train=np.array([{}], object)),
    "encrypted": lambda path: set_zip_field(path, flag=1),
    "unknown compression": lambda path: set_zip_field(path, method=97),
    "an array alone": lambda path: path.write_bytes(npy(np.zeros(3))),
}


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def set_zip_field(path, *, flag=None, method=None, size=None):
    """Changes what a zip archive says of its first file, before it and in the directory."""
    with zipfile.ZipFile(path) as archive:
        first = next(member for member in archive.infolist() if not member.is_dir())
    data = bytearray(path.read_bytes())
    in_directory = data.rindex(first.filename.encode()) - 46
    for flags in (first.header_offset + 6, in_directory + 8):
        for place, kind, value in ((0, "<H", flag), (2, "<H", method), (16, "<I", size)):
            if value is not None:
                struct.pack_into(kind, data, flags + place, value)
    path.write_bytes(data)


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


def test_an_image_replaced_under_its_name_is_decoded_anew(data_dir):
    tiny_imagenet(data_dir)
    path = data_dir / "tiny-imagenet-200" / TRAIN
    Image.new("RGB", (64, 64), (200, 10, 12)).save(path, "JPEG")
    again = tiny_imagenet(data_dir).train.images
    np.testing.assert_array_equal(again[PER_CLASS + 1], decoded(path))


def test_an_image_replaced_by_one_of_its_size_is_decoded_anew(data_dir):
    """The time of change tells them apart where the size does not."""
    tiny_imagenet(data_dir)
    path = data_dir / "tiny-imagenet-200" / TRAIN
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DatasetError, match=r"n01443537_1.JPEG is damaged or not a JPEG"):
        tiny_imagenet(data_dir)


def test_a_pipe_for_the_cache_is_not_waited_for(data_dir):
    (data_dir / "decoded").mkdir()
    os.mkfifo(data_dir / "decoded" / "tiny-imagenet-200.npz")
    assert len(tiny_imagenet(data_dir).train.labels) == 12


def test_a_directory_for_the_cache_is_named(data_dir):
    path = data_dir / "decoded" / "tiny-imagenet-200.npz"
    path.mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match=f"could not be kept in {path} "):
        tiny_imagenet(data_dir)


def sort_val(data_dir, *, between="", annotations=True):
    """Moves validation images into folders of classes, as is done for `ImageFolder`."""
    val = data_dir / "tiny-imagenet-200" / "val"
    for i in range(NUM_VAL):
        folder = val / CLASSES[val_label(i)] / between
        folder.mkdir(parents=True, exist_ok=True)
        (val / "images" / f"val_{i}.JPEG").rename(folder / f"val_{i}.JPEG")
    (val / "images").rmdir()
    if not annotations:
        (val / "val_annotations.txt").unlink()
    return val


@pytest.mark.parametrize("between", ["", "images"])
@pytest.mark.parametrize("annotations", [True, False])
def test_val_sorted_into_classes_is_the_same_split(data_dir, between, annotations):
    before = tiny_imagenet(data_dir)
    sort_val(data_dir, between=between, annotations=annotations)
    after = tiny_imagenet(data_dir)
    for one, other in zip((*before.train, *before.test), (*after.train, *after.test), strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_than_ten_sorted_images_are_in_the_order_of_their_numbers(data_dir):
    val = sort_val(data_dir, annotations=False)
    for i in range(NUM_VAL, 12):
        write_jpeg(val / CLASSES[i % 2] / f"val_{i}.JPEG", seed=1000 + i)
    test = tiny_imagenet(data_dir).test
    assert test.labels.tolist() == [val_label(i) for i in range(NUM_VAL)] + [1, 0, 1, 0, 1]
    np.testing.assert_array_equal(test.images[10], decoded(val / CLASSES[0] / "val_10.JPEG"))


SORTED_DAMAGE = {
    "a hole": (f"{CLASSES[2]}/val_4.JPEG", lambda p: p.unlink(), "val_4.JPEG is missing"),
    "another name": (
        f"{CLASSES[2]}/val_4.JPEG",
        lambda p: p.rename(p.with_name("cat.JPEG")),
        "7 images in folders of classes, which must be named .* val_4.JPEG is missing",
    ),
    "twice": (
        f"{CLASSES[2]}/val_4.JPEG",
        lambda p: shutil.copy(p, p.parents[1] / CLASSES[0]),
        "val_4.JPEG have the same name",
    ),
    "a class without folder": (CLASSES[1], shutil.rmtree, f"2 folders: {CLASSES[1]} is missing"),
    "a folder of no class": ("n00000000", lambda p: p.mkdir(), "n00000000 is not listed"),
    "no images": (
        "",
        lambda p: [path.unlink() for path in p.glob("*/*.JPEG")],
        "0 images in folders of classes",
    ),
}


@pytest.mark.parametrize("damage", SORTED_DAMAGE)
def test_damage_of_a_sorted_val_is_named(data_dir, damage):
    name, do, message = SORTED_DAMAGE[damage]
    do(sort_val(data_dir, annotations=False) / name)
    with pytest.raises(DatasetError, match=message):
        tiny_imagenet(data_dir)


def test_a_list_holds_for_a_sorted_val_too(data_dir):
    val = sort_val(data_dir)
    (val / CLASSES[2] / "val_4.JPEG").rename(val / CLASSES[0] / "val_4.JPEG")
    with pytest.raises(DatasetError, match=rf"val_annotations.txt says {CLASSES[2]} of .*val_4"):
        tiny_imagenet(data_dir)
    (val / CLASSES[0] / "val_4.JPEG").unlink()
    with pytest.raises(DatasetError, match=r"lists 7 images, but .* holds 6: val_4.JPEG is miss"):
        tiny_imagenet(data_dir)


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


def claim_size(path, height, width):
    """Makes the header of a JPEG (its SOF0 segment) claim another size."""
    data = bytearray(path.read_bytes())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    path.write_bytes(data)


def into_directory(path):
    path.unlink()
    path.mkdir()


def into_pipe(path):
    path.unlink()
    os.mkfifo(path)


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
        "n01443537_1.JPEG is damaged .*: an image of 32 x 64 pixels instead of 64 x 64",
    ),
    "a size of ten thousand": (
        TRAIN,
        lambda p: claim_size(p, 10_000, 10_000),
        "n01443537_1.JPEG is damaged .*: an image of 10000 x 10000 pixels instead of 64 x 64",
    ),
    "a directory for an image": (TRAIN, into_directory, "n01443537_1.JPEG cannot be read: it is n"),
    "a pipe for an image": (TRAIN, into_pipe, "n01443537_1.JPEG cannot be read: it is not a file"),
    "a directory for a list": (BOXES, into_directory, "boxes.txt is missing or cannot be read"),
    "a pipe for a list": (BOXES, into_pipe, "boxes.txt is missing or cannot be read: it is not"),
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


def prepare(directory):
    """The exit status of preparing from the archive in a directory."""
    data = str(directory / "data")
    return prepare_data.main(["tiny-imagenet", "--data-dir", data, "--archive-dir", str(directory)])


def no_archive(path):
    path.unlink()


ARCHIVES = {
    "truncated": (halve, "cannot be unpacked"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be unpacked to .*: File is not a zip"),
    "encrypted": (
        lambda path: set_zip_field(path, flag=1),
        r"tiny-imagenet-200/train/\S+ is encrypted",
    ),
    "unknown method": (
        lambda path: set_zip_field(path, method=97),
        "is compressed by the method 97, which Python does not read",
    ),
    "a bomb": (
        lambda path: set_zip_field(path, size=10**9),
        r"would unpack to \d+ files of 954 MiB, more than 200000 or 700 MiB",
    ),
    "another size": (lambda path: set_zip_field(path, size=1), "cannot be unpacked"),
    "flipped": (flip_a_byte, "cannot be unpacked"),
    "another folder": (
        lambda path: zipfile.ZipFile(path, "w").writestr("imagenet/wnids.txt", "x"),
        "it holds no folder tiny-imagenet-200",
    ),
    "a directory": (into_directory, "tiny-imagenet-200.zip, is not a file"),
    "missing": (no_archive, "tiny-imagenet-200.zip, does not exist"),
}


@pytest.mark.parametrize("archive", ARCHIVES)
def test_a_bad_archive_is_one_line_and_leaves_nothing(original, tmp_path, capsys, archive):
    spoil, message = ARCHIVES[archive]
    spoil(zipped(original, tmp_path))
    assert prepare(tmp_path) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "tiny-imagenet-200.zip" in line
    assert re.search(message, line), line
    data = tmp_path / "data"
    assert not data.exists() or list(data.iterdir()) == []


def test_a_bad_archive_is_not_in_the_way_of_a_good_one(original, data_dir, capsys):
    """Its images are looked at after they were unpacked, and then removed again."""
    (data_dir / "tiny-imagenet-200" / TRAIN).write_text("no image")
    zipped(data_dir, data_dir)
    assert prepare(data_dir) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "n01443537_1.JPEG is damaged" in said
    assert said.endswith("what was made from tiny-imagenet-200.zip was removed again")
    assert list((data_dir / "data").iterdir()) == []
    zipped(original, data_dir)
    assert prepare(data_dir) == 0


def test_bad_content_that_was_there_is_left_with_advice(original, data_dir, capsys):
    zipped(original, data_dir)
    image = data_dir / "tiny-imagenet-200" / TRAIN
    image.write_text("no image")
    arguments = ["tiny-imagenet", "--data-dir", str(data_dir), "--archive-dir", str(data_dir)]
    assert prepare_data.main(arguments) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    folder = data_dir / "tiny-imagenet-200"
    assert said.endswith(f"remove {folder} to have it made anew from tiny-imagenet-200.zip")
    assert image.read_text() == "no image"


def test_command_without_archive_says_what_to_do(tmp_path, capsys):
    assert prepare_data.main(["tiny-imagenet", "--data-dir", str(tmp_path)]) == 1
    assert "--archive-dir" in capsys.readouterr().err
