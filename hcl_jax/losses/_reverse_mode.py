"""The error of forward-mode differentiation, said by us, where JAX names its own machinery."""

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

ONCE = (
    "the samples estimator can be differentiated once, in reverse mode; the weights estimator (no "
    "num_negatives) has second derivatives and forward mode (jax.jvp, jax.jacfwd) in every form"
)


def reverse_mode_only(losses: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose last argument is differentiated, with an error of ours in forward mode.

    In reverse mode a tangent is never computed, only transposed. Forward mode computes it, eagerly
    or where a program is lowered, and that is refused. Under `jax.vmap` JAX refuses before that,
    and its error is put in our words.
    """

    @wraps(losses)
    def guarded(*arguments: Any) -> Any:
        *others, embeddings = arguments
        try:
            return losses(*others, jax.tree.map(_unless_forward, embeddings))
        except TypeError as error:
            if "forward-mode" not in str(error):
                raise
            raise NotImplementedError(ONCE) from error

    return guarded


@jax.custom_jvp
def _unless_forward(rows: Float[Array, "n dim"]) -> Float[Array, "n dim"]:
    """The same rows, whose tangents can be transposed and not computed."""
    return rows


@_unless_forward.defjvp
def _tangent(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The rows, and their tangent for transposition only."""
    return primals[0], _transposed_only.bind(tangents[0])


def _refuse(*_: Any, **__: Any) -> NoReturn:
    """What computing the tangent comes to."""
    raise NotImplementedError(ONCE)


_transposed_only = Primitive("transposed_only")
_transposed_only.def_impl(_refuse)
_transposed_only.def_abstract_eval(lambda rows: rows)
mlir.register_lowering(_transposed_only, _refuse)
ad.deflinear2(_transposed_only, lambda cotangent, _: [cotangent])
batching.primitive_batchers[_transposed_only] = lambda rows, axes: (
    _transposed_only.bind(*rows),
    axes[0],
)
