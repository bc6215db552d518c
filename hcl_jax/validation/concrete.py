"""Which numbers can be read now, and whether they are finite."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

NOT_TRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""What JAX raises where a function needs the values of its arguments."""


def is_concrete(value: Any) -> bool:
    """Whether the numbers of `value` can be read now."""
    return not isinstance(value, jax.core.Tracer)


def nan_unless(allowed: Callable[[Any], Any], value: Any) -> Any:
    """A concrete value as it is; a traced one with NaN in the place of what is not allowed."""
    return value if is_concrete(value) else jnp.where(allowed(value), value, jnp.nan)


def all_finite(value: Any) -> bool:
    """Whether concrete numbers are finite; those of a device are looked at there, not copied."""
    if isinstance(value, jax.Array) and not _is_in_host_memory(value):
        with jax.ensure_compile_time_eval():  # concrete, but maybe a constant of a traced loop
            return bool(_reduced_on_device(value))
    array = np.asarray(value)
    if array.dtype in (np.float32, np.float64) and array.flags.c_contiguous:
        with np.errstate(all="ignore"):  # a square that overflows says nothing
            if np.isfinite(np.vdot(array, array)):  # half the time of looking at every number
                return True
    if array.dtype == object:  # an integer of Python that no integer of a machine holds
        array = np.array([float("inf") if abs(x) > sys.float_info.max else x for x in array.flat])
    return bool(np.isfinite(array.astype(float) if array.dtype == object else array).all())


def in_floating_point(value: Any) -> Any:
    """Concrete numbers as JAX will compute with them."""
    dtype = jax.dtypes.canonicalize_dtype(np.float64)
    narrow = isinstance(value, np.ndarray) and value.dtype.itemsize < 8
    if isinstance(value, jax.Array) or narrow:
        return value
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(value, np.float64).astype(dtype)


def _is_in_host_memory(array: jax.Array) -> bool:
    devices = array.devices()
    return len(devices) == 1 and next(iter(devices)).platform == "cpu"


@jax.jit
def _reduced_on_device(array: Array) -> Bool[Array, ""]:
    return jnp.isfinite(array).all()
