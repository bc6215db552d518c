"""CIFAR-10, CIFAR-100 and STL-10 as uint8 arrays on the host, with their channel statistics.

The files are those that TensorFlow Datasets prepares (`python -m scripts.prepare_data`); TensorFlow
is not needed. Images stay uint8 until they are on the device, see `hcl_jax.data.streaming`.
"""

from pathlib import Path

import numpy as np

from hcl_jax.data.image_sets import (
    CIFAR10_STATISTICS,
    CIFAR100_STATISTICS,
    REFERENCE_STATISTICS,
    STL10_STATISTICS,
    CoarseLabels,
    ImageSet,
    Statistics,
)
from hcl_jax.data.prepared import NO_CLASS, Expected, read_prepared, read_unlabelled
from hcl_jax.data.splits import Split


def cifar10(data_dir: Path, *, reference_statistics: bool = False) -> ImageSet:
    """CIFAR-10: 32 x 32 images of ten classes, 50 000 to train and 10 000 to test.

    Args:
        data_dir: the directory that `scripts.prepare_data` prepared it in.
        reference_statistics: normalise as the authors' code does.

    Returns:
        The images in the order of the files, which is shuffled and always the same. Mean and
        standard deviation are the widely published ones of the training set.

    Raises:
        DatasetError: if it is not prepared or damaged, or a package is missing.

    Example:
        >>> cifar10(Path("nowhere"))
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: cifar10 is not prepared in nowhere: looked for a directory
        nowhere/cifar10/VERSION with dataset_info.json and array_record files. Prepare it with
            python -m scripts.prepare_data cifar10 --data-dir nowhere
    """
    expected = Expected("cifar10", (32, 32, 3), {"label": 10})
    return _image_set(
        data_dir, expected, REFERENCE_STATISTICS if reference_statistics else CIFAR10_STATISTICS
    )


def cifar100(data_dir: Path, *, reference_statistics: bool = False) -> ImageSet:
    """CIFAR-100: 32 x 32 images of 100 classes in 20 superclasses, 50 000 to train, 10 000 to test.

    Args:
        data_dir: the directory that `scripts.prepare_data` prepared it in.
        reference_statistics: normalise as the authors' code does, with constants of CIFAR-10.

    Returns:
        The images in the order of the files, which is shuffled and always the same; labels are the
        fine ones. Mean and standard deviation are the widely published ones of the training set.

    Raises:
        DatasetError: if it is not prepared or damaged, or a package is missing.

    Example:
        >>> cifar100(Path("nowhere"))
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: cifar100 is not prepared in nowhere: looked for a
        directory nowhere/cifar100/VERSION with dataset_info.json and array_record files. Prepare it
        with
            python -m scripts.prepare_data cifar100 --data-dir nowhere
    """
    expected = Expected("cifar100", (32, 32, 3), {"label": 100, "coarse_label": 20})
    return _image_set(
        data_dir, expected, REFERENCE_STATISTICS if reference_statistics else CIFAR100_STATISTICS
    )


def stl10(data_dir: Path, *, unlabelled: bool = False) -> ImageSet:
    """STL-10: 96 x 96 images of ten classes, 5 000 to train and 8 000 to test.

    Args:
        data_dir: the directory that `scripts.prepare_data` prepared it in.
        unlabelled: whether to load the 100 000 images without labels too, 2.6 GiB. They are of
            these and other classes; without this they are neither read nor decoded.

    Returns:
        The images in the order of the files, which is shuffled and always the same. Mean and
        standard deviation are the widely published ones of the labelled training set.

    Raises:
        DatasetError: if it is not prepared or damaged, or a package is missing.

    Example:
        >>> stl10(Path("nowhere"))
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: stl10 is not prepared in nowhere: looked for a directory
        nowhere/stl10/VERSION with dataset_info.json and array_record files. Prepare it with
            python -m scripts.prepare_data stl10 --data-dir nowhere
    """
    expected = Expected("stl10", (96, 96, 3), {"label": 10})
    labelled = _image_set(data_dir, expected, STL10_STATISTICS)
    if not unlabelled:
        return labelled
    images = read_unlabelled(data_dir, expected)
    return labelled._replace(unlabelled=Split(images, np.full(len(images), NO_CLASS, np.int32)))


def _image_set(data_dir: Path, expected: Expected, statistics: Statistics) -> ImageSet:
    train, test, names = read_prepared(data_dir, expected)
    coarse = None
    if "coarse_label" in names:
        coarse = CoarseLabels(
            train.labels["coarse_label"], test.labels["coarse_label"], names["coarse_label"]
        )
    return ImageSet(
        train=Split(train.images, train.labels["label"]),
        test=Split(test.images, test.labels["label"]),
        num_classes=expected.classes["label"],
        class_names=names["label"],
        mean=statistics.mean,
        std=statistics.std,
        coarse_labels=coarse,
    )
