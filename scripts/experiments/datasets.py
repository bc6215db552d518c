"""The data sets by name, and what is used with each: network, views, batch size, archive."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from hcl_jax import data
from hcl_jax.augmentation import standardize
from hcl_jax.data import (
    REFERENCE_STATISTICS,
    ChannelStatistics,
    Dataset,
    ImageSet,
    ImageSetSpec,
    Split,
)
from hcl_jax.data.emnist_splits import EMNIST
from hcl_jax.data.idx_files import IdxSet
from hcl_jax.data.image_folder import FOLDER
from hcl_jax.data.indexed_rows import rows_of
from scripts.experiments.networks import HeadName, NetworkName
from scripts.experiments.options import ViewsName
from scripts.experiments.own_data import OwnData, Source, kind_of, load_own, name_or_own

DATA_DIR = Path("data")
"""The default directory of prepared image data sets."""


LARGEST_SMALL = 40
"""Pixels of a side up to which images of one's own are given the small network."""


class Archive(NamedTuple):
    """The published archive of a data set, from which `scripts.prepare_data` prepares it.

    Attributes:
        file: name of the archive, or what to call its files.
        folder: the folder that it unpacks to; None where `scripts.data_preparation` has a builder
            of the same name as the data set, which downloads it.
        idx_set: what is known of its files, where it is one of idx files rather than an archive.
        more: further files of it.
    """

    file: str
    folder: str | None = None
    idx_set: IdxSet | None = None
    more: tuple[str, ...] = ()


class DatasetDefaults(NamedTuple):
    """A data set, and what an experiment on it uses unless it says otherwise.

    Attributes:
        load: loads it, given the directory of prepared data sets.
        image_shape: shape of one image, or the length of a vector.
        num_classes: number of classes.
        network: encoder.
        head: projection head.
        views: augmentation, where positives are two views of an image.
        batch_size: images in a step.
        statistics: mean and standard deviation of each channel; None where images are not
            standardised.
        archive: its archive, where it has to be prepared; of sets that share one, only the first.
        unlabelled: whether training sees images without labels, and only those; evaluations are on
            labelled images all the same.
    """

    load: Callable[[Path], Dataset | ImageSet]
    image_shape: tuple[int, ...]
    num_classes: int
    network: NetworkName
    head: HeadName
    views: ViewsName
    batch_size: int
    statistics: ChannelStatistics | None = None
    archive: Archive | None = None
    unlabelled: bool = False


def _image_set(
    load: Callable[[Path], ImageSet], spec: ImageSetSpec, archive: Archive, **changes: Any
) -> DatasetDefaults:
    """An image data set, used as the paper uses CIFAR-100 except for the changes."""
    defaults = DatasetDefaults(
        load,
        image_shape=spec.image_shape,
        num_classes=spec.num_classes,
        network="resnet50",
        head="paper",
        views="simclr",
        batch_size=512,
        statistics=spec.statistics,
        archive=archive,
    )
    return defaults._replace(**changes)


def _small_images(load: Callable[[Path], ImageSet], idx_set: IdxSet) -> DatasetDefaults:
    """A data set of small gray images, with a network that two cores train in minutes."""
    published = idx_set.archive.file if idx_set.archive else "the four idx files"
    archive = Archive(published, folder=idx_set.spec.name, idx_set=idx_set)
    small = {"network": "convnet", "head": "linear", "views": "shift"}
    return _image_set(load, idx_set.spec, archive, **small)


_STL10 = _image_set(data.stl10, data.STL10, Archive("stl10_binary.tar.gz"), batch_size=256)

_SVHN = _image_set(
    data.svhn,
    data.SVHN,
    Archive("train_32x32.mat", more=("test_32x32.mat", "extra_32x32.mat")),
)

DATASETS: Mapping[str, DatasetDefaults] = {
    # 20 Gaussian classes in 4 superclasses.
    "grouped": DatasetDefaults(
        lambda data_dir: data.gaussian_classes(jax.random.key(0)),
        image_shape=(64,),
        num_classes=20,
        network="mlp",
        head="linear",
        views="noise",
        batch_size=256,
    ),
    # 100 Gaussian classes in 20 superclasses, as CIFAR-100 has, which overlap once projected.
    "grouped100": DatasetDefaults(
        lambda data_dir: data.gaussian_classes(
            jax.random.key(0), num_classes=100, classes_per_group=5, dim=128, class_scale=0.2
        ),
        image_shape=(128,),
        num_classes=100,
        network="mlp",
        head="linear",
        views="noise",
        batch_size=512,
    ),
    # 1797 real handwritten digits.
    "digits": DatasetDefaults(
        lambda data_dir: data.digits(),
        image_shape=(8, 8, 1),
        num_classes=10,
        network="convnet",
        head="linear",
        views="shift",
        batch_size=128,
    ),
    # Three Gaussian classes in 3072 dimensions, embedded in the plane.
    "triangle": DatasetDefaults(
        lambda data_dir: data.three_gaussians(jax.random.key(0)),
        image_shape=(3072,),
        num_classes=3,
        network="mlp",
        head="linear",
        views="noise",
        batch_size=150,
    ),
    "mnist": _small_images(data.mnist, data.MNIST),
    "fashion_mnist": _small_images(data.fashion_mnist, data.FASHION_MNIST),
    "kmnist": _small_images(data.kmnist, data.KMNIST),
    **{
        f"emnist_{split}": _small_images(functools.partial(data.emnist, split=split), idx_set)
        for split, idx_set in EMNIST.items()
    },
    "cifar10": _image_set(data.cifar10, data.CIFAR10, Archive("cifar-10-binary.tar.gz")),
    "cifar100": _image_set(data.cifar100, data.CIFAR100, Archive("cifar-100-binary.tar.gz")),
    "svhn": _SVHN,
    "svhn_extra": _SVHN._replace(load=functools.partial(data.svhn, extra=True), archive=None),
    "stl10": _STL10,
    "stl10_unlabelled": _STL10._replace(
        load=functools.partial(data.stl10, unlabelled=True), archive=None, unlabelled=True
    ),
    "tiny_imagenet": _image_set(
        data.tiny_imagenet, data.TINY_IMAGENET, Archive(f"{FOLDER}.zip", folder=FOLDER)
    ),
}
DataName = Annotated[str, name_or_own(tuple(DATASETS))]


def own_defaults(source: Source, found: OwnData) -> DatasetDefaults:
    """What an experiment on data of one's own uses unless it says otherwise."""
    statistics = None
    if found.mean is not None and found.std is not None:
        statistics = ChannelStatistics(found.mean, found.std)
    vectors = DatasetDefaults(
        functools.partial(load_own, source),
        image_shape=found.image_shape,
        num_classes=found.num_classes,
        network="mlp",
        head="linear",
        views="noise",
        batch_size=min(256, found.num_train),
        statistics=statistics,
    )
    if len(found.image_shape) == 1:
        return vectors
    small, gray = max(found.image_shape[:2]) <= LARGEST_SMALL, found.image_shape[2] == 1
    return vectors._replace(
        network="convnet" if small else "resnet18",
        head="linear" if small else "paper",
        views="shift" if gray else "simclr",
    )


@functools.cache
def load_dataset(source: Source, data_dir: Path = DATA_DIR) -> Dataset | ImageSet:
    """The data set of an experiment, loaded once."""
    own = kind_of(source.data) is not None
    loaded = load_own(source, data_dir) if own else DATASETS[source.data].load(data_dir)
    if source.imbalance == 1:
        return loaded
    try:
        kept = data.long_tailed(
            np.asarray(loaded.train.labels),
            imbalance=source.imbalance,
            profile=source.imbalance_profile,
            seed=source.split_seed,
        )
    except ValueError as error:
        raise data.DatasetError(f"{source.data}: {error}") from error
    train = Split(rows_of(loaded.train.images, kept), loaded.train.labels[kept])
    thinned = loaded._replace(train=train)
    if own and isinstance(thinned, ImageSet):
        mean, std = data.channel_statistics(thinned.train.images)
        digest = thinned.digest and hashlib.sha256(thinned.digest.encode() + kept.tobytes())
        thinned = thinned._replace(mean=mean, std=std, digest=digest and digest.hexdigest())
    return thinned


def training_split(dataset: Dataset | ImageSet) -> Split:
    """The split that training sees: the images without labels, where they were loaded."""
    unlabelled = dataset.unlabelled if isinstance(dataset, ImageSet) else None
    return dataset.train if unlabelled is None else unlabelled


def standardization(
    defaults: DatasetDefaults, *, reference: bool
) -> Callable[[jax.Array], jax.Array] | None:
    """The function that standardises images in [0, 1]; None where they are taken as they are.

    With `reference` the constants are those of the authors' code, the same for every data set.
    """
    if defaults.statistics is None:
        return None
    chosen = REFERENCE_STATISTICS if reference else defaults.statistics
    return functools.partial(standardize, mean=chosen.mean, std=chosen.std)
