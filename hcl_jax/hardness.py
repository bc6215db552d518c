"""The largest hardness whose logits a dtype can hold."""

from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial

from hcl_jax.hardening import LOG_FACTORS, Hardening, Scalar
from hcl_jax.validation.concrete import is_concrete, nan_unless


def largest_hardness(dtype: Any) -> float:
    """The hardness above which the logits of negatives are lost to rounding.

    InfoNCE adds ``beta s`` and ``s / temperature``: the error of the sum is beta units of rounding.
    """
    return 1 / (8 * float(jnp.finfo(dtype).eps))


def with_bounded_hardness(hardening: Hardening, dtype: Any) -> Hardening:
    """A hardening for InfoNCE in a dtype: ValueError for a concrete hardness above the largest.

    A traced one is NaN above it. Functions inside others, as below a mask, are looked at too.
    """
    return hardening._replace(log_factor=_with_bounded_hardness(hardening.log_factor, dtype))


def _with_bounded_hardness(log_factor: Any, dtype: Any) -> Any:
    if not isinstance(log_factor, Partial):
        return log_factor
    args = [_with_bounded_hardness(part, dtype) for part in log_factor.args]
    hardness = LOG_FACTORS.get(log_factor.func)
    if hardness is not None:
        name, place = hardness
        args[place] = _bounded(name, args[place], jnp.dtype(dtype))
    return Partial(log_factor.func, *args, **log_factor.keywords)


def _bounded(name: str, hardness: Scalar, dtype: Any) -> Scalar:
    most = largest_hardness(dtype)
    if is_concrete(hardness) and abs(hardness) > most:
        raise ValueError(
            f"{name} must be at most {most:.1g} in {dtype.name}, which cannot add larger ones to "
            f"logits, got {float(hardness):g}; from 1e4 on the nearest negatives alone count"
        )
    return nan_unless(lambda x: jnp.abs(x) <= most, hardness)
