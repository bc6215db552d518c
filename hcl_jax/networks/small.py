"""Networks that train in seconds: a multilayer perceptron and a small convolutional network."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from hcl_jax.networks import convolutions
from hcl_jax.networks.heads import LINEAR, Head, hidden_layer, projection_head
from hcl_jax.networks.model import Model, Network, pure
from hcl_jax.validation import check_count


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
