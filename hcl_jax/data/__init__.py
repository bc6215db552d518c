"""Data sets as arrays: synthetic, bundled, prepared by TFDS, idx files, or one's own."""

from hcl_jax.data.balanced_batches import class_balanced_batches
from hcl_jax.data.bundled import digits
from hcl_jax.data.emnist_splits import EMNIST, emnist
from hcl_jax.data.hugging_face import hugging_face_set
from hcl_jax.data.idx_files import FASHION_MNIST, KMNIST, MNIST, fashion_mnist, kmnist, mnist
from hcl_jax.data.image_folder import TINY_IMAGENET, tiny_imagenet
from hcl_jax.data.image_sets import (
    REFERENCE_STATISTICS,
    ChannelStatistics,
    CoarseLabels,
    ImageSet,
    ImageSetSpec,
    channel_statistics,
)
from hcl_jax.data.npz_sets import npz_set
from hcl_jax.data.own_folders import ClassFolders, class_folders, list_class_folders
from hcl_jax.data.own_tfds import tfds_set
from hcl_jax.data.splits import Dataset, DatasetError, Split
from hcl_jax.data.splitting import long_tailed, stratified_split
from hcl_jax.data.streaming import PlacedSplit, chunks, place_split
from hcl_jax.data.synthetic import gaussian_class_means, gaussian_classes, three_gaussians
from hcl_jax.data.tfds_sets import CIFAR10, CIFAR100, STL10, SVHN, cifar10, cifar100, stl10, svhn

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "EMNIST",
    "FASHION_MNIST",
    "KMNIST",
    "MNIST",
    "REFERENCE_STATISTICS",
    "STL10",
    "SVHN",
    "TINY_IMAGENET",
    "ChannelStatistics",
    "ClassFolders",
    "CoarseLabels",
    "Dataset",
    "DatasetError",
    "ImageSet",
    "ImageSetSpec",
    "PlacedSplit",
    "Split",
    "channel_statistics",
    "chunks",
    "cifar10",
    "cifar100",
    "class_balanced_batches",
    "class_folders",
    "digits",
    "emnist",
    "fashion_mnist",
    "gaussian_class_means",
    "gaussian_classes",
    "hugging_face_set",
    "kmnist",
    "list_class_folders",
    "long_tailed",
    "mnist",
    "npz_set",
    "place_split",
    "stl10",
    "stratified_split",
    "svhn",
    "tfds_set",
    "three_gaussians",
    "tiny_imagenet",
]


def __dir__() -> list[str]:
    return __all__
