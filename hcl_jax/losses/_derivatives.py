r"""Losses with a hand-written gradient, differentiable any number of times in either mode.

Let ``F`` be the losses of all anchors, a function of everything else, and ``c`` one number an
anchor. All derivatives of F are in the forms

    M_k(c, v_1, .., v_k) = D^k <c, F> [v_1, .., v_k],

which are linear in c and in each v, and symmetric in the v. With one of the arguments left out such
a form is an array: without c it is the k-th directional derivative of F, the k-fold `jax.jvp` of
the forward pass. Without one v it is the (k - 1)-th directional derivative of the gradient
``M_1(c, .)``, the (k - 1)-fold `jax.jvp` of the backward pass. Neither needs reverse mode, which
would keep every tile.

What JAX differentiates is such an array as a linear map of another argument. Its transpose is the
same form with the two exchanged. For the tangent ``M_1(., v)`` of F it is ``M_1(c, .)``, the
hand-written gradient; for the tangent ``M_2(c, v, .)`` of the gradient it is itself, as a Hessian
is symmetric. The product rule says how forms change: with the point, ``M_k`` in the direction v is
``M_{k + 1}(.., v)``; with an argument, it is itself of the tangent of that argument.

The first derivative in reverse mode takes the `Passes` that are made for speed, all others the
plain ones, whose every step JAX differentiates in forward mode, in memory linear in the rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from hcl_jax.losses._linear_maps import Arrays, Tangents, apply_linear
from hcl_jax.losses.anchor_losses import AnchorLosses

Embeddings = tuple[Float[Array, "_ dim"], ...]
"""Everything a loss is differentiated with respect to: anchors, or anchors and candidates."""

Mask = tuple[bool, ...]
"""Which leaves of the point there are derivatives with respect to."""

Direction = tuple[Any, ...]
"""One array for each leaf of the point, None where it is zero."""


class Passes(NamedTuple):
    """The passes of a loss over tiles: ``pass(options, inputs, embeddings, ..)``, inputs a pytree.

    Attributes:
        options: what is static.
        forward: returns losses and residuals.
        backward: gets the residuals, and the derivative of the final scalar with respect to the
            total of every anchor, 0 where it is undefined; returns the gradients of the embeddings.
        hyperparameters: gets, after the options, which leaves of the inputs are wanted, and after
            what `backward` gets, the gradients of the embeddings; returns the gradients of the
            leaves in a pytree like the inputs, with None elsewhere.
    """

    options: Any
    forward: Callable[[Any, Any, Embeddings], tuple[AnchorLosses, Any]]
    backward: Callable[[Any, Any, Embeddings, Any, Float[Array, " anchors"]], Embeddings]
    hyperparameters: Callable[
        [Any, Mask, Any, Embeddings, Any, Float[Array, " anchors"], Embeddings], Any
    ]


def differentiable(
    passes: Passes, plain: Passes, inputs: Any, embeddings: Embeddings
) -> AnchorLosses:
    """The losses of `passes`; `plain` are those of the same losses for derivatives of any order.

    Both take eta as `hcl_jax.losses.tilted_infonce.TiltedInfoNCE.held` where it is held: that is
    how JAX knows of it when it differentiates them.
    """
    point, tree = jax.tree.flatten((inputs, embeddings))
    loss = _Loss(passes, plain, tree, len(point) - len(embeddings))
    return _losses(loss, tuple(point))[0]


class _Loss(NamedTuple):
    """A loss as a function of a point, all leaves of its inputs and its embeddings."""

    passes: Passes
    plain: Passes
    tree: Any
    inputs: int

    def forward(self, passes: Passes, point: Any) -> tuple[AnchorLosses, Any]:
        """Losses and residuals."""
        return passes.forward(passes.options, *self.tree.unflatten(point))

    def gradient(
        self,
        wanted: Mask,
        point: Any,
        cotangent: Float[Array, " anchors"],
        kept: tuple[AnchorLosses, Any] | None = None,
    ) -> Arrays:
        """``M_1(c, .)`` in the leaves that are wanted, by what a forward pass has `kept`."""
        passes = self.plain if kept is None else self.passes
        losses, residuals = self.forward(passes, point) if kept is None else kept
        inputs, embeddings = self.tree.unflatten(point)
        weight = jnp.where(losses.defined, cotangent, 0)
        given = (inputs, embeddings, residuals, weight)
        found = passes.backward(passes.options, *given)
        wanted_inputs, of_inputs = wanted[: self.inputs], []
        if any(wanted_inputs):
            gradients = passes.hyperparameters(passes.options, wanted_inputs, *given, found)
            of_inputs = jax.tree.leaves(gradients)
        of_embeddings = [x for x, is_ in zip(found, wanted[self.inputs :], strict=True) if is_]
        places = [x for x, is_ in zip(point, wanted, strict=True) if is_]
        pairs = zip([*of_inputs, *of_embeddings], places, strict=True)
        return [gradient.astype(jnp.result_type(leaf)) for gradient, leaf in pairs]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _losses(loss: _Loss, point: Any) -> tuple[AnchorLosses, Any]:
    """The losses, and what the forward pass keeps, which has no derivatives of its own."""
    return loss.forward(loss.passes, point)


@partial(_losses.defjvp, symbolic_zeros=True)
def _losses_change(loss: _Loss, points: Any, tangents: Any) -> tuple[Any, Any]:
    """The losses, and their tangents ``M_1(., v)``."""
    found = _losses(loss, *points)
    mask, given = _nonzero(tangents[0])
    slots = _Slots(found[0].total, points[0], kept=lax.stop_gradient(found))
    (of_total,) = _Form(loss, None, mask).apply(slots, given)
    still = jax.tree.map(_no_tangent, found)
    return found, (still[0]._replace(total=of_total), still[1])


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _gradient(
    loss: _Loss, wanted: Mask, point: Any, cotangent: Float[Array, " anchors"], kept: Any
) -> Arrays:
    """``M_1(c, .)`` by the residuals of the forward pass."""
    return loss.gradient(wanted, point, cotangent, kept)


@partial(_gradient.defjvp, symbolic_zeros=True)
def _gradient_change(loss: _Loss, wanted: Mask, values: Any, tangents: Any) -> tuple[Any, Any]:
    """The gradient and its tangents ``M_2(c, ., v)`` and ``M_1(c', .)``."""
    point, cotangent, kept = values
    found = _gradient(loss, wanted, *values)
    parts = []
    mask, given = _nonzero(tangents[0])
    if given:
        slots = _Slots(cotangent, point, cotangent)
        parts.append(_Form(loss, wanted, mask).apply(slots, given))
    if not isinstance(tangents[1], SymbolicZero):
        slots = _Slots(cotangent, point, kept=kept)
        parts.append(_Form(loss, wanted, None).apply(slots, [tangents[1]]))
    return found, _sums(parts) if parts else [_no_tangent(of) for of in found]


class _Slots(NamedTuple):
    """What a form depends on and is not linear in as a map.

    Attributes:
        like: an array of the type of the totals.
        point: the leaves of the inputs and the embeddings.
        cotangent: c, or None where it is left out or the map is linear in it.
        directions: those v that are not left out and in which the map is not taken to be linear.
        kept: losses and residuals of a forward pass, for the fast gradient.
    """

    like: Any
    point: tuple[Any, ...]
    cotangent: Any = None
    directions: tuple[Direction, ...] = ()
    kept: Any = None


class _Form(NamedTuple):
    """A form without one argument, as a linear map of another: c (None), or a v (its mask)."""

    loss: _Loss
    left_out: Mask | None
    linear: Mask | None

    def apply(self, slots: _Slots, linear: Arrays) -> Arrays:
        """The results as JAX differentiates them."""
        if self.linear is None and slots.kept is not None:
            return _gradient(self.loss, self.left_out, slots.point, linear[0], slots.kept)
        fixed, tree = jax.tree.flatten(slots)
        return apply_linear(_FormMap(self, tree), self.like(slots), fixed, linear)

    def like(self, slots: _Slots) -> Arrays:
        """Arrays of the types of the results."""
        if self.left_out is None:
            return [slots.like]
        return [x for x, is_ in zip(slots.point, self.left_out, strict=True) if is_]

    def compute(self, slots: _Slots, linear: Arrays) -> Arrays:
        """The directional derivatives of losses, or of their gradient."""
        cotangent, directions = self.filled(slots, linear)

        def function(point: Any) -> Any:
            if self.left_out is None:
                return [self.loss.forward(self.loss.plain, point)[0].total]
            return self.loss.gradient(self.left_out, point, cotangent)

        return _along(function, slots.point, directions)

    def filled(self, slots: _Slots, linear: Arrays) -> tuple[Any, tuple[Direction, ...]]:
        """c and all directions."""
        if self.linear is None:
            return linear[0], slots.directions
        given = iter(linear)
        direction = tuple(next(given) if is_ else None for is_ in self.linear)
        return slots.cotangent, (*slots.directions, direction)

    def transposed(self, slots: _Slots, cotangents: Arrays) -> Arrays:
        """The form with the two arguments exchanged."""
        return _Form(self.loss, self.linear, self.left_out).apply(slots, cotangents)

    def change(self, slots: _Slots, linear: Arrays, tangents: _Slots) -> Arrays:
        """By the product rule; types and what is kept do not count."""
        cotangent, directions = self.filled(slots, linear)
        whole = _Slots(slots.like, slots.point, cotangent, directions)
        parts = []

        def add(tangent: Direction, others: tuple[Direction, ...]) -> None:
            mask = tuple(of is not None for of in tangent)
            given = [of for of in tangent if of is not None]
            form = _Form(self.loss, self.left_out, mask)
            if given:
                parts.append(form.apply(whole._replace(directions=others), given))

        add(tangents.point, directions)
        for k, tangent in enumerate(tangents.directions):
            add(tangent, (*directions[:k], *directions[k + 1 :]))
        if tangents.cotangent is not None:
            form = _Form(self.loss, self.left_out, None)
            parts.append(form.apply(whole._replace(cotangent=None), [tangents.cotangent]))
        return _sums(parts) if parts else [jnp.zeros_like(of) for of in self.like(slots)]


class _FormMap(NamedTuple):
    """A form as a map of arrays."""

    form: _Form
    tree: Any

    def compute(self, fixed: Arrays, linear: Arrays) -> Arrays:
        """See `_Form.compute`."""
        return self.form.compute(self.tree.unflatten(fixed), linear)

    def transposed(self, fixed: Arrays, cotangents: Arrays) -> Arrays:
        """See `_Form.transposed`."""
        return self.form.transposed(self.tree.unflatten(fixed), cotangents)

    def change(self, fixed: Arrays, linear: Arrays, tangents: Tangents) -> Arrays:
        """See `_Form.change`."""
        slots = self.tree.unflatten(fixed)
        return self.form.change(slots, linear, self.tree.unflatten(tangents))


def _along(
    function: Callable[[Any], Arrays], point: Any, directions: tuple[Direction, ...]
) -> Arrays:
    """The derivative in one direction after the other."""
    if not directions:
        return function(point)
    *others, last = directions
    moved = [is_ is not None for is_ in last]

    def of_moved(values: Arrays) -> Arrays:
        given = iter(values)
        rest = zip(point, moved, strict=True)
        at = tuple(next(given) if is_ else x for x, is_ in rest)
        return _along(function, at, tuple(others))

    values = [jnp.asarray(x) for x, is_ in zip(point, moved, strict=True) if is_]
    return jax.jvp(of_moved, (values,), ([of for of in last if of is not None],))[1]


def _nonzero(tangents: Any) -> tuple[Mask, Arrays]:
    """Which tangents of a rule with `symbolic_zeros` there are, and these."""
    mask = tuple(not isinstance(of, SymbolicZero) for of in tangents)
    return mask, [of for of, is_ in zip(tangents, mask, strict=True) if is_]


def _no_tangent(value: Any) -> SymbolicZero:
    """The tangent of what does not change."""
    return SymbolicZero(jax.typeof(value).to_tangent_aval())


def _sums(parts: list[Arrays]) -> Arrays:
    """The sums of lists of arrays, entry by entry."""
    return [sum(terms[1:], start=terms[0]) for terms in zip(*parts, strict=True)]
