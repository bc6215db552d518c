"""Networks that train in seconds: a multilayer perceptron and a small convolutional network."""

import itertools
from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from hcl_jax.networks.batch_norm import BatchNorm
from hcl_jax.networks.convolutions import square_convolution
from hcl_jax.networks.heads import LINEAR, Head, hidden_layer, projection_head
from hcl_jax.networks.model import Model, Network, pure
from hcl_jax.precision import wide_dtype
from hcl_jax.validation.numbers import check_count


def mlp(
    input_dim: int,
    dim: int,
    *,
    depth: int = 5,
    width: int = 256,
    head: Head | None = LINEAR,
    axis_name: str | None = None,
) -> Model:
    """A multilayer perceptron on vectors, and a projection head.

    Args:
        input_dim: length of the input vectors.
        dim: dimension of the projections.
        depth: number of hidden layers of the encoder, each linear with bias and ReLU.
        width: units of each hidden layer, and dimension of the features.
        head: the projection head; None takes the features as projections.
        axis_name: name of the axis of devices over which the batch norm of the head takes its
            statistics in training; None for the statistics of each device by itself.

    Returns:
        The network as pure functions.

    Raises:
        ValueError, TypeError: for a count below one, or for a `dim` other than that of the features
            without a head; when applied, for images of another shape, or not floating point.

    Example:
        >>> import jax
        >>> model = mlp(64, 19)
        >>> variables = model.init(jax.random.key(0))
        >>> model.apply(variables, jax.numpy.ones((2, 64)), training=False)[0].projections.shape
        (2, 19)
    """
    counts = {"input_dim": input_dim, "dim": dim, "depth": depth, "width": width}
    for name, count in counts.items():
        check_count(name, count)
    widths = [input_dim] + [width] * depth

    def build(rngs: nnx.Rngs) -> Network:
        layers = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in hidden_layer(before, after, rngs, batch_norm=False)
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
        channels: output channels of each 3 x 3 convolution, which batch norm and ReLU follow. All
            but the first halve the image; features are the mean over the remaining pixels.
        head: the projection head; None takes the features as projections.
        axis_name: name of the axis of devices over which batch norm takes its statistics in
            training; None for the statistics of each device by itself.

    Returns:
        The network as pure functions.

    Raises:
        ValueError, TypeError: for a count below one, or for a `dim` other than that of the features
            without a head; when applied, for images of another shape, or not floating point.

    Example:
        >>> import jax
        >>> model = convnet((8, 8, 1), 9)
        >>> variables = model.init(jax.random.key(0))
        >>> outputs, _ = model.apply(variables, jax.numpy.ones((2, 8, 8, 1)), training=False)
        >>> outputs.features.shape
        (2, 128)
    """
    for count in (*image_shape, *channels, dim):
        check_count("every entry of image_shape and channels, and dim,", count)

    def build(rngs: nnx.Rngs) -> Network:
        layers, before = [], image_shape[-1]
        for number, after in enumerate(channels):
            stride = 1 if number == 0 else 2
            layers += [
                square_convolution(before, after, 3, rngs, stride=stride),
                BatchNorm(after, momentum=0.9, axis_name=axis_name, rngs=rngs),
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
    """The mean over the pixels, in at least float32."""
    return maps.mean(axis=(1, 2), dtype=wide_dtype(maps))
