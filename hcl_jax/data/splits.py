"""What a data set is: a training and a test split over the same classes."""

from typing import Any, NamedTuple

from jaxtyping import Int, Shaped

NO_CLASS = -1
"""The label of an image whose class is not known."""


class DatasetError(Exception):
    """A data set, or a package that reads it, is missing or damaged; the message says which."""


class Split(NamedTuple):
    """Images (or vectors) and the class of each, as JAX or NumPy arrays.

    Attributes:
        images: floating-point or uint8 images, along the leading axis.
        labels: the class of each image, an integer from 0 to C - 1, or -1 where it is not known.
    """

    images: Shaped[Any, "n *image"]
    labels: Int[Any, " n"]


class Dataset(NamedTuple):
    """A training and a test split over the same classes.

    Attributes:
        train: images to train on, and their labels.
        test: images held out, and their labels.
        num_classes: number of classes C.
        class_names: one name for each label, where there are names.
    """

    train: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...] = ()
