"""Folders of one's own images, with a subfolder for each class.

flowers/rose/a.jpg               a part of every class is held out
flowers/train/rose/a.jpg         or what is in test/, or in val/ if there is no test/
flowers/test/rose/b.jpg
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from hcl_jax.data.decoding import digest_of_files
from hcl_jax.data.image_sets import ImageSet
from hcl_jax.data.instructions import import_or_explain
from hcl_jax.data.own_splits import (
    TEST_FRACTION,
    EvaluateOn,
    check_is_not_said,
    parts_of,
    shown,
    train_then_test,
)
from hcl_jax.data.splits import DatasetError
from hcl_jax.data.squares import Damaged, ImageSource, decoded_squares
from hcl_jax.system.counting import counted
from hcl_jax.validation.options import check_path

FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
"""What counts as images: formats of pixels that Pillow reads without other programs."""


class ClassFolders(NamedTuple):
    """The images of a folder, listed but not yet read.

    Attributes:
        root: the folder.
        paths: the files of training images, then those of test images.
        labels: the class of each.
        num_train: how many are training images.
        class_names: one name for each label, in sorted order.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: Int[np.ndarray, " n"]
    num_train: int
    class_names: tuple[str, ...]


def list_class_folders(
    path: Path | str,
    *,
    test_fraction: float = TEST_FRACTION,
    split_seed: int = 0,
    evaluate_on: EvaluateOn | None = None,
) -> ClassFolders:
    """Lists the images of a folder and their classes, without reading any.

    Hidden files are passed over; of other files that are not images a warning says how many there
    are.

    Args:
        path: the folder.
        test_fraction: share of every class that is held out where there are no folders of splits.
        split_seed: seed of that choice.
        evaluate_on: which folder is held out where there are `test` and `val` (or `valid`,
            `validation`); None for `test` if it is there, and else the other.

    Returns:
        See `ClassFolders`.

    Raises:
        DatasetError: if there is no such folder, fewer than two classes, a class without images, a
            class of test images that is not trained on, a `test_fraction` or `split_seed` beside
            test images, images that lie beside the folders of classes, a class that is too small
            to be split, or Pillow is missing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png"):
        ...     (folder / name).parent.mkdir(exist_ok=True)
        ...     (folder / name).touch()
        >>> listed = list_class_folders(folder)
        >>> listed.class_names, listed.num_train, listed.labels.tolist()
        (('cat', 'dog'), 2, [0, 1, 0, 1])
    """
    root = check_path("path", path)
    if not root.is_dir():
        raise DatasetError(
            f"{root} is no folder" if root.exists() else f"there is no folder {root}"
        )
    suffixes = _suffixes()
    parts = parts_of(root, _subfolders(root, suffixes), evaluate_on)
    if parts is None or len(parts) == 1:
        names, paths, labels = _list_split(root if parts is None else root / parts[0], suffixes)
        order, num_train = train_then_test(
            root, labels, names, test_fraction=test_fraction, split_seed=split_seed
        )
        return ClassFolders(root, tuple(paths[i] for i in order), labels[order], num_train, names)
    check_is_not_said(root, test_fraction, split_seed)
    names, paths, labels = _list_split(root / parts[0], suffixes)
    held_out = root / parts[1]
    test_names, test_paths, test_labels = _list_split(held_out, suffixes, least=1)
    unknown = sorted(set(test_names) - set(names))
    if unknown:
        raise DatasetError(f"{held_out / unknown[0]} is a class without training images")
    numbers = np.searchsorted(names, test_names).astype(np.int32)
    return ClassFolders(
        root,
        (*paths, *test_paths),
        np.concatenate([labels, numbers[test_labels]]),
        len(paths),
        names,
    )


def class_folders(
    path: Path | str,
    *,
    image_size: int,
    cache_dir: Path | str,
    test_fraction: float = TEST_FRACTION,
    split_seed: int = 0,
    evaluate_on: EvaluateOn | None = None,
    damaged: Damaged = "refuse",
) -> ImageSet:
    """The images of a folder as a data set, decoded once.

    Args:
        path: the folder, see the top of this file.
        image_size: height and width of the squares that images become, in pixels.
        cache_dir: directory in which decoded images are kept; a folder whose files, sizes or times
            of change differ is decoded again.
        test_fraction: share of every class that is held out where there are no folders of splits.
        split_seed: seed of that choice.
        evaluate_on: which folder is held out where there are `test` and `val` (or `valid`,
            `validation`); None for `test` if it is there, and else the other.
        damaged: "refuse", or "skip" images that cannot be read and links that lead nowhere, with a
            warning that counts and names them.

    Returns:
        uint8 images (n, image_size, image_size, 3), mapped from the file, and the statistics of
        their channels over the training images.

    Raises:
        DatasetError: as `list_class_folders`; if images are damaged, with their number and the
            first ones; or if none of a class is left.
        ValueError, TypeError: if the size is not a positive integer, or for another `damaged`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png"):
        ...     (folder / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        ...     Image.new("RGB", (20, 30)).save(folder / "pets" / name)
        >>> pets = class_folders(folder / "pets", image_size=16, cache_dir=folder / "decoded")
        >>> pets.class_names, pets.train.images.shape
        (('cat', 'dog'), (2, 16, 16, 3))
    """
    listed = list_class_folders(
        path, test_fraction=test_fraction, split_seed=split_seed, evaluate_on=evaluate_on
    )
    source = ImageSource(
        listed.root.resolve().name,
        listed.root,
        digest_of_files(listed.root, listed.paths),
        np.arange(len(listed.paths)),
        listed.labels,
        listed.num_train,
        listed.class_names,
        open=listed.paths.__getitem__,
        describe=lambda number: str(listed.paths[number]),
    )
    return decoded_squares(source, image_size=image_size, cache_dir=cache_dir, damaged=damaged)


def _suffixes() -> frozenset[str]:
    """The endings of files that Pillow itself reads as pixels."""
    pillow = import_or_explain("PIL.Image", "reading a folder of images")
    known = pillow.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in FORMATS)


def _subfolders(folder: Path, suffixes: frozenset[str]) -> list[str]:
    """The names of the folders in a folder, in which no image may lie."""
    try:
        entries = [entry for entry in os.scandir(folder) if not _is_hidden(entry.name)]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}") from error
    folders = sorted(entry.name for entry in entries if entry.is_dir())
    files = sorted(entry.name for entry in entries if not entry.is_dir())
    loose = [name for name in files if Path(name).suffix.lower() in suffixes]
    if loose:
        raise DatasetError(
            f"{folder} must have all its images in a folder for each class, as "
            f"{folder.name}/CLASS/{loose[0]}; found {loose[0]} in {folder.name} itself, "
            f"{'beside ' + shown(folders) if folders else 'and no folder'}"
        )
    return folders


def _list_split(
    folder: Path, suffixes: frozenset[str], *, least: int = 2
) -> tuple[tuple[str, ...], list[Path], Int[np.ndarray, " n"]]:
    """The classes of a folder, its images in sorted order, and the class of each."""
    names = tuple(_subfolders(folder, suffixes))
    if len(names) < least:
        raise DatasetError(
            f"{folder} must have a folder for each of at least two classes; found {shown(names)}"
        )
    paths: list[Path] = []
    counts, others = [], []
    seen: dict[tuple[int, int], Path] = {}
    for name in names:
        found = sorted(_files(folder / name, seen))
        images = [path for path in found if path.suffix.lower() in suffixes]
        if not images:
            raise DatasetError(f"{folder / name} has no images")
        paths += images
        counts.append(len(images))
        others += [path for path in found if path.suffix.lower() not in suffixes]
    if others:
        _say(
            f"{folder}: {counted(len(others), 'file')} left out for being no image, as {others[0]}"
        )
    if all(path.parent.parent != folder for path in paths):
        _say(f"no image lies directly in the folders {shown(names)} of {folder}: are they classes?")
    return names, paths, np.repeat(np.arange(len(names), dtype=np.int32), counts)


def _say(what: str) -> None:
    warnings.warn(what, stacklevel=5)


def _files(folder: Path, seen: dict[tuple[int, int], Path]) -> Iterator[Path]:
    """All files below a folder that are not hidden; folders that were seen before are refused."""
    try:
        found = folder.stat()
        before = seen.setdefault((found.st_dev, found.st_ino), folder)
        if before != folder:
            raise DatasetError(f"{folder} is a link to {before}, whose images would come twice")
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}") from error
    for entry in entries:
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _files(Path(entry.path), seen)
        else:
            yield Path(entry.path)


def _is_hidden(name: str) -> bool:
    """Whether a file or folder is no user's: hidden, or what macOS puts into archives."""
    return name.startswith(".") or name == "__MACOSX"
