"""Checks of numbers: real, finite, positive, whole, and where they lie."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hcl_jax.validation.arrays import check_integers, has_jax_dtype
from hcl_jax.validation.concrete import all_finite, in_floating_point, is_concrete, nan_unless
from hcl_jax.validation.wording import described, shown


def check_real(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is a real number, or an array or sequence of them."""
    if hasattr(value, "dtype") or isinstance(value, (int, float)):
        array = value
    elif isinstance(value, (list, tuple)) and all(isinstance(x, (int, float)) for x in value):
        array = None
    else:
        raise TypeError(f"{name} must be a real number, got {described(value)}")
    dtype = getattr(array, "dtype", None)
    if dtype is not None and not (
        jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    ):
        raise TypeError(f"{name} must be of real numbers, got dtype {dtype}")
    if dtype is not None and not has_jax_dtype(value):
        raise TypeError(f"{name} must be of real numbers of JAX, got dtype {dtype}")


def check_scalar(name: str, value: Any) -> None:
    """Raises unless `value` is one real number, traced or concrete."""
    check_real(name, value)
    if np.shape(value) != ():
        raise ValueError(f"{name} must be a single number, got shape {np.shape(value)}")


def check_finite(name: str, value: Any) -> None:
    """Raises unless `value` is of real numbers that are finite in JAX's floating point.

    JAX computes in float32 unless 64 bits are turned on, so 1e39 is infinite there.
    """
    check_real(name, value)
    if is_concrete(value) and not all_finite(value):
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    if is_concrete(value) and not all_finite(in_floating_point(value)):
        limits = jnp.finfo(jax.dtypes.canonicalize_dtype(np.float64))
        raise ValueError(
            f"{name} must be finite in {limits.dtype}, at most {limits.max:.2g} in size, "
            f"got {shown(value)}"
        )


def check_positive(name: str, value: Any) -> Any:
    """The value; raises unless it is finite and positive in JAX's floating point, if concrete."""
    check_finite(name, value)
    if not is_concrete(value):
        return nan_unless(lambda x: (x > 0) & (x < jnp.inf), value)
    if not np.all(np.asarray(value) > 0):
        raise ValueError(f"{name} must be positive, got {shown(value)}")
    limits = jnp.finfo(jax.dtypes.canonicalize_dtype(np.float64))
    if np.any(np.asarray(in_floating_point(value)) < limits.tiny):
        raise ValueError(
            f"{name} must be positive in {limits.dtype}, at least {limits.tiny:.2g}, "
            f"got {shown(value)}"
        )
    return value


def check_non_negative(name: str, value: Any) -> Any:
    """The value; raises unless finite and not negative in JAX's floating point, if concrete."""
    check_finite(name, value)
    if is_concrete(value) and not np.all(np.asarray(value) >= 0):
        raise ValueError(f"{name} must not be negative, got {shown(value)}")
    return nan_unless(lambda x: (x >= 0) & (x < jnp.inf), value)


def check_interval(name: str, value: Any) -> None:
    """Raises unless `value` is (low, high), finite, with 0 < low <= high."""
    expected = f"{name} must be (low, high) with 0 < low <= high"
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{expected}, got {value!r}")
    for bound in value:
        check_scalar(name, bound)
    if not 0 < value[0] <= value[1] < np.inf:
        raise ValueError(f"{expected}, got {value}")
    check_positive(name, value)


def check_probability(name: str, value: Any) -> Any:
    """The probability; raises unless it is a number between 0 and 1, if concrete."""
    check_scalar(name, value)
    if not is_concrete(value):
        return nan_unless(lambda x: (x >= 0) & (x <= 1), value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {shown(value)}")
    return float(value)


def check_count(name: str, value: Any, *, minimum: int = 1) -> int:
    """The Python integer; raises unless `value` is one, or one of NumPy, of at least `minimum`.

    Arithmetic with a narrow integer of NumPy, such as a uint8, would wrap around.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {shown(value)}")
    return int(value)


def check_integer(name: str, value: Any) -> None:
    """Raises unless `value` is one integer, traced or concrete, that fits in int32."""
    check_scalar(name, value)
    if isinstance(value, float):
        raise TypeError(f"{name} must be an integer, got {value}")
    if not isinstance(value, int):
        check_integers(name, value)
    if is_concrete(value) and not -(2**31) <= int(value) < 2**31:
        raise ValueError(f"{name} must fit in int32, got {shown(value)}")
