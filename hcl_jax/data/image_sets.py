"""Sets of uint8 images on the host, and the statistics of their channels."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from hcl_jax.data.splits import Split
from hcl_jax.validation.arrays import check_array

Channels = tuple[float, ...]


class CoarseLabels(NamedTuple):
    """The superclass of every image, which no objective sees.

    Attributes:
        train: the superclass of every training image.
        test: the superclass of every test image.
        names: one name for each superclass.
    """

    train: Int[np.ndarray, " train"]
    test: Int[np.ndarray, " test"]
    names: tuple[str, ...]


class ImageSet(NamedTuple):
    """A training and a test split of uint8 images (n, height, width, channel) on the host.

    Attributes:
        train: training images and their int32 labels.
        test: test images and their int32 labels.
        num_classes: number of classes C.
        class_names: one name for each label.
        mean: mean of each channel over the training set, for values in [0, 1].
        std: standard deviation of each channel over the training set, for values in [0, 1].
        coarse_labels: superclasses, where the data set has them.
        unlabelled: images without a class, whose labels are -1, where they were asked for.
        digest: SHA-256 that differs where an image, a label or the order does, where it is known.
    """

    train: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...]
    mean: Channels
    std: Channels
    coarse_labels: CoarseLabels | None = None
    unlabelled: Split | None = None
    digest: str | None = None


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each channel over a set of images.

    Attributes:
        mean: mean of each channel, for values in [0, 1].
        std: standard deviation of each channel, for values in [0, 1].
    """

    mean: Channels
    std: Channels


class ImageSetSpec(NamedTuple):
    """What is known of an image data set before it is read.

    Attributes:
        name: its name in messages and on the command line.
        image_shape: (height, width, channel) of every image.
        classes: number of classes of each kind of label: of "label", and of "coarse_label" where
            there are superclasses.
        statistics: widely published mean and standard deviation of the training set.
        tfds_name: how TFDS calls it and its directory, where that is not `name`.
        named_classes: whether TFDS has a file of names of the classes; else names are numbers.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: Mapping[str, int]
    statistics: ChannelStatistics
    tfds_name: str | None = None
    named_classes: bool = True

    @property
    def num_classes(self) -> int:
        """Number of classes C that objectives see."""
        return self.classes["label"]


REFERENCE_STATISTICS = ChannelStatistics((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
"""What the authors' code uses for every data set: the mean of CIFAR-10, and the mean over its
images of the standard deviation within one image, which is smaller than that of the whole set."""


def channel_statistics(images: UInt8[Any, "n height width channel"]) -> ChannelStatistics:
    """Mean and standard deviation of each channel over all pixels of all images, divided by 255.

    Sums are exact integers, so that the order of the images does not matter.

    Args:
        images: uint8 images of one channel or three, at least one.

    Returns:
        The statistics that `ImageSet.mean` and `ImageSet.std` give, computed from these images.

    Raises:
        TypeError: for what is no array, or of another dtype: values in [0, 1] would count as 0.
        ValueError: for another shape, or if there is no image.

    Example:
        >>> import numpy as np
        >>> black_and_white = np.array([0, 255], np.uint8)[:, None, None, None]
        >>> channel_statistics(np.broadcast_to(black_and_white, (2, 4, 4, 3)))
        ChannelStatistics(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    """
    check_array("images", images)
    shape, dtype = np.shape(images), images.dtype
    if dtype != np.uint8:
        raise TypeError(f"images must have dtype uint8, got {dtype}")
    if len(shape) != 4 or 0 in shape or shape[3] not in (1, 3):
        raise ValueError(
            f"images must have shape (n, height, width, 1 or 3), none of them 0, got {shape}"
        )
    count = int(np.prod(shape[:3]))
    totals, squares = np.zeros(shape[3], np.uint64), np.zeros(shape[3], np.uint64)
    for start in range(0, len(images), 128):
        part = np.asarray(images[start : start + 128]).astype(np.uint32)
        # Over the images first, in 32 bits, which runs along the memory.
        totals += part.sum(axis=0, dtype=np.uint32).sum(axis=(0, 1), dtype=np.uint64)
        squares += np.square(part).sum(axis=0, dtype=np.uint32).sum(axis=(0, 1), dtype=np.uint64)
    # In Python's integers, whose products do not overflow.
    mean = [int(total) / count / 255 for total in totals]
    std = [
        (count * int(square) - int(total) ** 2) ** 0.5 / count / 255
        for total, square in zip(totals, squares, strict=True)
    ]
    return ChannelStatistics(tuple(mean), tuple(std))
