"""Projection heads, from features to projections, as Flax NNX modules."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float, PRNGKeyArray

from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_choice

LinearInit = Literal["lecun", "uniform"]
"""How linear layers are initialised: weights from LeCun's normal law and biases at zero (Flax's
default), or both uniform between -1 / sqrt(inputs) and 1 / sqrt(inputs) (PyTorch's default)."""


class Head(NamedTuple):
    """A projection head: hidden layers, if any, then a linear layer.

    Attributes:
        hidden: widths of the hidden layers.
        batch_norm: whether a hidden layer is linear without bias, batch norm and ReLU; otherwise
            it is linear with bias and ReLU.
        init: how the linear layers are initialised.
    """

    hidden: tuple[int, ...] = ()
    batch_norm: bool = True
    init: LinearInit = "lecun"


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
) -> nnx.Sequential:
    """The module of a head; None is the identity, for which `dim` must equal `features`."""
    check_count("features", features)
    check_count("dim", dim)
    if head is None:
        if dim != features:
            raise ValueError(
                f"without a head, dim must be the number of features, {features}, got {dim}"
            )
        return nnx.Sequential()
    layers, before = [], features
    for width in head.hidden:
        check_count("every width of the hidden layers of the head", width)
        layers += hidden_layer(
            before,
            width,
            rngs,
            batch_norm=head.batch_norm,
            init=head.init,
            dtype=dtype,
            axis_name=axis_name,
        )
        before = width
    return nnx.Sequential(*layers, _linear(before, dim, rngs, init=head.init, dtype=dtype))


def hidden_layer(
    before: int,
    after: int,
    rngs: nnx.Rngs,
    *,
    batch_norm: bool,
    init: LinearInit = "lecun",
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
) -> list[Any]:
    """The modules of a hidden layer, to be applied one after the other: linear, batch norm, ReLU.

    With batch norm the linear layer has no bias.
    """
    linear = _linear(before, after, rngs, use_bias=not batch_norm, init=init, dtype=dtype)
    if not batch_norm:
        return [linear, nnx.relu]
    norm = nnx.BatchNorm(after, momentum=0.9, dtype=dtype, axis_name=axis_name, rngs=rngs)
    return [linear, norm, nnx.relu]


def _linear(
    before: int,
    after: int,
    rngs: nnx.Rngs,
    *,
    init: LinearInit,
    dtype: DTypeLike,
    use_bias: bool = True,
) -> nnx.Linear:
    initializers = {
        "lecun": (nnx.initializers.lecun_normal(), nnx.initializers.zeros),
        "uniform": (_uniform(1 / math.sqrt(before)),) * 2,
    }
    check_choice("init", init, tuple(initializers))
    kernel, bias = initializers[init]
    return nnx.Linear(
        before,
        after,
        use_bias=use_bias,
        kernel_init=kernel,
        bias_init=bias,
        dtype=dtype,
        rngs=rngs,
    )


def _uniform(bound: float) -> nnx.Initializer:
    def draw(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike) -> Float[Array, "..."]:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
