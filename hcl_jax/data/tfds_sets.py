"""CIFAR-10, CIFAR-100, STL-10 and SVHN as uint8 arrays on the host, with their channel statistics.

The files are array_record files as TensorFlow Datasets prepares them; TensorFlow is not needed.
Images stay uint8 until they are on the device, see `hcl_jax.data.streaming`. A further data set of
TFDS is one `ImageSetSpec` and one function in this file.
"""

from pathlib import Path

import numpy as np

from hcl_jax.data.image_sets import (
    REFERENCE_STATISTICS,
    ChannelStatistics,
    CoarseLabels,
    ImageSet,
    ImageSetSpec,
)
from hcl_jax.data.splits import Split
from hcl_jax.data.tfds_directory import UNLABELLED, read_further, read_labelled

CIFAR10 = ImageSetSpec(
    name="cifar10",
    image_shape=(32, 32, 3),
    classes={"label": 10},
    statistics=ChannelStatistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
)

CIFAR100 = ImageSetSpec(
    name="cifar100",
    image_shape=(32, 32, 3),
    classes={"label": 100, "coarse_label": 20},
    statistics=ChannelStatistics((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)

STL10 = ImageSetSpec(
    name="stl10",
    image_shape=(96, 96, 3),
    classes={"label": 10},
    statistics=ChannelStatistics((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
)


SVHN = ImageSetSpec(
    name="svhn",
    image_shape=(32, 32, 3),
    classes={"label": 10},
    statistics=ChannelStatistics((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    tfds_name="svhn_cropped",
    named_classes=False,
)


def cifar10(data_dir: Path | str, *, reference_statistics: bool = False) -> ImageSet:
    """CIFAR-10: 32 x 32 images of ten classes, 50 000 to train and 10 000 to test.

    Args:
        data_dir: directory of data sets, in which TFDS prepared the directory `cifar10/`.
        reference_statistics: whether `mean` and `std` are the constants of the authors' code.

    Returns:
        The images in the order of the files, which is shuffled and always the same. Mean and
        standard deviation are the widely published ones of the training set.

    Raises:
        DatasetError: if the data set is not prepared or is damaged, or a package is missing.

    Example:
        >>> from pathlib import Path
        >>> cifar10(Path("nowhere"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: cifar10 is not prepared in nowhere: looked for a directory
        nowhere/cifar10/VERSION with dataset_info.json and array_record files. Prepare it, in a
        checkout of hcl-jax, with
            python -m scripts.prepare_data cifar10 --data-dir ...nowhere
    """
    return _image_set(data_dir, CIFAR10, reference_statistics=reference_statistics)


def cifar100(data_dir: Path | str, *, reference_statistics: bool = False) -> ImageSet:
    """CIFAR-100: 32 x 32 images of 100 classes in 20 superclasses, 50 000 to train, 10 000 to test.

    Args:
        data_dir: directory of data sets, in which TFDS prepared the directory `cifar100/`.
        reference_statistics: whether `mean` and `std` are the constants of the authors' code, which
            are those of CIFAR-10.

    Returns:
        The images in the order of the files, which is shuffled and always the same; labels are the
        fine ones. Mean and standard deviation are the widely published ones of the training set.

    Raises:
        DatasetError: if the data set is not prepared or is damaged, or a package is missing.

    Example:
        >>> from pathlib import Path
        >>> cifar100(Path("nowhere"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: cifar100 is not prepared in nowhere: looked for a
        directory nowhere/cifar100/VERSION with dataset_info.json and array_record files. Prepare
        it, in a checkout of hcl-jax, with
            python -m scripts.prepare_data cifar100 --data-dir ...nowhere
    """
    return _image_set(data_dir, CIFAR100, reference_statistics=reference_statistics)


def stl10(data_dir: Path | str, *, unlabelled: bool = False) -> ImageSet:
    """STL-10: 96 x 96 images of ten classes, 5 000 to train and 8 000 to test.

    Args:
        data_dir: directory of data sets, in which TFDS prepared the directory `stl10/`.
        unlabelled: whether to load the 100 000 images without labels too, 2.6 GiB. They are of
            these and other classes; without this option they are neither read nor decoded.

    Returns:
        The images in the order of the files, which is shuffled and always the same. Mean and
        standard deviation are the widely published ones of the labelled training set.

    Raises:
        DatasetError: if the data set is not prepared or is damaged, or a package is missing.

    Example:
        >>> from pathlib import Path
        >>> stl10(Path("nowhere"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: stl10 is not prepared in nowhere: looked for a directory
        nowhere/stl10/VERSION with dataset_info.json and array_record files. Prepare it, in a
        checkout of hcl-jax, with
            python -m scripts.prepare_data stl10 --data-dir ...nowhere
    """
    labelled = _image_set(data_dir, STL10)
    if not unlabelled:
        return labelled
    images, labels = read_further(Path(data_dir), STL10, UNLABELLED)
    return labelled._replace(unlabelled=Split(images, labels["label"]))


def svhn(data_dir: Path | str, *, extra: bool = False) -> ImageSet:
    """SVHN: 32 x 32 photographs of single house numbers, 73 257 to train and 26 032 to test.

    Args:
        data_dir: directory of data sets, in which TFDS prepared the directory `svhn_cropped/`.
        extra: whether to train on the 531 131 easier images of the split "extra" too, 1.5 GiB,
            which are otherwise neither read nor decoded.

    Returns:
        The images in the order of the files, which is shuffled and always the same, those of
        "extra" behind those of "train"; the class of a digit is the digit, also of 0, which the
        published files call 10. Mean and standard deviation are the widely published ones of the
        training set.

    Raises:
        DatasetError: if the data set is not prepared or is damaged, or a package is missing.

    Example:
        >>> from pathlib import Path
        >>> svhn(Path("nowhere"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: svhn_cropped is not prepared in nowhere: looked for a
        directory nowhere/svhn_cropped/VERSION with dataset_info.json and array_record files.
        Prepare it, in a checkout of hcl-jax, with
            python -m scripts.prepare_data svhn --data-dir ...nowhere
    """
    whole = _image_set(data_dir, SVHN)
    if not extra:
        return whole
    more = read_further(Path(data_dir), SVHN, "extra")
    train = (more.images, more.labels["label"])
    pairs = zip(whole.train, train, strict=True)
    return whole._replace(train=Split(*(np.concatenate(pair) for pair in pairs)))


def _image_set(
    data_dir: Path | str, spec: ImageSetSpec, *, reference_statistics: bool = False
) -> ImageSet:
    train, test, names = read_labelled(Path(data_dir), spec)
    coarse = None
    if "coarse_label" in names:
        coarse = CoarseLabels(
            train.labels["coarse_label"], test.labels["coarse_label"], names["coarse_label"]
        )
    statistics = REFERENCE_STATISTICS if reference_statistics else spec.statistics
    return ImageSet(
        train=Split(train.images, train.labels["label"]),
        test=Split(test.images, test.labels["label"]),
        num_classes=spec.num_classes,
        class_names=names["label"],
        mean=statistics.mean,
        std=statistics.std,
        coarse_labels=coarse,
    )
