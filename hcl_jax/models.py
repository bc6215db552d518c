"""Features and projections: Flax NNX networks as pure functions.

This is the only module that knows Flax. A `Model` is a pair of pure functions over a pytree of
arrays, so everything downstream may be jitted, mapped over seeds or sharded without further ado.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chex import ArrayTree
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

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
    head_width: int | None = None,
    axis_name: str | None = None,
) -> Model:
    """A multilayer perceptron on vectors, and a projection head.

    Args:
        input_dim: length of the input vectors.
        dim: dimension of the projections.
        depth: hidden layers of the encoder, each linear, (batch norm,) ReLU.
        width: units of each hidden layer; the features are the last of them.
        batch_norm: whether the hidden layers are batch-normalised.
        head_width: hidden units of the head (see `projection_head`); None is a linear head.
        axis_name: an axis of devices over which batch norm takes its statistics in training; None
            for the statistics of each device alone.

    Returns:
        The network as pure functions.

    Raises:
        ValueError, TypeError: for a count below one.

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
            for layer in _hidden_layer(before, after, batch_norm, axis_name, rngs)
        ]
        return Network(
            nnx.Sequential(*layers),
            projection_head(width, dim, head_width, rngs, axis_name=axis_name),
        )

    return _pure(build)


def convnet(
    image_shape: tuple[int, int, int],
    dim: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    head_width: int | None = None,
    axis_name: str | None = None,
) -> Model:
    """A small convolutional network for small images, and a projection head.

    Args:
        image_shape: (height, width, channel) of the images.
        dim: dimension of the projections.
        channels: of the 3 x 3 convolutions, each followed by batch norm and ReLU; all but the first
            halve the image. Features are the mean over what is left of the image.
        head_width: hidden units of the head (see `projection_head`); None is a linear head.
        axis_name: an axis of devices over which batch norm takes its statistics in training; None
            for the statistics of each device alone.

    Returns:
        The network as pure functions.

    Raises:
        ValueError, TypeError: for a count below one.

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
                nnx.Conv(before, after, (3, 3), strides=stride, use_bias=False, rngs=rngs),
                nnx.BatchNorm(after, momentum=0.9, axis_name=axis_name, rngs=rngs),
                nnx.relu,
            ]
            before = after
        layers.append(_mean_over_image)
        return Network(
            nnx.Sequential(*layers),
            projection_head(before, dim, head_width, rngs, axis_name=axis_name),
        )

    return _pure(build)


class Network(nnx.Module):
    """An encoder and a projection head, from images to `Outputs`."""

    def __init__(self, encoder: nnx.Module, head: nnx.Module):
        self.encoder = encoder
        self.head = head

    def __call__(self, images: Float[Array, "batch *image"]) -> Outputs:
        """Features and projections of a batch."""
        features = self.encoder(images)
        return Outputs(features, self.head(features))


def projection_head(
    features: int,
    dim: int,
    hidden: int | None,
    rngs: nnx.Rngs,
    *,
    axis_name: str | None = None,
) -> nnx.Module:
    """A linear head, or the head of the paper's experiments.

    Args:
        features: dimension of the encoder features.
        dim: dimension of the projections.
        hidden: None for a linear head; else the width of the hidden layer of linear without bias,
            batch norm, ReLU, linear.
        rngs: the random streams of the initialisation.
        axis_name: as in `mlp`.

    Returns:
        An NNX module.

    Raises:
        ValueError, TypeError: for a count below one.

    Example:
        >>> import jax
        >>> head = projection_head(8, 2, None, nnx.Rngs(0))
        >>> head(jax.numpy.ones((3, 8))).shape
        (3, 2)
    """
    check_count("features", features)
    check_count("dim", dim)
    if hidden is None:
        return nnx.Linear(features, dim, rngs=rngs)
    check_count("hidden", hidden)
    return nnx.Sequential(
        *_hidden_layer(features, hidden, True, axis_name, rngs),
        nnx.Linear(hidden, dim, rngs=rngs),
    )


def _hidden_layer(before, after, batch_norm, axis_name, rngs):
    if not batch_norm:
        return [nnx.Linear(before, after, rngs=rngs), nnx.relu]
    return [
        nnx.Linear(before, after, use_bias=False, rngs=rngs),
        nnx.BatchNorm(after, momentum=0.9, axis_name=axis_name, rngs=rngs),
        nnx.relu,
    ]


def _mean_over_image(maps):
    return maps.mean(axis=(1, 2))


def _pure(build: Callable[[nnx.Rngs], Network]) -> Model:
    """Splits an NNX module, once, into a static graph and pytrees of plain arrays."""
    graph, *_ = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))), nnx.Param, ...)

    def init(key: PRNGKeyArray) -> Variables:
        _, params, batch_stats = nnx.split(build(nnx.Rngs(key)), nnx.Param, ...)
        return Variables(nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats))

    def apply(
        variables: Variables, images: Float[Array, "batch *image"], training: bool
    ) -> tuple[Outputs, ArrayTree]:
        module = nnx.merge(graph, variables.params, variables.batch_stats)
        module.train() if training else module.eval()
        outputs = module(images)
        return outputs, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    return Model(init, apply)
