"""Projections: what a head makes of features, as Flax NNX modules."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import DTypeLike

from hcl_jax.validation import check_count


class Head(NamedTuple):
    """What makes projections of features: hidden layers, if any, then a linear layer.

    Attributes:
        hidden: the widths of the hidden layers.
        batch_norm: whether a hidden layer is linear without bias, batch norm and ReLU; otherwise
            it is linear with bias and ReLU.
    """

    hidden: tuple[int, ...] = ()
    batch_norm: bool = True


LINEAR = Head()
"""One linear layer."""

PAPER = Head((512,))
"""The head of the paper's experiments: linear to 512 without bias, batch norm, ReLU, linear."""


def projection_head(
    features: int,
    dim: int,
    head: Head | None,
    rngs: nnx.Rngs,
    *,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
) -> nnx.Module:
    """The module of a head.

    Args:
        features: dimension of the encoder features.
        dim: dimension of the projections.
        head: which head; None for none, where the features are the projections.
        rngs: the random streams of the initialisation.
        dtype: of the computation.
        axis_name: as in `hcl_jax.models.mlp`.

    Returns:
        An NNX module, of the features.

    Raises:
        ValueError, TypeError: for a count below one, and without a head for a `dim` that is not
            that of the features.

    Example:
        >>> import jax
        >>> head = projection_head(8, 2, PAPER, nnx.Rngs(0))
        >>> head(jax.numpy.ones((3, 8))).shape
        (3, 2)
    """
    check_count("features", features)
    check_count("dim", dim)
    if head is None:
        if dim != features:
            raise ValueError(f"without a head, dim must be that of the {features} features: {dim}")
        return nnx.Sequential()
    layers, before = [], features
    for width in head.hidden:
        check_count("every width of the hidden layers of the head", width)
        layers += hidden_layer(
            before, width, rngs, batch_norm=head.batch_norm, dtype=dtype, axis_name=axis_name
        )
        before = width
    return nnx.Sequential(*layers, nnx.Linear(before, dim, dtype=dtype, rngs=rngs))


def hidden_layer(
    before: int,
    after: int,
    rngs: nnx.Rngs,
    *,
    batch_norm: bool,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
) -> list:
    """Linear, (batch norm,) ReLU.

    Args:
        before: units of the layer before.
        after: units of this layer.
        rngs: the random streams of the initialisation.
        batch_norm: whether there is batch norm; the linear layer then has no bias.
        dtype: of the computation.
        axis_name: as in `hcl_jax.models.mlp`.

    Returns:
        The parts, to be called one after the other.

    Example:
        >>> len(hidden_layer(4, 8, nnx.Rngs(0), batch_norm=True))
        3
    """
    linear = nnx.Linear(before, after, use_bias=not batch_norm, dtype=dtype, rngs=rngs)
    if not batch_norm:
        return [linear, nnx.relu]
    norm = nnx.BatchNorm(after, momentum=0.9, dtype=dtype, axis_name=axis_name, rngs=rngs)
    return [linear, norm, nnx.relu]
