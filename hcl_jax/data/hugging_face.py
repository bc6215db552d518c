"""Image data sets that the `datasets` package of Hugging Face saved to a folder.

    datasets.load_dataset("beans").save_to_disk("beans")
    hugging_face_set("beans", image_size=64, cache_dir="data")

Nothing is downloaded, and no code of the data set is run.
"""

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int

from hcl_jax.data.decoding import listing_of
from hcl_jax.data.image_sets import ImageSet
from hcl_jax.data.instructions import import_or_explain
from hcl_jax.data.own_splits import (
    TEST_FRACTION,
    EvaluateOn,
    parts_of,
    shown,
    with_held_out,
)
from hcl_jax.data.splits import DatasetError
from hcl_jax.data.squares import Damaged, ImageSource, decoded_squares
from hcl_jax.validation.options import check_path

LABELS = ("label", "labels", "fine_label")
"""Columns that are taken for the classes where more than one could be."""


def hugging_face_set(
    path: Path | str,
    *,
    image_size: int,
    cache_dir: Path | str,
    test_fraction: float = TEST_FRACTION,
    split_seed: int = 0,
    evaluate_on: EvaluateOn | None = None,
    damaged: Damaged = "refuse",
) -> ImageSet:
    """The images of a saved Hugging Face data set, decoded once as those of `class_folders`.

    Args:
        path: the folder that `save_to_disk` wrote, of a `DatasetDict` with "train" and one of
            "test", "val", "valid" or "validation", or of one split. It has one column of images,
            and one of classes: `ClassLabel`, or integers or strings; of several the one called
            "label", "labels" or "fine_label".
        image_size: height and width of the squares that images become, in pixels.
        cache_dir: directory in which decoded images are kept.
        test_fraction: share of every class that is held out where there is one split only.
        split_seed: seed of that choice.
        evaluate_on: which split is held out where there are "test" and "val" (or "valid",
            "validation"); None for "test" if it is there, and else the other.
        damaged: "refuse", or "skip" images that cannot be read, with a warning that names them.

    Returns:
        As `class_folders`.

    Raises:
        DatasetError: if there is no such data set, its columns or splits are none of the above, a
            label is missing, a class has no training image, there is a `test_fraction` or
            `split_seed` beside a split that is held out, images are damaged, or the package
            `datasets` or Pillow is missing.
        ValueError, TypeError: as `class_folders`.

    Example:
        >>> hugging_face_set("nowhere", image_size=32, cache_dir="data")
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: there is no folder nowhere
    """
    place = check_path("path", path)
    if not place.is_dir():
        raise DatasetError(f"there is no folder {place}")
    import_or_explain("PIL.Image", f"reading {place}")
    datasets = import_or_explain("datasets", f"reading {place}", "huggingface")
    try:
        found = datasets.load_from_disk(str(place))
    except Exception as error:  # datasets, arrow and JSON each raise their own
        raise DatasetError(f"{place} cannot be read as a saved data set: {error}") from error
    parts = _parts(place, found, datasets.DatasetDict, evaluate_on)
    image, label = _columns(place, parts[0].features, datasets)
    if any(part.features != parts[0].features for part in parts[1:]):
        raise DatasetError(f"the splits of {place} have different columns")
    names, labels = _labels(place, parts, label)
    encoded = datasets.concatenate_datasets(parts).select_columns([image])
    encoded = encoded.cast_column(image, datasets.Image(decode=False))

    def open_image(number: int) -> Path | BinaryIO:
        file = encoded[number][image]
        if file is None:
            raise ValueError("there is no image")
        return Path(file["path"]) if file["bytes"] is None else io.BytesIO(file["bytes"])

    source = ImageSource(
        place.resolve().name,
        place,
        listing_of(place),
        np.arange(len(labels)),
        labels,
        len(labels),
        names,
        open=open_image,
        describe=lambda number: f"image {number} of {place}",
    )
    lengths = [len(part) for part in parts]
    source = with_held_out(source, lengths, test_fraction=test_fraction, split_seed=split_seed)
    return decoded_squares(source, image_size=image_size, cache_dir=cache_dir, damaged=damaged)


def _parts(place: Path, found: Any, several: type, evaluate_on: EvaluateOn | None) -> list[Any]:
    """The training split and the one that is held out, or the only one."""
    if not isinstance(found, several):
        parts_of(place, [], evaluate_on)  # which refuses to evaluate on what is not there
        return [found]
    names = parts_of(place, list(found), evaluate_on)
    if names is None:
        raise DatasetError(f"{place} must have a split train; found {shown(list(found))}")
    return [found[name] for name in names]


def _columns(place: Path, features: Any, datasets: Any) -> tuple[str, str]:
    """The columns of the images and of the classes."""
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    if not classes:
        plain = {name for name, kind in features.items() if isinstance(kind, datasets.Value)}
        classes = [name for name in LABELS if name in plain]
    if len(classes) > 1:
        classes = [name for name in LABELS if name in classes][:1]
    if len(images) != 1 or len(classes) != 1:
        raise DatasetError(
            f"{place} must have one column of images and one of classes, called "
            f"{' or '.join(LABELS)} if there are several; its columns are "
            f"{shown([f'{name}: {type(kind).__name__}' for name, kind in features.items()])}"
        )
    return images[0], classes[0]


def _labels(
    place: Path, parts: list[Any], column: str
) -> tuple[tuple[str, ...], Int[np.ndarray, " n"]]:
    """The names of the classes, and the class of every image of all parts."""
    values = [list(part[column]) for part in parts]
    names = getattr(parts[0].features[column], "names", None)
    if not all(values):
        raise DatasetError(f"{place} has a split without images")
    for value in (value for part in values for value in part):
        if type(value) not in (int, str) or (type(value) is int and value < 0):
            raise DatasetError(
                f"{place} must have a class for every image in {column}, an integer of at least 0 "
                f"or a string, got {value!r}"
            )
    if names is None:
        known = sorted(set(values[0]))
        unknown = sorted({v for part in values[1:] for v in part} - set(known))
        if unknown:
            raise DatasetError(f"{place}: {unknown[0]!r} is a class without training images")
        numbers = {value: number for number, value in enumerate(known)}
        values, names = [[numbers[v] for v in part] for part in values], list(map(str, known))
    if len(names) < 2:
        raise DatasetError(f"{place} must have at least two classes, got {shown(names)}")
    return tuple(names), np.concatenate([np.asarray(part, np.int32) for part in values])
