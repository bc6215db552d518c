"""Functions of one's own inside a `Psi` or a `Hardening`, as pytrees that every form can pass on.

The functions of this package are `jax.tree_util.Partial`, pytrees of their hyperparameters. A plain
Python function is none, and one that closes over traced arrays hides them from JAX's
transformations.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.tree_util import Partial
from jaxtyping import Array, Float

from hcl_jax.hardening import Hardening, no_hardening
from hcl_jax.hardness import with_bounded_hardness
from hcl_jax.losses._checks import check_hardening, check_psi
from hcl_jax.padding import as_traced, varying_like
from hcl_jax.precision import wide_dtype
from hcl_jax.psi import Psi, infonce
from hcl_jax.validation.concrete import NOT_TRACEABLE
from hcl_jax.validation.numbers import check_count

SHIPPED_OF_JAX = (jnp.zeros_like, jnp.positive)
"""Functions of JAX that this package puts into a `Psi` or a `Hardening`."""


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
    if num_negatives is not None:
        check_count("num_negatives", num_negatives)
    take = partial(_as_pytree, embeddings=embeddings)
    log_factor = take("log_factor of the hardening", hardening.log_factor)
    hardening = hardening._replace(log_factor=log_factor, log_joint=_unused(hardening.log_joint))
    if num_negatives is None:
        link = take("link of psi", psi.link, count=1)
        term = take("term of psi", psi.term)
        lower = take("lower of psi", psi.lower, count=1)
        if psi.link is not None:
            hardening = with_bounded_hardness(hardening, wide_dtype(embeddings))
        of_differences = _unused(psi.of_differences)
        return Psi(of_differences, link, psi.temperature, term, lower), hardening
    if psi.lower is not None:
        raise ValueError(
            "this psi has a bound that depends on the similarity of the positive, which draws of "
            "differences do not know; use the weights estimator (no num_negatives)"
        )
    of_differences = take("of_differences of psi", psi.of_differences, draws=num_negatives)
    return Psi(of_differences, _unused(psi.link), psi.temperature, _unused(psi.term)), hardening


def _as_pytree(
    name: str, function: Any, *, embeddings: Any, count: int = 0, draws: int | None = None
) -> Any:
    """A function of somebody's own as a `Partial` that checks what it returns.

    It is a function of numbers like similarities of the embeddings, elementwise and with `count`
    more arguments, or of vectors of `draws` row by row. The traced arrays that a plain function
    closes over become arguments. A function of this package is returned as is, and so is None.
    """
    if function is None or _is_shipped(function):
        return function
    check = _Check(name, draws is not None)
    if not _is_plain(function):
        return Partial(check, function)
    checked = Partial(check, Partial(function))
    dtype = wide_dtype(embeddings)
    shapes = [() if draws is None else (draws,), *[()] * count]
    examples = tuple(varying_like(jnp.zeros(shape, dtype), embeddings) for shape in shapes)
    closed = jax.make_jaxpr(checked)(*examples)
    if not any(isinstance(value, jax.core.Tracer) for value in closed.consts):
        return checked
    signature = ",".join("(k)" if shape else "()" for shape in shapes) + "->()"
    return Partial(_Opened(closed.jaxpr, signature, dtype), examples, *closed.consts)


def _unused(function: Any) -> Any:
    """A plain function as a pytree without a look at what it closes over."""
    return Partial(function) if _is_plain(function) else function


def _is_plain(function: Any) -> bool:
    """Whether it is a function that is no pytree."""
    return callable(function) and jax.tree_util.all_leaves([function])


def _is_shipped(function: Any) -> bool:
    """Whether it is a function of `hcl_jax.psi` or `hcl_jax.hardening`, which needs no check."""
    if not isinstance(function, Partial):
        return False
    module = getattr(function.func, "__module__", None)
    return function.func in SHIPPED_OF_JAX or module in (Hardening.__module__, Psi.__module__)


class _Check(NamedTuple):
    """Calls a function of somebody's own and holds it to one number for each, of the same dtype."""

    name: str
    by_rows: bool

    def __call__(self, function: Any, first: Any, *others: Any) -> Float[Array, "*n"]:
        try:
            found = function(first, *others)
        except NOT_TRACEABLE as error:
            raise TypeError(
                f"{self.name} must be written with jax.numpy, without math, numpy or branches on "
                f"its arguments, as JAX traces it: {str(error).splitlines()[0]}"
            ) from error
        shape = first.shape[:-1] if self.by_rows else first.shape
        rule = "one number for each row" if self.by_rows else "as many numbers as it gets"
        dtype = getattr(found, "dtype", None)
        if dtype is None or np.shape(found) != shape or not jnp.issubdtype(dtype, jnp.floating):
            got = type(found).__name__ if dtype is None else f"{dtype}{list(np.shape(found))}"
            raise TypeError(
                f"{self.name} must return {rule}, floating point of shape {shape} for shape "
                f"{first.shape}, got {got}"
            )
        return found.astype(first.dtype)


class _Opened:
    """A function of examples of its arguments, of the arrays it closed over, and its arguments."""

    def __init__(self, jaxpr: Any, signature: str, dtype: Any) -> None:
        self.jaxpr, self.signature, self.dtype = jaxpr, signature, dtype

    def __call__(self, examples: Any, *values: Any) -> Float[Array, "*n"]:
        consts, arguments = values[: -len(examples)], values[-len(examples) :]
        kinds = [variable.aval for variable in self.jaxpr.constvars]
        consts = [as_traced(value, kind) for value, kind in zip(consts, kinds, strict=True)]
        plain: Callable[..., Any] = jaxpr_as_fun(ClosedJaxpr(self.jaxpr, consts))
        arrays = varying_like([jnp.asarray(x, self.dtype) for x in arguments], examples)
        return jnp.vectorize(lambda *x: plain(*x)[0], signature=self.signature)(*arrays)
