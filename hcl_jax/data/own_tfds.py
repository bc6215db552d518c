"""Any image classification set of TFDS that is already prepared as array_record files."""

import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hcl_jax.data.array_records import check_lengths
from hcl_jax.data.decoding import listing_of
from hcl_jax.data.image_sets import ImageSet
from hcl_jax.data.own_splits import (
    HELD_OUT,
    TEST_FRACTION,
    TRAINING,
    EvaluateOn,
    parts_of,
    shown,
    with_held_out,
)
from hcl_jax.data.splits import DatasetError
from hcl_jax.data.squares import Damaged, ImageSource, decoded_squares
from hcl_jax.data.tfds_directory import find_prepared, open_prepared
from hcl_jax.validation.options import check_path

LABEL = "label"
"""The feature that is taken for the classes where more than one could be."""


def tfds_set(
    name: str,
    data_dir: Path | str,
    *,
    image_size: int,
    cache_dir: Path | str,
    test_fraction: float = TEST_FRACTION,
    split_seed: int = 0,
    evaluate_on: EvaluateOn | None = None,
    damaged: Damaged = "refuse",
) -> ImageSet:
    """The images of a prepared TFDS data set, decoded once as those of `class_folders`.

    The data sets of the paper have loaders of their own, which keep the size of their images:
    `cifar10` and so on.

    Args:
        name: the name of the data set, as "beans", or with its configuration, as
            "imagenette/160px-v2". It has one `Image`, and one `ClassLabel`, or one called "label".
        data_dir: the directory in which TFDS prepared it, with ``file_format="array_record"``.
        image_size: height and width of the squares that images become, in pixels.
        cache_dir: directory in which decoded images are kept.
        test_fraction: share of every class that is held out where "train" is the only split of
            "train", "test" and "validation".
        split_seed: seed of that choice.
        evaluate_on: which split is held out where there are "test" and "validation"; None for
            "test" if it is there, and else "validation".
        damaged: "refuse", or "skip" images that cannot be read, with a warning that names them.

    Returns:
        As `class_folders`.

    Raises:
        DatasetError: if the data set is not prepared or is damaged, its features or splits are
            none of the above, a label is missing, there is a `test_fraction` or `split_seed`
            beside a split that is held out, or a package is missing.
        ValueError, TypeError: as `class_folders`.

    Example:
        >>> tfds_set("beans", "nowhere", image_size=32, cache_dir="data")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: beans is not prepared in nowhere: looked for a directory
        nowhere/beans/VERSION with dataset_info.json and array_record files...
    """
    advice = f'tensorflow_datasets.builder("{name}", file_format="array_record")'
    directory = find_prepared(
        check_path("data_dir", data_dir), name, f" with\n    {advice}.download_and_prepare()"
    )
    builder = open_prepared(directory)
    image, label = _features(directory, builder.info.features)
    known = [name for name in builder.info.splits if name in (TRAINING, *HELD_OUT)]
    splits = parts_of(directory, known, evaluate_on)
    if splits is None:
        found = shown(list(builder.info.splits))
        raise DatasetError(f"{directory} has no split {TRAINING}; found {found}")
    records = _Records(builder, splits, image, label)
    labels, names = records.labels(), tuple(builder.info.features[label].names)
    if labels.min() < 0 or labels.max() >= len(names):
        raise DatasetError(
            f"{directory} must have labels in 0..{len(names) - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )
    source = ImageSource(
        name.replace("/", "-"),
        directory,
        listing_of(directory),
        np.arange(len(labels)),
        labels,
        len(labels),
        names,
        open=records.image,
        describe=lambda number: f"image {number} of {directory}",
    )
    source = with_held_out(
        source, records.lengths, test_fraction=test_fraction, split_seed=split_seed
    )
    return decoded_squares(source, image_size=image_size, cache_dir=cache_dir, damaged=damaged)


class _Records:
    """The records of some splits, one after the other."""

    def __init__(self, builder: Any, splits: Sequence[str], image: str, label: str) -> None:
        decode = importlib.import_module("tensorflow_datasets").decode
        for split in splits:
            check_lengths(builder.info.splits[split])
        self._sources = [
            builder.as_data_source(split, decoders={image: decode.SkipDecoding()})
            for split in splits
        ]
        self._image, self._label = image, label
        self.lengths = [len(source) for source in self._sources]

    def labels(self) -> np.ndarray:
        """The class of every record."""
        return np.array(
            [record[self._label] for source in self._sources for record in source], np.int32
        )

    def image(self, number: int) -> BinaryIO:
        """The file of an image."""
        for source, length in zip(self._sources, self.lengths, strict=True):
            if number < length:
                return io.BytesIO(source[number][self._image])
            number -= length
        raise IndexError(number)


def _features(directory: Path, features: Any) -> tuple[str, str]:
    """The features of the image and of its class."""
    kinds = importlib.import_module("tensorflow_datasets").features
    images = [name for name, kind in features.items() if isinstance(kind, kinds.Image)]
    classes = [name for name, kind in features.items() if isinstance(kind, kinds.ClassLabel)]
    if len(classes) > 1:
        classes = [name for name in classes if name == LABEL]
    if len(images) != 1 or len(classes) != 1:
        found = shown([f"{name}: {type(kind).__name__}" for name, kind in features.items()])
        raise DatasetError(
            f"{directory} must have one image, and one class or one called {LABEL}; its features "
            f"are {found}"
        )
    return images[0], classes[0]
