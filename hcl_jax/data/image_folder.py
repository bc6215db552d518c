"""Tiny-ImageNet from the folder that its published archive unpacks to.

    tiny-imagenet-200/wnids.txt                          the classes, one on each line
    tiny-imagenet-200/words.txt                          WNID, tab and name of each class
    tiny-imagenet-200/train/WNID/WNID_boxes.txt          lists the images of a class
    tiny-imagenet-200/train/WNID/images/WNID_0.JPEG
    tiny-imagenet-200/val/val_annotations.txt            lists images and their classes
    tiny-imagenet-200/val/images/val_0.JPEG

The validation images are the test split, as everywhere; those in `test/` have no published labels.
The lists say which images there must be, so that a half-unpacked archive does not go unnoticed.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from hcl_jax.data.decoding import decode_in_threads, jobs_of, load_or_decode
from hcl_jax.data.image_sets import ChannelStatistics, ImageSet, ImageSetSpec
from hcl_jax.data.instructions import import_or_explain, preparation_command
from hcl_jax.data.splits import DatasetError, Split

TINY_IMAGENET = ImageSetSpec(
    name="tiny-imagenet",
    image_shape=(64, 64, 3),
    classes={"label": 200},
    statistics=ChannelStatistics((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
)

FOLDER = "tiny-imagenet-200"
"""The folder in the published archive."""


class _ImageList(NamedTuple):
    """The images of a split, in the order of the lists, and the class of each."""

    paths: list[Path]
    labels: Int32[np.ndarray, " n"]


def tiny_imagenet(data_dir: Path, *, cache_dir: Path | None = None) -> ImageSet:
    """Tiny-ImageNet: 64 x 64 images of 200 classes, 100 000 to train and 10 000 to test.

    The first call decodes all images in threads, under a progress bar, and caches them in one file;
    that takes minutes. Later calls read that file, after checking that the folder is the same.

    Args:
        data_dir: directory of data sets, which holds the folder `tiny-imagenet-200/`.
        cache_dir: directory in which decoded images are cached; `data_dir/decoded` by default.

    Returns:
        Classes in the order of wnids.txt and named as in words.txt; grayscale images have three
        equal channels. Mean and standard deviation are the widely published ones of the training
        set.

    Raises:
        DatasetError: if a file is missing, unexpected or damaged, or Pillow is missing.

    Example:
        >>> from pathlib import Path
        >>> tiny_imagenet(Path("nowhere"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: Tiny-ImageNet is not in nowhere: looked for the folder
        nowhere/tiny-imagenet-200 with wnids.txt, train/ and val/. Unpack tiny-imagenet-200.zip
        there; or run, in a checkout of hcl-jax,
            python -m scripts.prepare_data tiny-imagenet --data-dir ...nowhere
            --archive-dir ARCHIVES
        where ARCHIVES is the directory that holds tiny-imagenet-200.zip
    """
    folder = data_dir / FOLDER
    if not folder.is_dir():
        raise DatasetError(
            f"Tiny-ImageNet is not in {data_dir}: looked for the folder {folder} with wnids.txt, "
            f"train/ and val/. Unpack {FOLDER}.zip there; or run, in a checkout of hcl-jax,\n"
            f"    {preparation_command(TINY_IMAGENET.name, data_dir)} --archive-dir ARCHIVES\n"
            f"where ARCHIVES is the directory that holds {FOLDER}.zip"
        )
    classes = _classes(folder)
    names = _class_names(folder / "words.txt", classes)
    train, test = _list_train(folder / "train", classes), _list_val(folder / "val", classes)
    cache = (data_dir / "decoded" if cache_dir is None else cache_dir) / f"{FOLDER}.npz"
    images = load_or_decode(
        cache,
        _digest(folder, train, test),
        lambda: {"train": _decode(train, "training"), "test": _decode(test, "validation")},
    )
    return ImageSet(
        train=Split(images["train"], train.labels),
        test=Split(images["test"], test.labels),
        num_classes=len(classes),
        class_names=names,
        mean=TINY_IMAGENET.statistics.mean,
        std=TINY_IMAGENET.statistics.std,
    )


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is missing or cannot be read: {error}") from error
    if not lines:
        raise DatasetError(f"{path} is empty")
    return lines


def _classes(folder: Path) -> list[str]:
    path = folder / "wnids.txt"
    classes = [line.strip() for line in _lines(path)]
    if len(set(classes)) != len(classes):
        raise DatasetError(f"{path} lists a class twice")
    present = {entry.name for entry in (folder / "train").glob("*") if entry.is_dir()}
    if present != set(classes):
        raise DatasetError(
            f"{path} lists {len(classes)} classes, but {folder / 'train'} has {len(present)} "
            f"folders{_difference(set(classes), present)}"
        )
    return classes


def _class_names(path: Path, classes: list[str]) -> tuple[str, ...]:
    names = dict(line.rstrip().split("\t", 1) for line in _lines(path) if "\t" in line)
    missing = [wnid for wnid in classes if wnid not in names]
    if missing:
        raise DatasetError(f"{path} has no name for the class {missing[0]}")
    return tuple(names[wnid] for wnid in classes)


def _list_train(folder: Path, classes: list[str]) -> _ImageList:
    paths, labels = [], []
    for label, wnid in enumerate(classes):
        list_path, images = folder / wnid / f"{wnid}_boxes.txt", folder / wnid / "images"
        names = [line.split("\t")[0] for line in _lines(list_path)]
        _check_present(list_path, images, names)
        paths += [images / name for name in names]
        labels += [label] * len(names)
    return _ImageList(paths, np.array(labels, np.int32))


def _list_val(folder: Path, classes: list[str]) -> _ImageList:
    list_path, images = folder / "val_annotations.txt", folder / "images"
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    names, labels = [], []
    for number, line in enumerate(_lines(list_path), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.split("\t")[0].strip()
        if wnid not in label_of:
            raise DatasetError(
                f"{list_path}, line {number}: {wnid!r} is not a class that wnids.txt lists"
            )
        names.append(name)
        labels.append(label_of[wnid])
    _check_present(list_path, images, names)
    return _ImageList([images / name for name in names], np.array(labels, np.int32))


def _check_present(list_path: Path, images: Path, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise DatasetError(f"{list_path} lists an image twice")
    present = {path.name for path in images.glob("*.JPEG")}
    if present != set(names):
        raise DatasetError(
            f"{list_path} lists {len(names)} images, but {images} holds {len(present)}"
            f"{_difference(set(names), present)}"
        )


def _difference(expected: set[str], present: set[str]) -> str:
    """The first name that is missing, and the first that is not listed."""
    missing, unexpected = sorted(expected - present), sorted(present - expected)
    parts = [f"{missing[0]} is missing"] if missing else []
    parts += [f"{unexpected[0]} is not listed"] if unexpected else []
    return f": {', '.join(parts)}"


def _digest(folder: Path, train: _ImageList, test: _ImageList) -> str:
    """Changes once an image is added, removed, renamed or given another class."""
    digest = hashlib.sha256()
    for split in (train, test):
        names = [path.relative_to(folder).as_posix() for path in split.paths]
        for name, label in zip(names, split.labels.tolist(), strict=True):
            digest.update(f"{name} {label}\n".encode())
    return digest.hexdigest()


def _decode(split: _ImageList, name: str) -> UInt8[np.ndarray, "n 64 64 3"]:
    """The images of a split, whose name the progress bar shows."""
    pillow = import_or_explain("PIL.Image", "reading Tiny-ImageNet")
    images = np.empty((len(split.paths), *TINY_IMAGENET.image_shape), np.uint8)

    def decode(numbers: range) -> int:
        for number in numbers:
            images[number] = _read_image(pillow, split.paths[number])
        return len(numbers)

    decode_in_threads(
        decode,
        jobs_of(0, len(images)),
        total=len(images),
        description=f"decoding Tiny-ImageNet ({name})",
    )
    return images


def _read_image(pillow: Any, path: Path) -> UInt8[np.ndarray, "64 64 3"]:
    try:
        with pillow.open(path, formats=["JPEG"]) as file:
            image = np.asarray(file.convert("RGB"))
    except Exception as error:  # Pillow raises OSError, SyntaxError and others on damaged files
        raise DatasetError(f"{path} is damaged or not a JPEG: {error}") from error
    if image.shape != TINY_IMAGENET.image_shape:
        raise DatasetError(f"{path} has shape {image.shape}, expected {TINY_IMAGENET.image_shape}")
    return image
