"""Which images a folder of Tiny-ImageNet has, in which order and of which classes.

    tiny-imagenet-200/wnids.txt                          the classes, one on each line
    tiny-imagenet-200/words.txt                          WNID, tab and name of each class
    tiny-imagenet-200/train/WNID/WNID_boxes.txt          lists the images of a class
    tiny-imagenet-200/train/WNID/images/WNID_0.JPEG
    tiny-imagenet-200/val/val_annotations.txt            lists images and their classes
    tiny-imagenet-200/val/images/val_0.JPEG

Many have sorted the validation images into a folder for each class, as `ImageFolder` of torchvision
wants them; the list may then be gone, and its order is that of the numbers:

    tiny-imagenet-200/val/WNID/val_0.JPEG                or val/WNID/images/val_0.JPEG

The lists say which images there must be, so that a half-unpacked archive does not go unnoticed.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from hcl_jax.data.splits import DatasetError


class ImageList(NamedTuple):
    """The images of a split, in the order of the lists, and the class of each."""

    paths: list[Path]
    labels: Int32[np.ndarray, " n"]


def list_classes(folder: Path) -> list[str]:
    """The WNIDs of the classes, each of which has a folder of training images."""
    path = folder / "wnids.txt"
    classes = [line.strip() for line in _lines(path)]
    if len(set(classes)) != len(classes):
        raise DatasetError(f"{path} lists a class twice")
    _check_class_folders(path, folder / "train", classes)
    return classes


def list_class_names(path: Path, classes: list[str]) -> tuple[str, ...]:
    """The names of the classes, from words.txt."""
    names = dict(line.rstrip().split("\t", 1) for line in _lines(path) if "\t" in line)
    missing = [wnid for wnid in classes if wnid not in names]
    if missing:
        raise DatasetError(f"{path} has no name for the class {missing[0]}")
    return tuple(names[wnid] for wnid in classes)


def list_train(folder: Path, classes: list[str]) -> ImageList:
    """The training images, class by class."""
    paths, labels = [], []
    for label, wnid in enumerate(classes):
        list_path, images = folder / wnid / f"{wnid}_boxes.txt", folder / wnid / "images"
        names = [line.split("\t")[0] for line in _lines(list_path)]
        _check_present(list_path, images, names, {path.name for path in images.glob("*.JPEG")})
        paths += [images / name for name in names]
        labels += [label] * len(names)
    return ImageList(paths, np.array(labels, np.int32))


def list_val(folder: Path, classes: list[str]) -> ImageList:
    """The validation images in the order of their list, wherever they lie."""
    list_path, images = folder / "val_annotations.txt", folder / "images"
    in_one_folder = {path.name: path for path in images.glob("*.JPEG")}
    class_folders = _folders(folder) - {"images"}
    if in_one_folder or not class_folders:
        wnids = _annotations(list_path, classes)
        _check_present(list_path, images, list(wnids), set(in_one_folder))
        return _labelled(wnids, in_one_folder, classes)
    _check_class_folders(folder.parent / "wnids.txt", folder, classes)
    paths = _in_class_folders(folder, classes)
    if list_path.exists():
        wnids = _annotations(list_path, classes)
        _check_present(list_path, folder, list(wnids), set(paths))
        _check_classes(list_path, wnids, paths, folder)
    else:
        wnids = {name: _class_of(paths[name], folder) for name in _numbered(folder, paths)}
    return _labelled(wnids, paths, classes)


def _labelled(wnids: dict[str, str], paths: dict[str, Path], classes: list[str]) -> ImageList:
    """The images in the order of `wnids`, which has the class of each."""
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    labels = [label_of[wnid] for wnid in wnids.values()]
    return ImageList([paths[name] for name in wnids], np.array(labels, np.int32))


def _lines(path: Path) -> list[str]:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("it is not a file")
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is missing or cannot be read: {error}") from error
    if not lines:
        raise DatasetError(f"{path} is empty")
    return lines


def _annotations(path: Path, classes: list[str]) -> dict[str, str]:
    """The class of every validation image, in the order of val_annotations.txt."""
    known, wnids = set(classes), {}
    for number, line in enumerate(_lines(path), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.split("\t")[0].strip()
        if wnid not in known:
            raise DatasetError(
                f"{path}, line {number}: {wnid!r} is not a class that wnids.txt lists"
            )
        if name in wnids:
            raise DatasetError(f"{path} lists an image twice")
        wnids[name] = wnid
    return wnids


def _in_class_folders(folder: Path, classes: list[str]) -> dict[str, Path]:
    """The images that lie in folders of classes, by name."""
    paths: dict[str, Path] = {}
    for wnid in classes:
        for path in (*(folder / wnid).glob("*.JPEG"), *(folder / wnid).glob("images/*.JPEG")):
            if path.name in paths:
                raise DatasetError(f"{paths[path.name]} and {path} have the same name")
            paths[path.name] = path
    return paths


def _class_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0]


def _check_classes(
    list_path: Path, wnids: dict[str, str], paths: dict[str, Path], folder: Path
) -> None:
    for name, wnid in wnids.items():
        if _class_of(paths[name], folder) != wnid:
            raise DatasetError(f"{list_path} says {wnid} of {paths[name]}")


def _numbered(folder: Path, paths: dict[str, Path]) -> list[str]:
    """The names val_0.JPEG, val_1.JPEG and so on, none of which may be missing."""
    names = [f"val_{number}.JPEG" for number in range(len(paths))]
    missing = next((name for name in names if name not in paths), None)
    if missing is not None or not names:
        raise DatasetError(
            f"{folder} has {len(paths)} images in folders of classes, which must be named "
            f"val_0.JPEG, val_1.JPEG and so on: {missing or 'val_0.JPEG'} is missing"
        )
    return names


def _folders(folder: Path) -> set[str]:
    return {entry.name for entry in folder.glob("*") if entry.is_dir()}


def _check_class_folders(list_path: Path, folder: Path, classes: list[str]) -> None:
    """Raises unless there is a folder for each class and, beside `images`, no other."""
    present = _folders(folder) - {"images"}
    if present != set(classes):
        raise DatasetError(
            f"{list_path} lists {len(classes)} classes, but {folder} has {len(present)} "
            f"folders{_difference(set(classes), present)}"
        )


def _check_present(list_path: Path, folder: Path, names: list[str], present: set[str]) -> None:
    """Raises unless the images in a folder are those of a list."""
    if len(set(names)) != len(names):
        raise DatasetError(f"{list_path} lists an image twice")
    if present != set(names):
        raise DatasetError(
            f"{list_path} lists {len(names)} images, but {folder} holds {len(present)}"
            f"{_difference(set(names), present)}"
        )


def _difference(expected: set[str], present: set[str]) -> str:
    """The first name that is missing, and the first that is not listed."""
    missing, unexpected = sorted(expected - present), sorted(present - expected)
    parts = [f"{missing[0]} is missing"] if missing else []
    parts += [f"{unexpected[0]} is not listed"] if unexpected else []
    return f": {', '.join(parts)}"
