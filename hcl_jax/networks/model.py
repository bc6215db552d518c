"""Flax NNX networks as pure functions, from images to features and projections.

Only `hcl_jax.networks` imports Flax. A `Model` is a pair of pure functions over a pytree of arrays,
so that everything downstream can be jitted, mapped over seeds or sharded.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from chex import ArrayTree
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray


class Outputs(NamedTuple):
    """Outputs of a network on a batch.

    Attributes:
        features: outputs of the encoder.
        projections: outputs of the head on the features, before they are normalised.
    """

    features: Float[Array, "batch feature"]
    projections: Float[Array, "batch dim"]


class Variables(NamedTuple):
    """The arrays of a network.

    Attributes:
        params: trained parameters.
        batch_stats: running means and variances of batch norm; empty in a network without it.
    """

    params: ArrayTree
    batch_stats: ArrayTree


class Apply(Protocol):
    """Applies a network to a batch of images."""

    def __call__(
        self, variables: Variables, images: Float[Array, "batch *image"], *, training: bool
    ) -> tuple[Outputs, ArrayTree]:
        """The outputs, and the batch statistics after this batch.

        Args:
            variables: parameters and batch statistics of the network.
            images: floating-point images or vectors.
            training: whether batch norm uses the mean and variance of the batch, and updates its
                statistics; otherwise it uses its statistics and returns them unchanged.

        Returns:
            Features and projections, and batch statistics.

        Raises:
            ValueError, TypeError: for images of another shape, or that are not floating point.
        """
        ...


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
        init: ``init(key)`` draws the variables.
        apply: ``apply(variables, images, training=...)`` returns outputs and batch statistics.
    """

    init: Callable[[PRNGKeyArray], Variables]
    apply: Apply


class Network(nnx.Module):
    """An encoder and a projection head as one NNX module, from images to `Outputs`.

    Args:
        encoder: module from images to features.
        head: module from features to projections.
    """

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
        build: makes the module from random streams; called once for its shapes and in every `init`.
            Its variables are parameters and batch statistics, and it returns `Outputs`.
        image_shape: shape of one image, with None for a side of any length.

    Returns:
        The network as pure functions.

    Raises:
        NotImplementedError: for a module with other variables, such as the random streams that
            dropout keeps.
        TypeError: in `Model.apply`, if the module returns something else.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> model = pure(lambda rngs: Network(nnx.Linear(3, 4, rngs=rngs), nnx.Sequential()), (3,))
        >>> model.init(jax.random.key(0)).params["encoder"]["kernel"].shape
        (3, 4)
    """
    module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    graph, _, _, others = nnx.split(module, nnx.Param, nnx.BatchStat, ...)
    if found := sorted({type(variable).__name__ for _, variable in nnx.to_flat_state(others)}):
        raise NotImplementedError(
            f"the variables of a network must be nnx.Param or nnx.BatchStat, got {', '.join(found)}"
        )

    def init(key: PRNGKeyArray) -> Variables:
        _, params, batch_stats = nnx.split(build(nnx.Rngs(key)), nnx.Param, ...)
        return Variables(nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats))

    def apply(
        variables: Variables, images: Float[Array, "batch *image"], *, training: bool
    ) -> tuple[Outputs, ArrayTree]:
        _check_images(images, image_shape)
        module = nnx.merge(graph, variables.params, variables.batch_stats)
        module.train() if training else module.eval()
        outputs = module(images)
        if not isinstance(outputs, Outputs):
            raise TypeError(
                "a network must return hcl_jax.networks.Outputs, as hcl_jax.networks.Network of an "
                f"encoder and a head does, got {type(outputs).__name__}"
            )
        return outputs, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    return Model(init, apply)


def _check_images(images: Any, image_shape: tuple[int | None, ...]) -> None:
    found = images.shape[1:]
    sides = itertools.zip_longest(found, image_shape, fillvalue=-1)
    if images.ndim == 0 or not all(side in (None, length) for length, side in sides):
        sides = ", ".join("*" if side is None else str(side) for side in image_shape)
        raise ValueError(f"images must have shape (batch, {sides}), got {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be floating point, got dtype {images.dtype}")
