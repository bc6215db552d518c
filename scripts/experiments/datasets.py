"""What goes with a data set: how it is loaded, its network, its views."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import jax

from hcl_jax import augmentation, data, networks
from hcl_jax.augmentation import Augmentation, pixels, simclr
from hcl_jax.data import (
    REFERENCE_STATISTICS,
    ChannelStatistics,
    Dataset,
    ImageSet,
    ImageSetSpec,
    Split,
)
from hcl_jax.networks import LINEAR, PAPER, Head, Model

DataName = Literal[
    "grouped",
    "digits",
    "triangle",
    "cifar10",
    "cifar100",
    "stl10",
    "stl10_unlabelled",
    "tiny_imagenet",
]
NetworkName = Literal["mlp", "convnet", "resnet18", "resnet50"]
HeadName = Literal["none", "linear", "paper"]
ViewsName = Literal["identity", "noise", "shift", "simclr"]

DATA_DIR = Path("data")
"""Where image data sets lie if nothing else is said."""

HEADS: Mapping[str, Head | None] = {"none": None, "linear": LINEAR, "paper": PAPER}


class Setting(NamedTuple):
    """A data set, and what is used with it unless an experiment says otherwise.

    Attributes:
        load: from the directory of data sets.
        image_shape: of one image, or the length of a vector.
        num_classes: how many classes it has.
        network: the encoder.
        head: the projection head.
        views: how views of an image are made where there are two of each.
        batch_size: images in a step.
        statistics: mean and standard deviation of the channels; None where images are taken as
            they are.
        unlabelled: whether training sees the images without labels, and only those; evaluations
            are on the labelled ones all the same.
    """

    load: Callable[[Path], Dataset | ImageSet]
    image_shape: tuple[int, ...]
    num_classes: int
    network: NetworkName
    head: HeadName
    views: ViewsName
    batch_size: int
    statistics: ChannelStatistics | None = None
    unlabelled: bool = False


def _photographs(
    load: Callable[[Path], ImageSet], spec: ImageSetSpec, *, batch_size: int = 512
) -> Setting:
    """An image data set, used as the paper uses CIFAR-100."""
    return Setting(
        load=load,
        image_shape=spec.image_shape,
        num_classes=spec.num_classes,
        network="resnet50",
        head="paper",
        views="simclr",
        batch_size=batch_size,
        statistics=spec.statistics,
    )


_STL10 = _photographs(data.stl10, data.STL10, batch_size=256)

SETTINGS: Mapping[str, Setting] = {
    # 20 Gaussian classes in 4 superclasses.
    "grouped": Setting(
        load=lambda _: data.gaussian_classes(jax.random.key(0)),
        image_shape=(64,),
        num_classes=20,
        network="mlp",
        head="linear",
        views="noise",
        batch_size=256,
    ),
    # 1797 real handwritten digits.
    "digits": Setting(
        load=lambda _: data.digits(),
        image_shape=(8, 8, 1),
        num_classes=10,
        network="convnet",
        head="linear",
        views="shift",
        batch_size=128,
    ),
    # Three Gaussian classes in 3072 dimensions, embedded in the plane.
    "triangle": Setting(
        load=lambda _: data.three_gaussians(jax.random.key(0)),
        image_shape=(3072,),
        num_classes=3,
        network="mlp",
        head="linear",
        views="noise",
        batch_size=150,
    ),
    "cifar10": _photographs(data.cifar10, data.CIFAR10),
    "cifar100": _photographs(data.cifar100, data.CIFAR100),
    "stl10": _STL10,
    "stl10_unlabelled": _STL10._replace(
        load=functools.partial(data.stl10, unlabelled=True), unlabelled=True
    ),
    "tiny_imagenet": _photographs(data.tiny_imagenet, data.TINY_IMAGENET),
}


@functools.cache
def dataset_of(name: str, data_dir: Path = DATA_DIR) -> Dataset | ImageSet:
    """The data set of this name, loaded once."""
    return SETTINGS[name].load(data_dir.expanduser())


def trained_on(dataset: Dataset | ImageSet) -> Split:
    """The split that training sees: images without labels where they were loaded."""
    unlabelled = dataset.unlabelled if isinstance(dataset, ImageSet) else None
    return dataset.train if unlabelled is None else unlabelled


def network(
    setting: Setting,
    dim: int,
    *,
    name: NetworkName,
    head: HeadName,
    reference: bool = False,
    dtype: str = "float32",
    axis_name: str | None = None,
) -> Model:
    """An encoder and a head for the images of a data set.

    Args:
        setting: of the data set.
        dim: dimension of the projections.
        name: of the encoder.
        head: of the projections.
        reference: whether the head starts as PyTorch has it, as in the reference code.
        dtype: in which a residual network computes.
        axis_name: an axis of devices over which batch norm takes its statistics.

    Returns:
        The network.

    Raises:
        ValueError: if the encoder does not take such images, or not such a dtype.
    """
    shape, top = setting.image_shape, HEADS[head]
    if top is not None and reference:
        top = top._replace(init="uniform")
    if name == "mlp":
        if len(shape) != 1:
            raise ValueError(f"an mlp takes vectors, but images here have shape {shape}")
        # The settings in which the phenomenon shows in seconds.
        depth, width = (2, 128) if setting.num_classes == 3 else (6, 256)
        return networks.mlp(shape[0], dim, depth=depth, width=width, head=top, axis_name=axis_name)
    if len(shape) != 3:
        raise ValueError(f"{name} takes images, but those here are vectors of shape {shape}")
    if name == "convnet":
        return networks.convnet(
            (shape[0], shape[1], shape[2]),
            dim,
            channels=(8, 16, 32),
            head=top,
            axis_name=axis_name,
        )
    return networks.resnet(
        dim,
        depth=18 if name == "resnet18" else 50,
        image_channels=shape[-1],
        head=top,
        dtype=dtype,
        axis_name=axis_name,
    )


def views(setting: Setting, name: ViewsName) -> Augmentation:
    """The augmentation of this name for the images of a data set."""
    noise = augmentation.gaussian_noise(0.01)
    if name == "identity":
        return augmentation.identity
    if name == "noise":
        return noise
    if name == "shift":
        return augmentation.compose(augmentation.random_shift(1), noise)
    size = setting.image_shape[0]
    return simclr(size, blur=size > 32)


def standardization(
    setting: Setting, *, reference: bool
) -> Callable[[jax.Array], jax.Array] | None:
    """How the channels of images are standardised.

    Args:
        setting: of the data set.
        reference: whether with the same constants for every set, as the reference code.

    Returns:
        A function of images in [0, 1]; None for sets that are taken as they are.
    """
    if setting.statistics is None:
        return None
    chosen = REFERENCE_STATISTICS if reference else setting.statistics
    return functools.partial(pixels.standardize, mean=chosen.mean, std=chosen.std)
