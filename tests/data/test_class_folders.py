"""Folders of one's own images."""

import errno
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from hcl_jax.data import DatasetError, channel_statistics, class_folders, list_class_folders
from hcl_jax.data.square_images import read_square

SIZE = 6


def save(path, seed=0, shape=(7, 9), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture
def pets(tmp_path):
    """Ten images of two classes, some of them deeper in the folder."""
    for number in range(6):
        save(tmp_path / "pets" / "cat" / f"{number}.png", number)
    for number in range(4):
        save(tmp_path / "pets" / "dog" / f"litter{number % 2}" / f"{number}.PNG", 10 + number)
    (tmp_path / "pets" / "cat" / ".DS_Store").write_text("hidden")
    return tmp_path / "pets"


def load(folder, **options):
    return class_folders(folder, image_size=SIZE, cache_dir=folder.parent / "kept", **options)


def test_every_image_keeps_its_class(pets):
    listed, found = list_class_folders(pets), load(pets)
    assert found.class_names == ("cat", "dog")
    assert [np.bincount(split.labels).tolist() for split in found[:2]] == [[5, 3], [1, 1]]
    images = [image for split in found[:2] for image in split.images]
    labels = [found.class_names[label] for split in found[:2] for label in split.labels]
    for path, image, label in zip(listed.paths, images, labels, strict=True):
        assert np.array_equal(image, read_square(path, SIZE))
        assert label == path.relative_to(pets).parts[0]
    assert (found.mean, found.std) == channel_statistics(np.array(found.train.images))
    assert isinstance(found.train.images, np.memmap)


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_folders_of_splits_are_taken_as_they_are(tmp_path, held_out):
    for split, names in {"train": "abc", "val": "bc", held_out: "ca"}.items():
        for name in names:
            save(tmp_path / "pets" / split / name / f"{split}.jpg", ord(name))
    found = load(tmp_path / "pets")
    assert found.class_names == ("a", "b", "c")
    assert found.train.labels.tolist() == [0, 1, 2]
    assert found.test.labels.tolist() == [0, 2]


def test_it_is_decoded_once_until_it_changes(pets, monkeypatch):
    before = load(pets)
    with monkeypatch.context() as patch:
        patch.setattr("hcl_jax.data.squares.read_square", None)
        again = load(pets)
    assert np.array_equal(again.train.images, before.train.images)
    assert again.mean == before.mean
    save(pets / "dog" / "new.png")
    whole = load(pets)
    assert len(whole.train.labels) == 9
    whole = whole._replace(train=whole.train._replace(images=np.array(whole.train.images)))
    for kept in (pets.parent / "kept").glob("*.npy"):
        content = bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        kept.write_bytes(content)
    load(pets)
    assert np.array_equal(load(pets).train.images, whole.train.images)


def test_every_split_has_its_own_images(pets):
    """What was decoded for one split is neither taken for another nor made anew."""
    splits = [load(pets, split_seed=seed) for seed in (0, 1, 0, 1)]
    for seed, found in zip((0, 1, 0, 1), splits, strict=True):
        listed = list_class_folders(pets, split_seed=seed)
        images = [image for split in found[:2] for image in split.images]
        for path, image in zip(listed.paths, images, strict=True):
            assert np.array_equal(image, read_square(path, SIZE))
    assert len(list((pets.parent / "kept").glob("*.npy"))) == 2


def test_swapped_folders_are_told_apart(tmp_path):
    for number, name in enumerate("aabb"):
        path = tmp_path / "pets" / name / f"{number % 2}.bmp"
        save(path, number)
        os.utime(path, (0, 0))
    before = np.array(load(tmp_path / "pets").train.images)
    for old, new in ("ax", "ba", "xb"):
        (tmp_path / "pets" / old).rename(tmp_path / "pets" / new)
    assert np.array_equal(load(tmp_path / "pets").train.images, before[::-1])


def test_what_was_not_described_is_decoded_again(pets):
    """As after a SIGKILL between the two files."""
    before = np.array(load(pets).train.images)
    [description] = (pets.parent / "kept").glob("*.json")
    [images] = (pets.parent / "kept").glob("*.npy")
    description.unlink()
    images.write_bytes(b"")
    assert np.array_equal(load(pets).train.images, before)


def test_what_cannot_be_opened_now_is_not_called_damaged(pets, monkeypatch):
    def refused(file, size):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("hcl_jax.data.squares.read_square", refused)
        with pytest.raises(DatasetError, match=r"/\d.png cannot be read: Permission denied"):
            load(pets, damaged="skip")
    assert len(load(pets, damaged="skip").train.labels) == 8


RED = np.full((4, 4, 3), (200, 10, 60), np.uint8)


@pytest.mark.parametrize("shape", [(4, 4), (4, 10), (10, 4)])
def test_the_centre_is_kept(tmp_path, shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    top, left = (shape[0] - 4) // 2, (shape[1] - 4) // 2
    pixels[top : top + 4, left : left + 4] = RED
    Image.fromarray(pixels).save(tmp_path / "image.png")
    assert np.array_equal(read_square(tmp_path / "image.png", 4), RED)


def gray(pixels):
    return np.repeat(pixels[..., None], 3, axis=2)


RAMP = np.arange(16, dtype=np.uint8).reshape(4, 4) * 17
FORMS = {
    "gray": (Image.fromarray(RAMP), gray(RAMP)),
    "16 bits": (Image.fromarray(RAMP.astype(np.uint16) * 257), gray(RAMP)),
    "1 bit": (Image.fromarray(RAMP > 99), gray((RAMP > 99) * np.uint8(255))),
    "palette": (Image.fromarray(RED).quantize(2), RED),
    "cmyk": (Image.fromarray(RED).convert("CMYK"), RED),
    "opaque": (Image.fromarray(RED).convert("RGBA"), RED),
    "transparent": (Image.new("RGBA", (4, 4), (200, 10, 60, 0)), np.full_like(RED, 255)),
    "gray and alpha": (Image.new("LA", (4, 4), (7, 0)), np.full_like(RED, 255)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_red_green_and_blue(tmp_path, form):
    image, expected = FORMS[form]
    path = tmp_path / ("image.tif" if form == "cmyk" else "image.png")
    image.save(path)
    assert np.array_equal(read_square(path, 4), expected)


def test_a_transparent_palette_is_white(tmp_path):
    Image.fromarray(RED).quantize(2).save(tmp_path / "image.gif", transparency=0)
    assert (read_square(tmp_path / "image.gif", 4) == 255).all()


def test_a_rotated_image_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top of the scene is at the right
    Image.fromarray(np.rot90(gray(RAMP))).save(tmp_path / "image.png", exif=exif)
    assert np.array_equal(read_square(tmp_path / "image.png", 4), gray(RAMP))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.fromarray(np.ones((4, 4), np.float32)), "white is not known"),
        (Image.fromarray(np.full((4, 4), 255, np.int32)), "white is not known"),
    ],
)
def test_images_of_unknown_scale_are_refused(tmp_path, image, message):
    image.save(tmp_path / "image.tif")
    with pytest.raises(ValueError, match=message):
        read_square(tmp_path / "image.tif", 4)


def test_the_split_to_evaluate_on_can_be_chosen(tmp_path):
    for split in ("train", "val", "test"):
        for name in "abc" if split != "test" else "ab":
            save(tmp_path / "pets" / split / name / "image.png", ord(name))
    pets = tmp_path / "pets"
    for chosen, count in ((None, 2), ("test", 2), ("val", 3)):
        assert len(load(pets, evaluate_on=chosen).test.labels) == count
        listed = list_class_folders(pets, evaluate_on=chosen)
        assert listed.paths[-1].parts[-3] == (chosen or "test")
    shutil.rmtree(pets / "test")
    assert len(load(pets).test.labels) == 3
    with pytest.raises(
        DatasetError, match=r"pets has images to test with.*, got 0.5; leave it out"
    ):
        load(pets, test_fraction=0.5)
    with pytest.raises(DatasetError, match=r"pets has images to test with.* split_seed .*, got 3"):
        load(pets, split_seed=3)
    with pytest.raises(DatasetError, match="has no split test to evaluate on; found train, val"):
        load(pets, evaluate_on="test")
    with pytest.raises(DatasetError, match="has no split val to evaluate on; found a, b, c"):
        load(pets / "train", evaluate_on="val")


@pytest.mark.usefixtures("unchecked")
def test_other_splits_to_evaluate_on_are_refused(pets):
    with pytest.raises(ValueError, match="evaluate_on must be one of 'test', 'val', None, got 'a'"):
        load(pets, evaluate_on="a")


def test_what_a_killed_decoding_left_is_removed_at_the_next_start(pets):
    load(pets)
    [cache] = (pets.parent / "kept").glob("*.npy")
    other = cache.with_name("other.npy.12345678.partial")
    left = [cache.with_name(f"{cache.name}.12345678.partial")]
    left.append(cache.with_name(f"{cache.stem}.json.12345678.partial"))
    for path in (*left, other):
        path.write_bytes(b"half")
    load(pets)
    assert left[0].exists(), "nothing is decoded, so that somebody else may be"
    cache.unlink()
    load(pets)
    assert not any(path.exists() for path in left)
    assert other.exists(), "another process may write it"


def test_a_link_that_leads_nowhere_is_a_damaged_image(pets):
    before = load(pets)
    (pets / "cat" / "lost.png").symlink_to(pets.parent / "nowhere.png")
    with pytest.raises(DatasetError, match=r"1 image cannot be read: .*/cat/lost.png: a link that"):
        load(pets)
    with pytest.warns(UserWarning, match="1 image cannot be read"):
        found = load(pets, damaged="skip")
    assert len(found.train.labels) + len(found.test.labels) == 10
    shutil.copy(pets / "cat" / "0.png", pets.parent / "nowhere.png")
    whole = load(pets)
    assert len(whole.train.labels) + len(whole.test.labels) == 11
    assert len({before.digest, found.digest, whole.digest}) == 3


def test_the_digest_is_that_of_the_content_wherever_it_lies(pets):
    first = load(pets)
    moved = pets.parent / "elsewhere" / "pets"
    shutil.copytree(pets, moved)
    assert load(moved).digest == first.digest == load(pets).digest
    assert load(pets, split_seed=1).digest != first.digest
    (moved / "cat" / "0.png").rename(moved / "dog" / "0.png")
    assert load(moved).digest != first.digest


def damage(pets, *names):
    for name in names:
        (pets / name).write_bytes((pets / name).read_bytes()[:60])


def test_damaged_images_are_counted_and_named(pets):
    damage(pets, "cat/0.png", "cat/3.png", "cat/5.png", "dog/litter1/3.PNG")
    for _ in range(2):  # decoded, and read back
        with pytest.raises(
            DatasetError,
            match=r"4 images cannot be read: .*/cat/\d.png: .*; and 1 more; damaged='skip' .* out",
        ):
            load(pets)


def test_damaged_images_are_skipped_if_asked(pets):
    whole, listed = load(pets), list_class_folders(pets)
    damage(pets, "cat/0.png", "cat/3.png", "dog/litter1/3.PNG")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"3 images cannot be read: .*; left out"):
            found = load(pets, damaged="skip")
        rest = [path.name in ("0.png", "3.png", "3.PNG") for path in listed.paths]
        for old, new, gone in (
            (whole.train, found.train, rest[: listed.num_train]),
            (whole.test, found.test, rest[listed.num_train :]),
        ):
            kept = ~np.array(gone)
            assert np.array_equal(new.images, old.images[kept])
            assert np.array_equal(new.labels, old.labels[kept])


def test_a_class_that_loses_all_images_is_refused(pets):
    damage(pets, *(f"dog/litter{number % 2}/{number}.PNG" for number in range(4)))
    with (
        pytest.warns(UserWarning, match="4 images cannot be read"),
        pytest.raises(DatasetError, match="class dog has no training image that can be read"),
    ):
        load(pets, damaged="skip")


def test_other_files_are_said(pets):
    (pets / "dog" / "notes.txt").write_text("good")
    with pytest.warns(UserWarning, match=r"1 file left out for being no image, as .*notes"):
        load(pets)


def one_class(pets):
    shutil.rmtree(pets / "dog")


def empty_class(pets):
    (pets / "bird").mkdir()


def loose_image(pets):
    save(pets / "loose.png")


def one_image(pets):
    save(pets / "bird" / "0.png")


def beside_splits(pets):
    (pets / "train").mkdir()


def other_names(pets):
    (pets / "cat").rename(pets / "Training")
    (pets / "dog").rename(pets / "Testing")


def linked_twice(pets):
    (pets / "cat" / "more").symlink_to(pets / "dog" / "litter0")


def a_loop(pets):
    (pets / "cat" / "more").symlink_to(pets / "cat")


def untrained_class(pets):
    for name in ("cat", "dog"):
        shutil.move(pets / name, pets / "train" / name)
    save(pets / "test" / "dog" / "0.png")
    save(pets / "test" / "fish" / "0.png")


WRONG = {
    "there is no folder .*pets": shutil.rmtree,
    "at least two classes; found cat": one_class,
    "bird has no images": empty_class,
    "found loose.png in pets itself, beside cat, dog": loose_image,
    "class 0 has 1 image: .*; classes are bird, cat, dog": one_image,
    "must be called train and test, .*, with nothing beside them; found cat, dog": beside_splits,
    "looks like splits, which must be called .*; found Testing, Training": other_names,
    "is a link to .*, whose images would come twice": linked_twice,
    "cat/more is a link to .*/cat, whose": a_loop,
    "fish is a class without training images": untrained_class,
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(pets, message):
    WRONG[message](pets)
    with pytest.raises(DatasetError, match=message):
        load(pets)


def test_one_class_may_be_tested_and_one_split_is_cut(pets):
    for name in ("cat", "dog"):
        shutil.move(pets / name, pets / "train" / name)
    found = load(pets)
    assert [len(split.labels) for split in found[:2]] == [8, 2]
    save(pets / "test" / "dog" / "0.png")
    assert load(pets).test.labels.tolist() == [1]


def test_a_folder_above_the_classes_is_said(pets):
    (pets.parent / "all").mkdir()
    shutil.move(pets, pets.parent / "all" / "pets")
    shutil.copytree(pets.parent / "all" / "pets", pets.parent / "all" / "others")
    with pytest.warns(UserWarning, match="no image lies directly in the folders others, pets"):
        load(pets.parent / "all")


def test_a_full_disk_leaves_nothing(pets, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DatasetError, match=r"cannot be kept in .*\.npy: No space left on device"):
        load(pets)
    assert {path.suffix for path in (pets.parent / "kept").iterdir()} == {".lock"}
