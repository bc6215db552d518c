"""Functions of one's own inside a `Psi` or a `Hardening`, as pytrees that every form can pass on.

The functions of this package are `jax.tree_util.Partial`, pytrees of their numbers. A plain Python
function is none, and one that closes over traced numbers hides them from JAX's transformations.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.tree_util import Partial
from jaxtyping import Array, Float

from hcl_jax.hardening import Hardening, no_hardening
from hcl_jax.losses._checks import check_hardening, check_psi
from hcl_jax.padding import varying_like
from hcl_jax.precision import wide_dtype
from hcl_jax.psi import Psi, infonce
from hcl_jax.validation import check_count


def psi_and_hardening(
    psi: Psi | None,
    hardening: Hardening | None,
    embeddings: Any,
    num_negatives: int | None = None,
) -> tuple[Psi, Hardening]:
    """The defaults where there is None, and every function as a pytree.

    Raises where the arguments are of another type, or `num_negatives` is below 1.
    """
    psi = infonce() if psi is None else psi
    hardening = no_hardening() if hardening is None else hardening
    check_psi(psi)
    check_hardening(hardening)
    log_factor = _as_pytree(hardening.log_factor, embeddings, ())
    hardening = Hardening(log_factor, _unused(hardening.log_joint))
    if num_negatives is None:
        link = _as_pytree(psi.link, embeddings, (), ())
        term = _as_pytree(psi.term, embeddings, ())
        return Psi(_unused(psi.of_differences), link, psi.temperature, term), hardening
    check_count("num_negatives", num_negatives)
    of_differences = _as_pytree(psi.of_differences, embeddings, (num_negatives,))
    return Psi(of_differences, _unused(psi.link), psi.temperature, _unused(psi.term)), hardening


def _as_pytree(function: Any, embeddings: Any, *shapes: tuple[int, ...]) -> Any:
    """A plain function as a `Partial`, with the traced numbers that it closes over as arguments.

    It is a function of numbers like similarities of the embeddings, elementwise where a shape is
    (), or of vectors row by row where it is (k,). Anything but a plain function is returned as is.
    """
    if not _is_plain(function):
        return function
    given = getattr(embeddings, "dtype", jnp.float32)
    floating = jnp.issubdtype(given, jnp.floating)
    dtype = wide_dtype(given) if floating else jnp.float32  # others are yet to be refused
    examples = tuple(varying_like(jnp.zeros(shape, dtype), embeddings) for shape in shapes)
    closed = jax.make_jaxpr(function)(*examples)
    if not any(isinstance(value, jax.core.Tracer) for value in closed.consts):
        return Partial(function)
    signature = ",".join("(k)" if shape else "()" for shape in shapes) + "->()"
    return Partial(_Opened(closed.jaxpr, signature, dtype), examples, *closed.consts)


def _unused(function: Any) -> Any:
    """A plain function as a pytree without a look at what it closes over."""
    return Partial(function) if _is_plain(function) else function


def _is_plain(function: Any) -> bool:
    """Whether it is a function that is no pytree."""
    return callable(function) and jax.tree_util.all_leaves([function])


class _Opened:
    """A function of examples of its arguments, of the numbers it closed over, and its arguments."""

    def __init__(self, jaxpr: Any, signature: str, dtype: Any) -> None:
        self.jaxpr, self.signature, self.dtype = jaxpr, signature, dtype

    def __call__(self, examples: Any, *values: Any) -> Float[Array, "*n"]:
        consts, arguments = values[: -len(examples)], values[-len(examples) :]
        plain: Callable[..., Any] = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, consts))
        arrays = varying_like([jnp.asarray(x, self.dtype) for x in arguments], examples)
        return jnp.vectorize(lambda *x: plain(*x)[0], signature=self.signature)(*arrays)
