"""Data sets as arrays: synthetic, bundled, prepared by TFDS, or folders of images."""

from hcl_jax.data.bundled import digits
from hcl_jax.data.image_folder import tiny_imagenet
from hcl_jax.data.image_sets import (
    REFERENCE_STATISTICS,
    CoarseLabels,
    ImageSet,
    Statistics,
    channel_statistics,
)
from hcl_jax.data.splits import Dataset, DatasetError, Split
from hcl_jax.data.streaming import chunks, fits, place
from hcl_jax.data.synthetic import gaussian_classes, three_gaussians
from hcl_jax.data.tfds_sets import cifar10, cifar100, stl10

__all__ = [
    "REFERENCE_STATISTICS",
    "CoarseLabels",
    "Dataset",
    "DatasetError",
    "ImageSet",
    "Split",
    "Statistics",
    "channel_statistics",
    "chunks",
    "cifar10",
    "cifar100",
    "digits",
    "fits",
    "gaussian_classes",
    "place",
    "stl10",
    "three_gaussians",
    "tiny_imagenet",
]
