"""The encoders and projection heads that an experiment can name."""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, NamedTuple

from hcl_jax import networks
from hcl_jax.networks import LINEAR, PAPER, Head, Model
from scripts.experiments.options import one_of

HEADS: Mapping[str, Head | None] = {"none": None, "linear": LINEAR, "paper": PAPER}
HeadName = Annotated[str, one_of(HEADS)]


class NetworkInputs(NamedTuple):
    """What a network is built from.

    Attributes:
        image_shape: shape of one image, or the length of a vector.
        num_classes: number of classes of the data set.
        dim: dimension of the projections.
        head: projection head.
        dtype: computation dtype of a residual network.
        axis_name: axis of the devices over which batch norm takes its statistics, if over several.
    """

    image_shape: tuple[int, ...]
    num_classes: int
    dim: int
    head: Head | None
    dtype: str = "float32"
    axis_name: str | None = None


def _mlp(inputs: NetworkInputs) -> Model:
    if len(inputs.image_shape) != 1:
        raise ValueError(f"an mlp takes vectors, but images here have shape {inputs.image_shape}")
    # The settings in which dimensional collapse shows in seconds.
    depth, width = (2, 128) if inputs.num_classes == 3 else (6, 256)
    return networks.mlp(
        inputs.image_shape[0],
        inputs.dim,
        depth=depth,
        width=width,
        head=inputs.head,
        axis_name=inputs.axis_name,
    )


def _convnet(inputs: NetworkInputs) -> Model:
    height, width, channels = _shape_of_images("convnet", inputs)
    return networks.convnet(
        (height, width, channels),
        inputs.dim,
        channels=(8, 16, 32),
        head=inputs.head,
        axis_name=inputs.axis_name,
    )


def _resnet(depth: Literal[18, 50], inputs: NetworkInputs) -> Model:
    *_, channels = _shape_of_images(f"resnet{depth}", inputs)
    return networks.resnet(
        inputs.dim,
        depth=depth,
        image_channels=channels,
        head=inputs.head,
        dtype=inputs.dtype,
        axis_name=inputs.axis_name,
    )


NETWORKS: Mapping[str, Callable[[NetworkInputs], Model]] = {
    "mlp": _mlp,
    "convnet": _convnet,
    "resnet18": functools.partial(_resnet, 18),
    "resnet50": functools.partial(_resnet, 50),
}
NetworkName = Annotated[str, one_of(NETWORKS)]

IN_ANY_DTYPE = ("resnet18", "resnet50")
"""Those that compute in another dtype than float32 where they are asked to."""


def has_batch_norm(network: str, head: str) -> bool:
    """Whether an encoder with a head has batch norm: all encoders but the mlp have."""
    chosen = HEADS[head]
    return network != "mlp" or (chosen is not None and bool(chosen.hidden) and chosen.batch_norm)


def _shape_of_images(name: str, inputs: NetworkInputs) -> tuple[int, int, int]:
    shape = inputs.image_shape
    if len(shape) != 3:
        raise ValueError(f"{name} takes images, but those here are vectors of shape {shape}")
    return shape[0], shape[1], shape[2]
