"""Losses with a hand-written gradient, which can be differentiated once, in reverse mode."""

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from hcl_jax.losses._derivatives import Embeddings, Mask
from hcl_jax.losses._reverse_mode import ONCE, reverse_mode_only
from hcl_jax.losses.anchor_losses import AnchorLosses


def differentiable_once(
    forward: Callable[[Any, Any, Embeddings], tuple[AnchorLosses, Any]],
    backward: Callable[[Any, Any, Embeddings, Any, Float[Array, " anchors"]], Embeddings],
    hyperparameters: Callable[[Any, Mask, Any, Embeddings, Float[Array, " anchors"]], Any],
) -> Callable[[Any, Any, Embeddings], AnchorLosses]:
    """The losses of `forward` with the gradient of `backward`.

    `forward` is a function of options (static), inputs (a pytree) and embeddings; it returns losses
    and residuals. `backward` gets the residuals and the derivative of the final scalar with respect
    to the total of every anchor, 0 where it is undefined, and returns the gradients with respect to
    the embeddings. `hyperparameters` is called only if the loss is differentiated with respect to a
    leaf of the inputs. It gets which leaves these are, after the options, and no residuals; it
    returns a pytree like the inputs, with None for no gradient.
    """
    forward, backward = _refuse_derivatives(forward), _refuse_derivatives(backward)
    hyperparameters = _refuse_derivatives(hyperparameters, static=2)

    def values(options: Any, inputs: Any, embeddings: Embeddings) -> AnchorLosses:
        return forward(options, inputs, embeddings)[0]

    def values_and_kept(options: Any, inputs: Any, embeddings: Any) -> tuple[AnchorLosses, Any]:
        leaves = jax.tree.leaves(inputs, is_leaf=_is_wrapped)
        # Which are differentiated is static, as the structure of a pytree without arrays is.
        marks = tuple(() if leaf.perturbed else None for leaf in leaves)
        inputs, embeddings = primal_values(inputs, embeddings)
        losses, residuals = forward(options, inputs, embeddings)
        return losses, (inputs, embeddings, residuals, losses.defined, marks)

    def gradients(options: Any, kept: Any, cotangents: Any) -> tuple[Any, Embeddings]:
        inputs, embeddings, residuals, defined, marks = kept
        of_totals = cotangents.total
        if isinstance(of_totals, SymbolicZero):
            zero: Any = of_totals.aval
            of_totals = jnp.zeros(zero.shape, zero.dtype)
        weight = jnp.where(defined, of_totals, 0)
        pairs = zip(
            backward(options, inputs, embeddings, residuals, weight), embeddings, strict=True
        )
        wanted, of_inputs = tuple(mark is not None for mark in marks), None
        if any(wanted):
            of_inputs = hyperparameters(options, wanted, inputs, embeddings, weight)
        return of_inputs, tuple(gradient.astype(rows.dtype) for gradient, rows in pairs)

    losses = jax.custom_vjp(values, nondiff_argnums=(0,))
    losses.defvjp(values_and_kept, gradients, symbolic_zeros=True)
    return reverse_mode_only(losses)


def primal_values(inputs: Any, embeddings: Any) -> tuple[Any, Any]:
    """Arguments of a rule with `symbolic_zeros`, without them."""
    return jax.tree.map(lambda leaf: leaf.value, (inputs, embeddings), is_leaf=_is_wrapped)


def _is_wrapped(leaf: Any) -> bool:
    return hasattr(leaf, "perturbed")


def _refuse_derivatives(function: Callable[..., Any], static: int = 1) -> Callable[..., Any]:
    """The same function to everyone but `jax.jvp`, which reaches it only second.

    Its first arguments, as many as `static`, are no arrays.
    """
    guarded = jax.custom_jvp(function, nondiff_argnums=tuple(range(static)))

    def refuse(*arguments: Any) -> NoReturn:
        raise NotImplementedError(ONCE)

    guarded.defjvp(refuse)
    return wraps(function)(guarded)
