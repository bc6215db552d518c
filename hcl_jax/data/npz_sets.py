"""A data set of one's own in an .npz file: images or vectors, and the class of each.

    images, labels                                      one set, of which a part is held out
    train_images, train_labels, test_images, test_labels    or both parts

Other names that are common are understood too (`NAMES`). Nothing in the file is unpickled.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from hcl_jax.data.image_sets import ImageSet, channel_statistics
from hcl_jax.data.indexed_rows import rows_of
from hcl_jax.data.npz_arrays import npz_array
from hcl_jax.data.own_splits import (
    TEST_FRACTION,
    EvaluateOn,
    check_evaluate_on,
    check_is_not_said,
)
from hcl_jax.data.splits import Dataset, DatasetError, Split
from hcl_jax.data.splitting import stratified_split
from hcl_jax.validation.options import check_path

NAMES = {
    "images": ("images", "x", "X", "data", "features", "embeddings", "vectors"),
    "labels": ("labels", "y", "Y", "targets", "classes"),
    "train_images": ("train_images", "x_train", "X_train"),
    "train_labels": ("train_labels", "y_train", "Y_train"),
    "test_images": ("test_images", "x_test", "X_test"),
    "test_labels": ("test_labels", "y_test", "Y_test"),
    "val_images": ("val_images", "x_val", "X_val", "valid_images", "x_valid", "validation_images"),
    "val_labels": ("val_labels", "y_val", "Y_val", "valid_labels", "y_valid", "validation_labels"),
}
"""The names under which each array is looked for."""

ROWS_AT_ONCE = 1024
"""Rows that are looked at together."""


class _Labelled(NamedTuple):
    """Images or vectors as the library takes them, and their classes as they were written."""

    images: Shaped[np.ndarray, "n *image"]
    labels: Shaped[np.ndarray, " n"]


def npz_set(
    path: Path | str,
    *,
    test_fraction: float = TEST_FRACTION,
    split_seed: int = 0,
    evaluate_on: EvaluateOn | None = None,
) -> ImageSet | Dataset:
    """A data set of one's own from an .npz file.

    Images are uint8 of shape (n, height, width) or (n, height, width, 1 or 3), or floating-point
    numbers of such a shape in [0, 1]; vectors are floating-point numbers of shape (n, dim), and are
    taken as they are. Labels are integers that need not be consecutive, or strings; classes come in
    sorted order.

    Args:
        path: path of the file. It holds `images` and `labels`, or both of `train_` and of `test_`
            or `val_`; see `NAMES` for what else they may be called. Arrays of 16 MiB and more that
            are not compressed are mapped into memory; compressed ones, and floating-point numbers
            other than float32, are held whole.
        test_fraction: share of every class that is held out where the file has no test images.
        split_seed: seed of that choice.
        evaluate_on: which images become the test images where there are "test" and "val"; None for
            "test" if it is there, and else "val".

    Returns:
        An `ImageSet` for uint8 images, with the statistics of their channels over the training
        images; a `Dataset` of float32 for floating-point numbers.

    Raises:
        DatasetError: if the file is missing or damaged, if an array is missing, ambiguous, or of a
            shape, a dtype or values that are none of the above, if there are fewer than two
            classes, or one that is tested but not trained on, or that is too small to be split, if
            there are no images to evaluate on as asked, or a `test_fraction` or
            `split_seed` beside test images.
        ValueError: for another `evaluate_on`.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "pets.npz"
        >>> np.savez(path, images=np.zeros((10, 8, 8), np.uint8), labels=["cat", "dog"] * 5)
        >>> pets = npz_set(path)
        >>> pets.class_names, pets.train.images.shape, pets.test.labels.tolist()
        (('cat', 'dog'), (8, 8, 8, 1), [0, 1])
    """
    path = check_path("path", path)
    check_evaluate_on(evaluate_on)
    arrays = _read(path, evaluate_on)
    if "images" not in arrays:
        check_is_not_said(path, test_fraction, split_seed)
    try:
        return _dataset(arrays, test_fraction, split_seed)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path}: {error}") from error


def _read(path: Path, evaluate_on: EvaluateOn | None) -> dict[str, np.ndarray]:
    """The arrays of a file under the first of their `NAMES`."""
    if not path.is_file():
        raise DatasetError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is not an .npz file, or cut off")
    try:
        with np.load(path, allow_pickle=False) as file:
            chosen = _chosen(list(file), path, evaluate_on)
        arrays = {name: npz_array(path, key) for name, key in chosen.items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} cannot be read as .npz without pickle: {error}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DatasetError(f"{path} holds no array for {name}")
    return arrays


def _chosen(keys: list[str], path: Path, evaluate_on: EvaluateOn | None) -> dict[str, str]:
    """The key of every array that is used; DatasetError unless they make a data set.

    Of images to validate with and to test with those are used that are asked for, or the latter;
    they are called test images from here on.
    """
    chosen = {}
    for name, names in NAMES.items():
        there = [key for key in names if key in keys]
        if len(there) > 1:
            raise DatasetError(f"{path} has {' and '.join(there)}: which are the {name}?")
        if there:
            chosen[name] = there[0]
    listed = ", ".join(keys) or "nothing"
    held_out = [name for name in ("test", "val") if f"{name}_images" in chosen]
    if {"images", "labels"} != set(chosen):
        parts = {f"{part}_{kind}" for part in ("train", *held_out) for kind in ("images", "labels")}
        if set(chosen) != parts or not held_out:
            raise DatasetError(
                f"{path} must hold images and labels, or train_images, train_labels, and "
                f"test_images and test_labels or val_images and val_labels; it holds {listed}"
            )
    used = evaluate_on or next(iter(held_out), None)
    if evaluate_on is not None and evaluate_on not in held_out:
        raise DatasetError(f"{path} holds no {evaluate_on}_images; it holds {listed}")
    names = {name: name for name in ("images", "labels", "train_images", "train_labels")}
    names |= {f"test_{kind}": f"{used}_{kind}" for kind in ("images", "labels")}
    return {name: chosen[own] for name, own in names.items() if own in chosen}


def _dataset(
    arrays: Mapping[str, np.ndarray], test_fraction: float, split_seed: int
) -> ImageSet | Dataset:
    if "images" in arrays:
        whole = _labelled(arrays, "")
        names, labels = _classes(whole.labels)
        train, test = (
            Split(rows_of(whole.images, rows), labels[rows])
            for rows in stratified_split(labels, test_fraction=test_fraction, seed=split_seed)
        )
    else:
        train_part, test_part = _labelled(arrays, "train_"), _labelled(arrays, "test_")
        names, labels = _classes(train_part.labels)
        train = Split(train_part.images, labels)
        test = Split(test_part.images, _numbered(test_part.labels, names))
        if train.images.shape[1:] != test.images.shape[1:]:
            raise ValueError(
                f"training images have shape {train.images.shape[1:]} and test images "
                f"{test.images.shape[1:]}"
            )
        if train.images.dtype != test.images.dtype:
            raise TypeError(
                f"training images have dtype {train.images.dtype} and test images "
                f"{test.images.dtype}"
            )
    shown = tuple(map(str, names.tolist()))
    if train.images.dtype != np.uint8:
        return Dataset(train, test, len(names), shown)
    return ImageSet(train, test, len(names), shown, *channel_statistics(train.images))


def _labelled(arrays: Mapping[str, np.ndarray], prefix: str) -> _Labelled:
    images = _images(f"{prefix}images", arrays[f"{prefix}images"])
    labels = _labels(f"{prefix}labels", arrays[f"{prefix}labels"])
    if len(images) != len(labels):
        raise ValueError(
            f"{prefix}images and {prefix}labels must be of one length, got {len(images)} and "
            f"{len(labels)}"
        )
    return _Labelled(images, labels)


def _images(name: str, images: np.ndarray) -> Shaped[np.ndarray, "n *image"]:
    """Images with a channel axis or vectors, uint8 or float32."""
    is_byte, shape = images.dtype == np.uint8, images.shape
    if not (is_byte or np.issubdtype(images.dtype, np.floating)):
        raise TypeError(f"{name} must be uint8 or floating-point, got {images.dtype}")
    if 0 in shape or images.ndim not in (2, 3, 4) or (images.ndim == 2 and is_byte):
        raise ValueError(
            f"{name} must have shape (n, height, width), (n, height, width, channel), or (n, dim) "
            f"in floating point, none of them 0, got {shape} and {images.dtype}"
        )
    if images.ndim == 4 and shape[3] not in (1, 3):
        hint = "; are channels first? transpose to (0, 2, 3, 1)" if shape[1] in (1, 3) else ""
        raise ValueError(f"{name} must have 1 or 3 channels on the last axis, got {shape}{hint}")
    if not is_byte:
        images = _finite_float32(name, images)
    return images[..., None] if images.ndim == 3 else images


def _finite_float32(name: str, images: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        images = images.astype(np.float32, copy=False)
    least, most = np.inf, -np.inf
    for start in range(0, len(images), ROWS_AT_ONCE):
        part = images[start : start + ROWS_AT_ONCE]
        finite = np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise ValueError(f"{name} must be finite in float32, row {row} is not")
        least, most = min(least, part.min()), max(most, part.max())
    if images.ndim > 2 and not (least >= 0 and most <= 1):
        raise ValueError(
            f"{name} in floating point must lie in [0, 1], got values from {least:g} to "
            f"{most:g}; scale them, or give uint8"
        )
    return images


def _labels(name: str, labels: np.ndarray) -> Shaped[np.ndarray, " n"]:
    """One integer or string for each image."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    is_integer = np.issubdtype(labels.dtype, np.integer)
    if labels.ndim != 1 or not (is_integer or labels.dtype.kind in "US"):
        hint = "; of one-hot rows give the argmax" if labels.ndim == 2 else ""
        raise TypeError(
            f"{name} must be one integer or string for each image, got shape {labels.shape} and "
            f"dtype {labels.dtype}{hint}"
        )
    if is_integer and len(labels) and labels.min() < 0:
        raise ValueError(f"{name} must not be negative, got {labels.min()}")
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels


def _classes(labels: np.ndarray) -> tuple[np.ndarray, Int[np.ndarray, " n"]]:
    """The classes in sorted order, and the number of each label's."""
    names, numbers = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"there must be at least two classes, got {len(names)}")
    return names, numbers.astype(np.int32)


def _numbered(labels: np.ndarray, names: np.ndarray) -> Int[np.ndarray, " n"]:
    """The numbers of labels among the classes that are trained on."""
    unknown = sorted(set(labels.tolist()) - set(names.tolist()))
    if unknown:
        raise ValueError(f"test labels hold {unknown[0]!r}, a class without training images")
    numbers = {name: number for number, name in enumerate(names.tolist())}
    return np.array([numbers[label] for label in labels.tolist()], np.int32)
