"""What a data set is: a training and a test split over the same classes."""

from typing import Any, NamedTuple

from jaxtyping import Int, Shaped


class DatasetError(Exception):
    """A data set is missing or damaged, or a package that reads it is; the message says which."""


class Split(NamedTuple):
    """Images (or vectors) and the class of each: float or uint8, in JAX's arrays or NumPy's."""

    images: Shaped[Any, "n *image"]
    labels: Int[Any, " n"]


class Dataset(NamedTuple):
    """A training and a test split over the same classes."""

    train: Split
    test: Split
    num_classes: int
