"""Projections: what a head makes of features, as Flax NNX modules."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import DTypeLike

from hcl_jax.validation import check_choice, check_count

Start = Literal["lecun", "uniform"]
"""How a linear layer starts: weights from LeCun's normal law and biases at zero (Flax's default),
or both uniform between -1 / sqrt(inputs) and 1 / sqrt(inputs) (PyTorch's default)."""


class Head(NamedTuple):
    """What makes projections of features: hidden layers, if any, then a linear layer.

    Attributes:
        hidden: the widths of the hidden layers.
        batch_norm: whether a hidden layer is linear without bias, batch norm and ReLU; otherwise
            it is linear with bias and ReLU.
        start: how the linear layers start.
    """

    hidden: tuple[int, ...] = ()
    batch_norm: bool = True
    start: Start = "lecun"


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
        axis_name: as in `hcl_jax.networks.small.mlp`.

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
            before,
            width,
            rngs,
            batch_norm=head.batch_norm,
            start=head.start,
            dtype=dtype,
            axis_name=axis_name,
        )
        before = width
    return nnx.Sequential(*layers, _linear(before, dim, rngs, start=head.start, dtype=dtype))


def hidden_layer(
    before: int,
    after: int,
    rngs: nnx.Rngs,
    *,
    batch_norm: bool,
    start: Start = "lecun",
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
) -> list:
    """Linear, (batch norm,) ReLU.

    Args:
        before: units of the layer before.
        after: units of this layer.
        rngs: the random streams of the initialisation.
        batch_norm: whether there is batch norm; the linear layer then has no bias.
        start: how the linear layer starts.
        dtype: of the computation.
        axis_name: as in `hcl_jax.networks.small.mlp`.

    Returns:
        The parts, to be called one after the other.

    Example:
        >>> len(hidden_layer(4, 8, nnx.Rngs(0), batch_norm=True))
        3
    """
    linear = _linear(before, after, rngs, use_bias=not batch_norm, start=start, dtype=dtype)
    if not batch_norm:
        return [linear, nnx.relu]
    norm = nnx.BatchNorm(after, momentum=0.9, dtype=dtype, axis_name=axis_name, rngs=rngs)
    return [linear, norm, nnx.relu]


def _linear(before, after, rngs, *, start, dtype, use_bias=True):
    laws = {
        "lecun": (nnx.initializers.lecun_normal(), nnx.initializers.zeros),
        "uniform": (_uniform(1 / math.sqrt(before)),) * 2,
    }
    check_choice("start", start, tuple(laws))
    kernel, bias = laws[start]
    return nnx.Linear(
        before,
        after,
        use_bias=use_bias,
        kernel_init=kernel,
        bias_init=bias,
        dtype=dtype,
        rngs=rngs,
    )


def _uniform(bound):
    def draw(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
