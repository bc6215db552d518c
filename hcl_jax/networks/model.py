"""Features and projections: Flax NNX networks as pure functions.

Only the modules of networks know Flax. A `Model` is a pair of pure functions over a pytree of
arrays, so everything downstream may be jitted, mapped over seeds or sharded without further ado.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from chex import ArrayTree
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray


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


class Network(nnx.Module):
    """An encoder and a projection head, from images to `Outputs`."""

    def __init__(self, encoder: nnx.Module, head: nnx.Module):
        self.encoder = encoder
        self.head = head

    def __call__(self, images: Float[Array, "batch *image"]) -> Outputs:
        """Features and projections of a batch."""
        features = self.encoder(images)
        return Outputs(features, self.head(features))


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
