"""Checks of arrays: dtypes, PRNG keys, and whether all rows are finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hcl_jax.validation.concrete import all_finite, in_floating_point, is_concrete
from hcl_jax.validation.wording import described


def check_array(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is an array of numbers."""
    expected = f"{name} must be a NumPy or JAX array of numbers"
    dtype = getattr(value, "dtype", None)
    if dtype is None or not (hasattr(value, "__array__") or hasattr(value, "__jax_array__")):
        raise TypeError(f"{expected}, got a {type(value).__name__}{_way_to_array(value)}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{expected}, got a MaskedArray; its method filled makes one")
    if not has_jax_dtype(value):
        raise TypeError(f"{expected}, got dtype {dtype}{_way_to_array(value)}")


def _way_to_array(value: Any) -> str:
    """How JAX gets an array of what is none of its own; nothing where there is no one way."""
    if type(value).__module__.partition(".")[0] == "torch":
        return "; jax.numpy.from_dlpack(tensor) makes one of a tensor"
    listed = isinstance(value, (list, tuple))
    held = getattr(getattr(value, "dtype", None), "kind", "") in ("U", "S", "O")
    entries = np.asarray(value).flat if held else value if listed else ()
    if len(entries) and all(isinstance(entry, (str, bytes)) for entry in entries):
        return "; number texts by numpy.unique(texts, return_inverse=True)[1]"
    return "; jax.numpy.array makes one" if listed else ""


def check_floating(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is an array of floating point of 16 bits or more."""
    check_array(name, value)
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, got dtype {dtype}")
    if dtype.itemsize < 2:
        raise TypeError(f"{name} must be floating point of at least 16 bits, got dtype {dtype}")


def check_integers(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is an array of integers of 8 bits or more."""
    check_array(name, value)
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got dtype {dtype}")
    if jnp.iinfo(dtype).bits < 8:
        raise TypeError(f"{name} must be integers of at least 8 bits, got dtype {dtype}")


def check_booleans(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is an array of booleans."""
    check_array(name, value)
    if jnp.result_type(value) != jnp.bool_:
        raise TypeError(f"{name} must be booleans, got dtype {jnp.result_type(value)}")


def check_finite_rows(name: str, rows: Any) -> None:
    """Raises ValueError unless an array is finite in JAX's dtype, if concrete; names a row."""
    if not is_concrete(rows) or all_finite(in_floating_point(rows)):
        return
    dtype = f" in {jnp.result_type(rows)}" if all_finite(rows) else ""
    array = np.asarray(in_floating_point(rows), np.float64)
    wrong = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    raise ValueError(
        f"{name} must be finite{dtype}, but {len(wrong)} of {len(array)} rows are not, "
        f"the first is row {wrong[0]}"
    )


def check_key(name: str, key: Any) -> None:
    """Raises unless `key` is one PRNG key, of `jax.random.key` or the older PRNGKey."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    old = isinstance(key, (jax.Array, np.ndarray)) and dtype == np.uint32
    if not (typed or old):
        found = f"dtype {dtype}" if dtype is not None else described(key)
        raise TypeError(f"{name} must be a PRNG key, such as jax.random.key(0), got {found}")
    shape = () if typed else jax.eval_shape(jax.random.PRNGKey, 0).shape
    if key.shape != shape:
        raise ValueError(f"{name} must be a single PRNG key, of shape {shape}, got {key.shape}")


def has_jax_dtype(array: Any) -> bool:
    """Whether JAX has arrays of its dtype; not of objects, texts or bytes in another order."""
    try:
        jnp.result_type(array)
    except TypeError:
        return False
    return True


def fits_int32(integers: Any) -> bool:
    """Whether JAX, which has integers of 32 bits unless 64 are turned on, holds concrete ones."""
    dtype = np.dtype(integers.dtype)
    has_64_bits = jax.dtypes.canonicalize_dtype(np.int64).itemsize == 8
    narrow = dtype.itemsize < 8 and dtype != np.uint32
    if narrow or has_64_bits or not jnp.issubdtype(dtype, jnp.integer):
        return True
    values, limits = np.asarray(integers), np.iinfo(np.int32)
    return values.size == 0 or bool(values.min() >= limits.min and values.max() <= limits.max)
