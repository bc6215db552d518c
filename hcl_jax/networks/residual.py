"""ResNet-18 and ResNet-50 (He et al., arXiv 1512.03385), as torchvision has them.

The blocks are those of torchvision, which the paper's experiments use: a strided bottleneck strides
in its 3 x 3 convolution, every 3 x 3 convolution is padded by one on each side (XLA's "SAME" pads a
strided one on the right only), and convolutions start from He's normal law with the fan of the
outputs. One thing differs: the running variance of batch norm averages the variance that normalised
the batch, where PyTorch rescales that by n / (n - 1) for n = images x pixels. Training is the same;
evaluation differs by less than 0.01 % of a variance once n exceeds 10000.
"""

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from hcl_jax.networks import convolutions
from hcl_jax.networks.heads import PAPER, Head, projection_head
from hcl_jax.networks.model import Model, Network, pure
from hcl_jax.networks.small import mean_over_image
from hcl_jax.validation import check_choice, check_count

Stem = Literal["cifar", "imagenet"]


class Architecture(NamedTuple):
    """What the depth of a residual network stands for.

    Attributes:
        blocks: in each of the four stages.
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
        depth: 18, with features of 8 x width, or 50, with features of 32 x width.
        stem: "cifar" for a 3 x 3 convolution, the paper's for small images; "imagenet" for a 7 x 7
            convolution of stride 2 and a 3 x 3 max-pool of stride 2.
        image_channels: of the images.
        width: channels of the stem and of the narrow convolutions of the first stage.
        head: makes the projections; None for none, where the features are the projections.
        zero_init: whether the scale of the last batch norm of each block starts at zero, so that
            every block starts as its shortcut.
        dtype: of the convolutions and of what they pass on. Parameters, batch statistics, features
            and the head are float32 whatever it is.
        axis_name: an axis of devices over which batch norm takes its statistics in training; None
            for the statistics of each device alone.

    Returns:
        The network as pure functions.

    Raises:
        ValueError, TypeError: for a count below one, another depth or stem, or a `dim` that is not
            that of the features without a head; when applied, for images of another shape or that
            are not floating point.

    Example:
        >>> import jax
        >>> model = resnet(99, depth=18, width=4)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0))
        >>> images = jax.ShapeDtypeStruct((2, 32, 32, 3), jax.numpy.float32)
        >>> outputs, _ = jax.eval_shape(lambda v, x: model.apply(v, x, False), variables, images)
        >>> outputs.features.shape, outputs.projections.shape
        ((2, 32), (2, 99))
    """
    check_choice("depth", depth, tuple(ARCHITECTURES))
    check_choice("stem", stem, ("cifar", "imagenet"))
    for name, count in {"dim": dim, "image_channels": image_channels, "width": width}.items():
        check_count(name, count)
    architecture = ARCHITECTURES[depth]
    exact = jnp.promote_types(dtype, jnp.float32)

    def build(rngs):
        parts = _Parts(rngs, jnp.dtype(dtype), axis_name, zero_init)
        encoder = nnx.Sequential(
            _stem(parts, stem, image_channels, width),
            *_blocks(parts, architecture, width),
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
        """Maps after the block, in the dtype of those before."""
        return nnx.relu(self.branch(maps) + self.shortcut(maps)).astype(maps.dtype)


class _Parts(NamedTuple):
    """Makes the layers of one network."""

    rngs: nnx.Rngs
    dtype: Any
    axis_name: str | None
    zero_init: bool

    def convolution(self, before, after, size, stride=1):
        return convolutions.layer(
            before,
            after,
            size,
            self.rngs,
            stride=stride,
            kernel_init=nnx.initializers.zeros,  # see _draw_kernels
            dtype=self.dtype,
        )

    def norm(self, channels, *, last=False):
        """Batch norm, computed and passed on in at least float32."""
        zero = last and self.zero_init
        return nnx.BatchNorm(
            channels,
            momentum=0.9,
            epsilon=1e-5,
            dtype=jnp.promote_types(self.dtype, jnp.float32),
            scale_init=nnx.initializers.zeros if zero else nnx.initializers.ones,
            axis_name=self.axis_name,
            rngs=self.rngs,
        )


def _draw_kernels(encoder, rngs):
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


def _stem(parts, stem, image_channels, width):
    size, stride = (3, 1) if stem == "cifar" else (7, 2)
    layers = [
        parts.convolution(image_channels, width, size, stride),
        parts.norm(width),
        functools.partial(_relu, dtype=parts.dtype),
    ]
    return nnx.Sequential(*layers, *([_halving_max_pool] if stem == "imagenet" else []))


def _blocks(parts, architecture, width):
    before = width
    for stage, count in enumerate(architecture.blocks):
        narrow = width * 2**stage
        after = narrow * (4 if architecture.bottleneck else 1)
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            branch = _bottleneck if architecture.bottleneck else _two_convolutions
            yield Block(
                branch(parts, before, narrow, after, stride),
                _shortcut(parts, before, after, stride),
            )
            before = after


def _bottleneck(parts, before, narrow, after, stride):
    return nnx.Sequential(
        parts.convolution(before, narrow, 1),
        parts.norm(narrow),
        nnx.relu,
        parts.convolution(narrow, narrow, 3, stride),
        parts.norm(narrow),
        nnx.relu,
        parts.convolution(narrow, after, 1),
        parts.norm(after, last=True),
    )


def _two_convolutions(parts, before, narrow, after, stride):
    return nnx.Sequential(
        parts.convolution(before, narrow, 3, stride),
        parts.norm(narrow),
        nnx.relu,
        parts.convolution(narrow, after, 3),
        parts.norm(after, last=True),
    )


def _shortcut(parts, before, after, stride):
    if before == after and stride == 1:
        return nnx.Sequential()
    return nnx.Sequential(parts.convolution(before, after, 1, stride), parts.norm(after))


def _relu(maps, *, dtype):
    return nnx.relu(maps).astype(dtype)


def _halving_max_pool(maps):
    window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(maps, -jnp.inf, jax.lax.max, window, strides, padding)
