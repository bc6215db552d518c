"""ResNet-18 and ResNet-50 (He et al., arXiv 1512.03385), as torchvision has them.

The blocks are those of torchvision, which the paper's experiments use: a strided bottleneck strides
in its 3 x 3 convolution, every 3 x 3 convolution is padded by one on each side (XLA's "SAME" pads a
strided one on the right only), and kernels are drawn from He's normal law with the fan of the
outputs. One thing differs: the running variance of batch norm averages the variance that normalised
the batch, where PyTorch rescales that by n / (n - 1) for n = images x pixels. Training is the same;
evaluation differs by less than 0.01 % of a variance once n exceeds 10000.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from hcl_jax.networks.batch_norm import BatchNorm
from hcl_jax.networks.convolutions import square_convolution
from hcl_jax.networks.heads import PAPER, Head, projection_head
from hcl_jax.networks.model import Model, Network, pure
from hcl_jax.networks.small import mean_over_image
from hcl_jax.precision import wide_dtype
from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_choice

Stem = Literal["cifar", "imagenet"]
"""First layers of a residual network: one 3 x 3 convolution for small images ("cifar"), or a 7 x 7
convolution of stride 2 and a 3 x 3 max-pool of stride 2 ("imagenet")."""


class Architecture(NamedTuple):
    """The blocks of a residual network of some depth.

    Attributes:
        blocks: number of blocks in each of the four stages.
        bottleneck: whether a block is 1 x 1, 3 x 3, 1 x 1 convolutions, the last of them four times
            as wide; otherwise it is two 3 x 3 convolutions.
    """

    blocks: tuple[int, ...]
    bottleneck: bool


ARCHITECTURES = {18: Architecture((2, 2, 2, 2), False), 50: Architecture((3, 4, 6, 3), True)}


def resnet(
    dim: int,
    *,
    depth: Literal[18, 50] = 50,
    stem: Stem = "cifar",
    image_channels: int = 3,
    width: int = 64,
    head: Head | None = PAPER,
    zero_init: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
) -> Model:
    """A residual network, and a projection head.

    Args:
        dim: dimension of the projections.
        depth: 18, with 8 x width features, or 50, with 32 x width features.
        stem: "cifar" for a 3 x 3 convolution, the paper's for small images; "imagenet" for a 7 x 7
            convolution of stride 2 and a 3 x 3 max-pool of stride 2.
        image_channels: number of channels of the images.
        width: channels of the stem and of the narrow convolutions of the first stage.
        head: the projection head; None takes the features as projections.
        zero_init: whether the scale of the last batch norm of each block is initialised at zero, so
            that every block begins as its shortcut.
        dtype: computation dtype of the convolutions, and dtype of their outputs. Parameters and
            batch statistics are float32, features and projections at least float32.
        axis_name: name of the axis of devices over which batch norm takes its statistics in
            training; None for the statistics of each device by itself.

    Returns:
        The network as pure functions.

    Raises:
        ValueError, TypeError: for a count below one, another depth or stem, or for a `dim` other
            than that of the features without a head; when applied, for images of another shape, or
            not floating point.

    Example:
        >>> import functools
        >>> import jax
        >>> model = resnet(99, depth=18, width=4)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0))
        >>> images = jax.ShapeDtypeStruct((2, 32, 32, 3), jax.numpy.float32)
        >>> apply = functools.partial(model.apply, training=False)
        >>> outputs, _ = jax.eval_shape(apply, variables, images)
        >>> outputs.features.shape, outputs.projections.shape
        ((2, 32), (2, 99))
    """
    check_choice("depth", depth, tuple(ARCHITECTURES))
    check_choice("stem", stem, ("cifar", "imagenet"))
    for name, count in {"dim": dim, "image_channels": image_channels, "width": width}.items():
        check_count(name, count)
    architecture = ARCHITECTURES[depth]
    exact = wide_dtype(dtype)

    def build(rngs: nnx.Rngs) -> Network:
        layers = _Layers(rngs, jnp.dtype(dtype), axis_name, zero_init)
        encoder = nnx.Sequential(
            _stem(layers, stem, image_channels, width),
            *_blocks(layers, architecture, width),
            mean_over_image,
        )
        _draw_kernels(encoder, rngs)
        features = 8 * width * (4 if architecture.bottleneck else 1)
        options = {"dtype": exact, "axis_name": axis_name}
        return Network(encoder, projection_head(features, dim, head, rngs, **options))

    return pure(build, (None, None, image_channels))


class Block(nnx.Module):
    """A residual block, ``relu(branch(x) + shortcut(x))``."""

    def __init__(self, branch: nnx.Sequential, shortcut: nnx.Sequential):
        self.branch = branch
        self.shortcut = shortcut

    def __call__(
        self, maps: Float[Array, "batch height width channel"]
    ) -> Float[Array, "batch height_after width_after channel_after"]:
        """The outputs of the block, in the dtype of its inputs."""
        return nnx.relu(self.branch(maps) + self.shortcut(maps)).astype(maps.dtype)


class _Layers(NamedTuple):
    """Makes the layers of one network, which share these options."""

    rngs: nnx.Rngs
    dtype: Any
    axis_name: str | None
    zero_init: bool

    def convolution(self, before: int, after: int, size: int, stride: int = 1) -> nnx.Conv:
        """A convolution; `_draw_kernels` draws its kernel."""
        return square_convolution(
            before,
            after,
            size,
            self.rngs,
            stride=stride,
            kernel_init=nnx.initializers.zeros,
            dtype=self.dtype,
        )

    def norm(self, channels: int, *, last: bool = False) -> BatchNorm:
        """Batch norm, computed and returned in at least float32; `last` is the last of a block."""
        zero = last and self.zero_init
        return BatchNorm(
            channels,
            momentum=0.9,
            epsilon=1e-5,
            dtype=wide_dtype(self.dtype),
            scale_init=nnx.initializers.zeros if zero else nnx.initializers.ones,
            axis_name=self.axis_name,
            rngs=self.rngs,
        )


def _draw_kernels(encoder: nnx.Module, rngs: nnx.Rngs) -> None:
    """He's normal law for all convolutions; one draw compiles faster than one for each kernel."""
    kernels = [
        module.kernel for _, module in nnx.iter_modules(encoder) if isinstance(module, nnx.Conv)
    ]
    ends = np.cumsum([kernel.size for kernel in kernels])
    normals = jax.random.normal(rngs.params(), (ends[-1],), jnp.float32)
    for kernel, drawn in zip(kernels, jnp.split(normals, ends[:-1]), strict=True):
        height, width, _, channels = kernel.shape
        deviation = math.sqrt(2 / (height * width * channels))
        kernel[...] = deviation * drawn.reshape(kernel.shape)


def _stem(layers: _Layers, stem: Stem, image_channels: int, width: int) -> nnx.Sequential:
    size, stride = (3, 1) if stem == "cifar" else (7, 2)
    return nnx.Sequential(
        layers.convolution(image_channels, width, size, stride),
        layers.norm(width),
        functools.partial(_relu, dtype=layers.dtype),
        *([_halving_max_pool] if stem == "imagenet" else []),
    )


def _blocks(layers: _Layers, architecture: Architecture, width: int) -> Iterator[Block]:
    """The blocks of all stages; each stage but the first halves the image and doubles the width."""
    before = width
    for stage, count in enumerate(architecture.blocks):
        narrow = width * 2**stage
        after = narrow * (4 if architecture.bottleneck else 1)
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            branch = _bottleneck if architecture.bottleneck else _two_convolutions
            yield Block(
                branch(layers, before, narrow, after, stride),
                _shortcut(layers, before, after, stride),
            )
            before = after


def _bottleneck(
    layers: _Layers, before: int, narrow: int, after: int, stride: int
) -> nnx.Sequential:
    return nnx.Sequential(
        layers.convolution(before, narrow, 1),
        layers.norm(narrow),
        nnx.relu,
        layers.convolution(narrow, narrow, 3, stride),
        layers.norm(narrow),
        nnx.relu,
        layers.convolution(narrow, after, 1),
        layers.norm(after, last=True),
    )


def _two_convolutions(
    layers: _Layers, before: int, narrow: int, after: int, stride: int
) -> nnx.Sequential:
    return nnx.Sequential(
        layers.convolution(before, narrow, 3, stride),
        layers.norm(narrow),
        nnx.relu,
        layers.convolution(narrow, after, 3),
        layers.norm(after, last=True),
    )


def _shortcut(layers: _Layers, before: int, after: int, stride: int) -> nnx.Sequential:
    if before == after and stride == 1:
        return nnx.Sequential()
    return nnx.Sequential(layers.convolution(before, after, 1, stride), layers.norm(after))


def _relu(maps: Float[Array, "*maps"], *, dtype: DTypeLike) -> Float[Array, "*maps"]:
    return nnx.relu(maps).astype(dtype)


def _halving_max_pool(
    maps: Float[Array, "batch height width channel"],
) -> Float[Array, "batch height_after width_after channel"]:
    window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(maps, -jnp.inf, jax.lax.max, window, strides, padding)
