"""Features and projections: Flax NNX networks as pure functions.

Only the modules of networks know Flax. A `Model` is a pair of pure functions over a pytree of
arrays, so everything downstream may be jitted, mapped over seeds or sharded without further ado.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from chex import ArrayTree
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax import convolutions
from hcl_jax.heads import LINEAR, Head, hidden_layer, projection_head
from hcl_jax.validation import check_count


class Outputs(NamedTuple):
    """What a network makes of a batch: encoder features, and their projections by the head."""

    features: Float[Array, "batch feature"]
    projections: Float[Array, "batch dim"]


class Variables(NamedTuple):
    """What a network carries: trained parameters, and batch statistics (empty without them)."""

    params: ArrayTree
    batch_stats: ArrayTree


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
        init: ``key -> variables``.
        apply: ``(variables, images, training) -> (outputs, batch_stats)``. In training, batch
            normalisation uses the batch and returns updated statistics; otherwise it uses the
            carried statistics and returns them as they are.
    """

    init: Callable[[PRNGKeyArray], Variables]
    apply: Callable[[Variables, Float[Array, "batch *image"], bool], tuple[Outputs, ArrayTree]]


def mlp(
    input_dim: int,
    dim: int,
    *,
    depth: int = 5,
    width: int = 256,
    batch_norm: bool = False,
    head: Head | None = LINEAR,
    axis_name: str | None = None,
) -> Model:
    """A multilayer perceptron on vectors, and a projection head.

    Args:
        input_dim: length of the input vectors.
        dim: dimension of the projections.
        depth: hidden layers of the encoder, each linear, (batch norm,) ReLU.
        width: units of each hidden layer; the features are the last of them.
        batch_norm: whether the hidden layers are batch-normalised.
        head: makes the projections; None for none, where the features are the projections.
        axis_name: an axis of devices over which batch norm takes its statistics in training; None
            for the statistics of each device alone.

    Returns:
        The network as pure functions.

    Raises:
        ValueError, TypeError: for a count below one; when applied, for images of another shape or
            that are not floating point.

    Example:
        >>> import jax
        >>> model = mlp(64, 19)
        >>> variables = model.init(jax.random.key(0))
        >>> model.apply(variables, jax.numpy.ones((2, 64)), False)[0].projections.shape
        (2, 19)
    """
    counts = {"input_dim": input_dim, "dim": dim, "depth": depth, "width": width}
    for name, count in counts.items():
        check_count(name, count)
    widths = [input_dim] + [width] * depth

    def build(rngs):
        layers = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in hidden_layer(
                before, after, rngs, batch_norm=batch_norm, axis_name=axis_name
            )
        ]
        return Network(
            nnx.Sequential(*layers),
            projection_head(width, dim, head, rngs, axis_name=axis_name),
        )

    return pure(build, (input_dim,))


def convnet(
    image_shape: tuple[int, int, int],
    dim: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    head: Head | None = LINEAR,
    axis_name: str | None = None,
) -> Model:
    """A small convolutional network for small images, and a projection head.

    Args:
        image_shape: (height, width, channel) of the images.
        dim: dimension of the projections.
        channels: of the 3 x 3 convolutions, each followed by batch norm and ReLU; all but the first
            halve the image. Features are the mean over what is left of the image.
        head: makes the projections; None for none, where the features are the projections.
        axis_name: an axis of devices over which batch norm takes its statistics in training; None
            for the statistics of each device alone.

    Returns:
        The network as pure functions.

    Raises:
        ValueError, TypeError: for a count below one; when applied, for images of another shape or
            that are not floating point.

    Example:
        >>> import jax
        >>> model = convnet((8, 8, 1), 9)
        >>> variables = model.init(jax.random.key(0))
        >>> model.apply(variables, jax.numpy.ones((2, 8, 8, 1)), False)[0].features.shape
        (2, 128)
    """
    for count in (*image_shape, *channels, dim):
        check_count("every entry of image_shape and channels, and dim,", count)

    def build(rngs):
        layers, before = [], image_shape[-1]
        for number, after in enumerate(channels):
            stride = 1 if number == 0 else 2
            layers += [
                convolutions.layer(before, after, 3, rngs, stride=stride),
                nnx.BatchNorm(after, momentum=0.9, axis_name=axis_name, rngs=rngs),
                nnx.relu,
            ]
            before = after
        layers.append(mean_over_image)
        return Network(
            nnx.Sequential(*layers),
            projection_head(before, dim, head, rngs, axis_name=axis_name),
        )

    return pure(build, (None, None, image_shape[-1]))


class Network(nnx.Module):
    """An encoder and a projection head, from images to `Outputs`."""

    def __init__(self, encoder: nnx.Module, head: nnx.Module):
        self.encoder = encoder
        self.head = head

    def __call__(self, images: Float[Array, "batch *image"]) -> Outputs:
        """Features and projections of a batch."""
        features = self.encoder(images)
        return Outputs(features, self.head(features))


def mean_over_image(
    maps: Float[Array, "batch height width channel"],
) -> Float[Array, "batch channel"]:
    """The mean over the pixels, in at least float32.

    Args:
        maps: the outputs of a convolutional network.

    Returns:
        One vector for each image.

    Example:
        >>> import jax
        >>> mean_over_image(jax.numpy.ones((2, 4, 4, 3))).shape
        (2, 3)
    """
    return maps.mean(axis=(1, 2), dtype=jnp.promote_types(maps.dtype, jnp.float32))


def pure(build: Callable[[nnx.Rngs], Network], image_shape: tuple[int | None, ...]) -> Model:
    """A network as pure functions: its NNX module, split once into a static graph and arrays.

    Args:
        build: makes the module.
        image_shape: of one image; None for a side of any length.

    Returns:
        The network as pure functions.

    Example:
        >>> import jax
        >>> model = pure(lambda rngs: Network(nnx.Linear(3, 4, rngs=rngs), nnx.Sequential()), (3,))
        >>> model.init(jax.random.key(0)).params["encoder"]["kernel"].shape
        (3, 4)
    """
    graph, *_ = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))), nnx.Param, ...)

    def init(key: PRNGKeyArray) -> Variables:
        _, params, batch_stats = nnx.split(build(nnx.Rngs(key)), nnx.Param, ...)
        return Variables(nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats))

    def apply(
        variables: Variables, images: Float[Array, "batch *image"], training: bool
    ) -> tuple[Outputs, ArrayTree]:
        _check_images(images, image_shape)
        module = nnx.merge(graph, variables.params, variables.batch_stats)
        module.train() if training else module.eval()
        outputs = module(images)
        return outputs, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    return Model(init, apply)


def _check_images(images, image_shape):
    found = images.shape[1:]
    sides = itertools.zip_longest(found, image_shape, fillvalue=-1)
    if images.ndim == 0 or not all(side in (None, length) for length, side in sides):
        sides = ", ".join("*" if side is None else str(side) for side in image_shape)
        raise ValueError(f"images must have shape (batch, {sides}), got {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be floating point, got dtype {images.dtype}")
