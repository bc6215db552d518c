"""The gradient of a loss of a whole batch with respect to the network, computed in parts.

A contrastive loss couples all rows, so it is not the mean of the losses of parts of the batch, and
adding up gradients of parts trains something else. With Z = f(theta) the projections of the batch,

    dL/dtheta = sum over parts p of (dZ_p / dtheta)^T dL/dZ_p,

where dL/dZ is that of the whole batch. So the network runs twice: once over all parts without
keeping anything but projections, for the loss and dL/dZ, and once more, part by part, to pull
dL/dZ_p back.
Memory for activations is that of one part; the result is that of the whole batch (Gao et al. 2021,
"Scaling deep contrastive learning batch size under memory limited setup"). Batch normalisation is
the exception: its statistics are those of a part.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hcl_jax.networks import Model, Variables
from hcl_jax.padding import varying_like

Loss = Callable[[Array], tuple[Array, Any]]
LossAndGradient = tuple[Float[Array, ""], Any, Any, Any]


def loss_and_gradient(
    model: Model,
    variables: Variables,
    images: Float[Array, "n *image"],
    loss_of: Loss,
    *,
    parts: int = 1,
) -> LossAndGradient:
    """The loss of a batch, and its gradient with respect to the parameters.

    Args:
        model: the network.
        variables: parameters and batch statistics of the network.
        images: the batch.
        loss_of: function from the projections (n, dim) to the loss and anything else to return.
        parts: number of parts in which the network sees the batch.

    Returns:
        The loss, what else `loss_of` returned, the gradient, and the new batch statistics.

    Raises:
        ValueError: if the batch cannot be cut into equal parts.

    Example:
        >>> import jax
        >>> from hcl_jax.networks import mlp
        >>> model = mlp(4, 2, depth=1, width=8)
        >>> variables, images = model.init(jax.random.key(0)), jax.numpy.ones((6, 4))
        >>> def loss_of(projections):
        ...     return (projections.mean(axis=0) ** 2).sum(), None
        >>> whole = loss_and_gradient(model, variables, images, loss_of)
        >>> cut = loss_and_gradient(model, variables, images, loss_of, parts=3)
        >>> bool(jax.numpy.allclose(whole[0], cut[0]))
        True
    """
    if len(images) % parts:
        raise ValueError(
            f"a batch of {len(images)} images cannot be cut into {parts} equal parts; choose a "
            f"number of parts that divides it"
        )
    if parts == 1:
        return _at_once(model, variables, images, loss_of)
    return _part_by_part(model, variables, images.reshape(parts, -1, *images.shape[1:]), loss_of)


def _at_once(
    model: Model, variables: Variables, images: Float[Array, "n *image"], loss_of: Loss
) -> LossAndGradient:
    """One forward and backward pass over all images."""

    def total(params: Any) -> tuple[Array, Any]:
        outputs, batch_stats = model.apply(
            Variables(params, variables.batch_stats), images, training=True
        )
        loss, rest = loss_of(outputs.projections)
        return loss, (rest, batch_stats)

    (loss, (rest, batch_stats)), gradient = jax.value_and_grad(total, has_aux=True)(
        variables.params
    )
    return loss, rest, gradient, batch_stats


def _part_by_part(
    model: Model, variables: Variables, parts: Float[Array, "parts n *image"], loss_of: Loss
) -> LossAndGradient:
    """Projections of all parts, then the gradient, pulled back part by part."""

    def forward(batch_stats: Any, images: Array) -> tuple[Any, Array]:
        outputs, batch_stats = model.apply(
            Variables(variables.params, batch_stats), images, training=True
        )
        return batch_stats, outputs.projections

    start = varying_like(variables.batch_stats, parts)
    batch_stats, projections = lax.scan(forward, start, parts)
    flat = projections.reshape(-1, projections.shape[-1])
    (loss, rest), pulls = jax.value_and_grad(loss_of, has_aux=True)(flat)

    def backward(gradient: Any, part: tuple[Array, Array]) -> tuple[Any, None]:
        images, pull = part

        def project(params: Any) -> Array:
            unchanged = Variables(params, variables.batch_stats)
            outputs, _ = model.apply(unchanged, images, training=True)
            return outputs.projections

        _, pull_back = jax.vjp(project, variables.params)
        return jax.tree.map(jnp.add, gradient, pull_back(pull)[0]), None

    zeros = varying_like(jax.tree.map(jnp.zeros_like, variables.params), parts)
    gradient, _ = lax.scan(backward, zeros, (parts, pulls.reshape(projections.shape)))
    return loss, rest, gradient, batch_stats
