"""Losses with the statistics of their batch."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

from jaxtyping import Array, Float

from hcl_jax.losses import LossStatistics
from hcl_jax.validation.options import check_function

Arguments = ParamSpec("Arguments")


def with_statistics(
    loss: Callable[Arguments, Float[Array, ""]],
) -> Callable[Arguments, tuple[Float[Array, ""], LossStatistics]]:
    """The same loss, which returns `hcl_jax.losses.LossStatistics` beside its value.

    They come from the passes that compute the value, in every form but pallas and draws, and are
    constants to differentiation: `jax.value_and_grad` takes them as ``has_aux``. Over devices they
    are those of the whole batch.

    Args:
        loss: a loss of this package that takes options, such as `hcl_jax.hscl`, or a
            `functools.partial` of one.

    Returns:
        A function of the same arguments that returns the value and the statistics.

    Raises:
        TypeError: if `loss` is no function, is one of `jax.jit`, or does not take options, as a
            function of one's own that calls a loss without handing them on.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from hcl_jax import hscl
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> step = jax.jit(jax.value_and_grad(with_statistics(hscl), has_aux=True))
        >>> (value, found), gradient = step(embeddings, jnp.array([0, 0, 1, 1]), beta=5.0)
        >>> float(found.positives.mean), float(found.effective_negatives), int(found.undefined)
        (1.0, 2.0, 0)
    """
    check_function("loss", loss)
    inner = loss
    while isinstance(inner, functools.partial):
        inner = inner.func
    if hasattr(inner, "lower"):
        raise TypeError("loss is compiled already; give it first, jax.jit(with_statistics(loss))")

    if not _takes_options(loss):
        raise TypeError(
            "loss must be a loss of hcl_jax that takes options, such as hscl, or a "
            "functools.partial of one, got a function that takes no option report"
        )

    @functools.wraps(loss)
    def both(
        *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> tuple[Float[Array, ""], LossStatistics]:
        found: list[LossStatistics] = []
        of_options: Any = loss
        value = of_options(*args, **{**kwargs, "report": found.append})
        if len(found) != 1:
            raise TypeError("loss must be a loss of hcl_jax that takes options, such as hscl")
        return value, found[0]

    return both


def _takes_options(loss: Callable[..., Any]) -> bool:
    """Whether a function takes the option `report`, as far as its signature tells."""
    try:
        parameters = inspect.signature(loss).parameters
    except (TypeError, ValueError):
        return True
    return "report" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
