"""Argument checks that name what was found and what was expected.

Shapes and dtypes are always known and always checked. Values are checked only where they are
concrete: inside `jax.jit`, `jax.grad` or `jax.vmap` an array is traced and its numbers do not
exist yet, so there the value checks pass without a word. Those of a number that has a range return
it, and a traced one is NaN outside of it: what is computed with it then is NaN too.
"""

import sys
from collections.abc import Callable
from pathlib import Path
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


def check_finite(name: str, value: Any) -> None:
    """Raises unless `value` is of real numbers that are finite in JAX's floating point.

    JAX computes in float32 unless 64 bits are turned on, so 1e39 is infinite there.
    """
    check_real(name, value)
    if is_concrete(value) and not _all_finite(value):
        raise ValueError(f"{name} must be finite, got {_shown(value)}")
    if is_concrete(value) and not _all_finite(_in_floating_point(value)):
        limits = jnp.finfo(jax.dtypes.canonicalize_dtype(np.float64))
        raise ValueError(
            f"{name} must be finite in {limits.dtype}, at most {limits.max:.2g} in size, "
            f"got {_shown(value)}"
        )


def check_positive(name: str, value: Any) -> Any:
    """The value; raises unless it is finite and positive in JAX's floating point, if concrete."""
    check_finite(name, value)
    if not is_concrete(value):
        return nan_unless(lambda x: (x > 0) & (x < jnp.inf), value)
    if not np.all(np.asarray(value) > 0):
        raise ValueError(f"{name} must be positive, got {_shown(value)}")
    limits = jnp.finfo(jax.dtypes.canonicalize_dtype(np.float64))
    if np.any(np.asarray(_in_floating_point(value)) < limits.tiny):
        raise ValueError(
            f"{name} must be positive in {limits.dtype}, at least {limits.tiny:.2g}, "
            f"got {_shown(value)}"
        )
    return value


def check_non_negative(name: str, value: Any) -> Any:
    """The value; raises unless finite and not negative in JAX's floating point, if concrete."""
    check_finite(name, value)
    if is_concrete(value) and not np.all(np.asarray(value) >= 0):
        raise ValueError(f"{name} must not be negative, got {_shown(value)}")
    return nan_unless(lambda x: (x >= 0) & (x < jnp.inf), value)


def check_real(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is a real number, or an array or sequence of them."""
    if hasattr(value, "dtype") or isinstance(value, (int, float)):
        array = value
    elif isinstance(value, (list, tuple)) and all(isinstance(x, (int, float)) for x in value):
        array = None
    else:
        raise TypeError(f"{name} must be a real number, got {_described(value)}")
    dtype = getattr(array, "dtype", None)
    if dtype is not None and not (
        jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    ):
        raise TypeError(f"{name} must be of real numbers, got dtype {dtype}")
    if dtype is not None and not _has_jax_dtype(value):
        raise TypeError(f"{name} must be of real numbers of JAX, got dtype {dtype}")


def check_scalar(name: str, value: Any) -> None:
    """Raises unless `value` is one real number, traced or concrete."""
    check_real(name, value)
    if np.shape(value) != ():
        raise ValueError(f"{name} must be a single number, got shape {np.shape(value)}")


def check_count(name: str, value: Any, *, minimum: int = 1) -> int:
    """The Python integer; raises unless `value` is one, or one of NumPy, of at least `minimum`.

    Arithmetic with a narrow integer of NumPy, such as a uint8, would wrap around.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {_shown(value)}")
    return int(value)


def check_integer(name: str, value: Any) -> None:
    """Raises unless `value` is one integer, traced or concrete, that fits in int32."""
    check_scalar(name, value)
    if isinstance(value, float):
        raise TypeError(f"{name} must be an integer, got {value}")
    if not isinstance(value, int):
        check_integers(name, value)
    if is_concrete(value) and not -(2**31) <= int(value) < 2**31:
        raise ValueError(f"{name} must fit in int32, got {_shown(value)}")


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


def check_function(name: str, value: Any) -> None:
    """Raises TypeError unless `value` can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {_described(value)}")


def check_kind(name: str, value: Any, kind: type, such_as: str) -> None:
    """Raises TypeError unless `value` is of a class; `such_as` is an expression that makes one."""
    if isinstance(value, kind):
        return
    if callable(value) and hasattr(value, "__name__"):
        found = f"the function {value.__name__}"
    else:
        found = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    raise TypeError(f"{name} must be a {kind.__name__}, such as {such_as}, got {found}")


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
    """The probability, a float if concrete; raises unless it is a number between 0 and 1."""
    check_scalar(name, value)
    if not is_concrete(value):
        return value
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {_shown(value)}")
    return float(value)


def check_array(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is an array of numbers."""
    expected = f"{name} must be a NumPy or JAX array of numbers"
    dtype = getattr(value, "dtype", None)
    if dtype is None or not (hasattr(value, "__array__") or hasattr(value, "__jax_array__")):
        raise TypeError(f"{expected}, got a {type(value).__name__}{_way_to_array(value)}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{expected}, got a MaskedArray; its method filled makes one")
    if not _has_jax_dtype(value):
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


def check_key(name: str, key: Any) -> None:
    """Raises unless `key` is one PRNG key, of `jax.random.key` or the older PRNGKey."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    old = isinstance(key, (jax.Array, np.ndarray)) and dtype == np.uint32
    if not (typed or old):
        found = f"dtype {dtype}" if dtype is not None else _described(key)
        raise TypeError(f"{name} must be a PRNG key, such as jax.random.key(0), got {found}")
    shape = () if typed else jax.eval_shape(jax.random.PRNGKey, 0).shape
    if key.shape != shape:
        raise ValueError(f"{name} must be a single PRNG key, of shape {shape}, got {key.shape}")


def check_embeddings(name: str, embeddings: Any) -> None:
    """Raises unless `embeddings` is floating point, (n, d), n, d >= 1, and finite if concrete."""
    check_array(name, embeddings)
    shape = jnp.shape(embeddings)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name} must have shape (n, dim) with n, dim >= 1, got shape {shape}")
    check_floating(name, embeddings)
    check_finite_rows(name, embeddings)


def check_finite_rows(name: str, rows: Any) -> None:
    """Raises ValueError unless an array is finite in JAX's dtype, if concrete; names a row."""
    if not is_concrete(rows) or _all_finite(_in_floating_point(rows)):
        return
    dtype = f" in {jnp.result_type(rows)}" if _all_finite(rows) else ""
    array = np.asarray(_in_floating_point(rows), np.float64)
    wrong = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    raise ValueError(
        f"{name} must be finite{dtype}, but {len(wrong)} of {len(array)} rows are not, "
        f"the first is row {wrong[0]}"
    )


def check_labels(name: str, labels: Any, *, length: int, num_classes: int | None = None) -> None:
    """Raises unless `labels` are integers (length,), in 0..num_classes-1 where that is given."""
    check_array(name, labels)
    shape = jnp.shape(labels)
    if shape != (length,):
        raise ValueError(
            f"{name} must have shape ({length},), one for each embedding, got shape {shape}"
        )
    check_integers(name, labels)
    if is_concrete(labels) and not fits_int32(labels):
        raise ValueError(
            f"{name} must fit in int32, the integers of JAX; map other integers, such as hashes, "
            "to ranks first: numpy.unique(values, return_inverse=True)[1]"
        )
    if num_classes is not None:
        check_classes(name, labels, num_classes)


def check_weights(weights: Any, *, length: int) -> Any:
    """The weights, floating point (length,); raises if others, or concrete and not non-negative."""
    check_floating("weights", weights)
    if jnp.shape(weights) != (length,):
        raise ValueError(
            f"weights must have shape ({length},), one for each embedding, got shape "
            f"{jnp.shape(weights)}"
        )
    return check_non_negative("weights", weights)


def check_classes(name: str, labels: Any, num_classes: int) -> None:
    """Raises ValueError unless concrete integers lie in 0..num_classes-1."""
    check_no_negative_labels(name, labels)
    if is_concrete(labels) and (wrong := np.asarray(labels).astype(int) >= num_classes).any():
        raise ValueError(
            f"{name} must lie in 0..{num_classes - 1}, got {np.asarray(labels)[wrong.argmax()]} at "
            f"position {wrong.argmax()} ({wrong.sum()} out of range)"
        )


def check_no_negative_labels(
    name: str, labels: Any, ways_out: str = "leave rows without a label out"
) -> None:
    """Raises ValueError if concrete labels are negative, as where a row has no label."""
    if is_concrete(labels) and (negative := np.asarray(labels) < 0).any():
        raise ValueError(
            f"{name} must not be negative, got {np.asarray(labels)[negative.argmax()]} at position "
            f"{negative.argmax()} ({negative.sum()} negative); a negative label is no class: "
            f"{ways_out}"
        )


def fits_int32(integers: Any) -> bool:
    """Whether JAX, which has integers of 32 bits unless 64 are turned on, holds concrete ones."""
    dtype = np.dtype(integers.dtype)
    has_64_bits = jax.dtypes.canonicalize_dtype(np.int64).itemsize == 8
    narrow = dtype.itemsize < 8 and dtype != np.uint32
    if narrow or has_64_bits or not jnp.issubdtype(dtype, jnp.integer):
        return True
    values, limits = np.asarray(integers), np.iinfo(np.int32)
    return values.size == 0 or bool(values.min() >= limits.min and values.max() <= limits.max)


def check_path(name: str, value: Any) -> Path:
    """The path; raises unless it is a `Path` or a string that names something."""
    if not isinstance(value, (str, Path)):
        raise TypeError(f"{name} must be a path, got {_described(value)}")
    if not Path(value).name:
        raise ValueError(f"{name} must be a path with a name, got {str(value)!r}")
    return Path(value)


def check_precision(value: Any) -> None:
    """Raises ValueError unless `value` is what `jax.lax.dot_general` takes for a precision."""
    names = ("default", "high", "highest")
    single = value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
    kinds = (jax.lax.Precision, jax.lax.DotAlgorithm, jax.lax.DotAlgorithmPreset)
    if not (single is None or isinstance(single, kinds) or single in names):
        raise ValueError(
            f"precision must be one of jax.lax.Precision, or {', '.join(map(repr, names))}, "
            f"got {value!r}"
        )


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if not isinstance(value, (str, int, float, np.generic, type(None))) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def _has_jax_dtype(array: Any) -> bool:
    """Whether JAX has arrays of its dtype; not of objects, texts or bytes in another order."""
    try:
        jnp.result_type(array)
    except TypeError:
        return False
    return True


def _all_finite(value: Any) -> bool:
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


def _in_floating_point(value: Any) -> Any:
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


def _described(value: Any) -> str:
    """An object of the wrong type, shown where it is short."""
    short = value is None or isinstance(value, (str, complex, bool))
    return repr(value) if short and len(repr(value)) < 40 else f"a {type(value).__name__}"


def _shown(value: Any) -> str:
    array = np.asarray(value)
    if array.dtype == object and array.ndim == 0:
        return f"an integer of {len(str(abs(value)))} digits"
    return repr(array.item()) if array.ndim == 0 else np.array2string(array, threshold=8)
