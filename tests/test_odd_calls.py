"""Thousands of calls with odd arguments: a good result, or an error of this package.

An error counts as ours if it is raised in this package, not somewhere in JAX, NumPy or Python.
"""

import collections
import traceback
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from references.public_calls import CALLS

import hcl_jax

HERE = Path(hcl_jax.__file__).parent
PARTS, CALLS_OF_A_PART = 4, 2_000
"""In parts, since what calls compile is kept until a test ends."""
LOSSES = ("losses", "parallel", "scl", "hscl", "ucl", "hucl", "objective", "batch_losses")
LOSSES += ("supcon", "nt_xent", "nscl", "clip", "with_statistics")
NAMES = sorted(name for name in CALLS if not name.startswith(LOSSES))
COMPILE_EVERY_TIME = {f"augmentation.{name}" for name in ("simclr", "color_jitter", "jitter")}
"""Each call takes a tenth of a second, however small the image: a quarter of the calls will do."""

REAL = (np.float16, ml_dtypes.bfloat16, np.float64)
OTHER = (np.int8, np.uint8, np.int32, np.int64, np.uint32, np.uint64, bool, np.complex64, object)
TINY = (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.int4)

COUNTS = [0, -1, 1, 2, 9, True, 2.0, -(10**400), np.int64(3), np.uint8(3), jnp.int32(3)]
SIZES = [0, -1, 1, 2, 2**31, 2**40, 2**63, 10**400, True, 0.0, -0.5, 0.5, 1.5]
SIZES += [1e-46, 1e-30, 1e30, 1e39, 1e300, float("nan"), float("inf"), 1j]
OBJECTS = [None, "text", "", b"bytes", (), [], {}, set(), object(), float, len, range(3)]
OBJECTS += [[1, 2], (0.5, 0.25), ("a", "b"), (None, 1.0), [[0.5], [0.25, 1]], Path("nowhere")]
ARRAYS = [
    np.zeros(()),
    np.zeros(0),
    np.zeros((0, 3), np.float32),
    np.zeros((2, 0), np.float32),
    np.zeros((2, 2, 2, 2, 2), np.float32),
    np.full((3, 3), np.nan, np.float32),
    np.array("text"),
    np.array(None),
    np.array(["a", "b"]),
    np.zeros(2, "datetime64[s]"),
    np.zeros(2, "f4,i4"),
    np.arange(3),
    np.float32(0.5),
    np.int64(3),
    jnp.zeros(3),
    jnp.arange(4),
    jax.random.key(3),
    jax.random.split(jax.random.key(3), 2),
    jax.ShapeDtypeStruct((2, 3), np.float32),
]


def changed(rng, good):
    """A good argument with one thing changed: its type, dtype, shape, or some of its numbers."""
    if isinstance(good, tuple) and hasattr(good, "_fields"):
        field = good._fields[rng.integers(len(good._fields))]
        return good._replace(**{field: odd(rng, getattr(good, field))})
    if not hasattr(good, "dtype") or jnp.issubdtype(good.dtype, jax.dtypes.prng_key):
        return good
    array = np.asarray(good)
    spoilt = array.copy()
    if spoilt.size and spoilt.dtype.kind == "f":
        place = tuple(rng.integers(side) for side in spoilt.shape)
        spoilt[place] = rng.choice([np.nan, np.inf, -np.inf, 3e38, 1e-45, -1.0])
    elif spoilt.size and spoilt.dtype.kind in "iu":
        place = tuple(rng.integers(side) for side in spoilt.shape)
        spoilt[place] = rng.choice([7, 100, 2**15, 2**31 - 1]) % np.iinfo(spoilt.dtype).max
    choices = [
        lambda: array.astype((*REAL, *OTHER, *TINY)[rng.integers(15)]),
        lambda: jnp.asarray(array.astype((*REAL, *TINY)[rng.integers(6)])),
        lambda: array,
        lambda: array[None],
        lambda: array[..., None],
        lambda: array[0] if array.ndim else array,
        lambda: array[:-1] if array.ndim else array,
        lambda: array[..., :-1] if array.ndim else array,
        lambda: np.concatenate([array, array]) if array.ndim else array,
        lambda: array.ravel(),
        lambda: array.T,
        lambda: array.tolist(),
        lambda: array.astype(array.dtype.newbyteorder()),
        lambda: array[..., ::-1] if array.ndim else array,
        lambda: spoilt,
        lambda: jnp.asarray(spoilt),
        lambda: -array.astype(np.int64) if array.dtype.kind in "iu" else -array,
        lambda: array.astype(np.int64) + 2**33 if array.dtype.kind in "iu" else array * 255,
        lambda: array * float(rng.choice([1e-38, 1e-30, 1e15, 1e30, 1e38])),
    ]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return choices[rng.integers(len(choices))]()


def odd(rng, good):
    """Something else in the place of a good argument."""
    kind = rng.integers(5)
    # A large count is no error: it takes the memory that was asked for.
    pool = (COUNTS if isinstance(good, int) else SIZES, OBJECTS, ARRAYS, None, None)[kind]
    other = changed(rng, good) if pool is None else pool[rng.integers(len(pool))]
    return None if callable(good) and callable(other) else other  # what it does is its own affair


def fault_of(call, arguments, *, good):
    """What is wrong with the outcome of a call; None if nothing is."""
    try:
        result = jax.block_until_ready(call.function(**arguments))
    except Exception as error:
        innermost = traceback.extract_tb(error.__traceback__)[-1]
        expected = isinstance(error, (ValueError, TypeError)) and str(error)
        if expected and Path(innermost.filename).is_relative_to(HERE):
            return None
        where = f"{Path(innermost.filename).name}:{innermost.lineno}"
        return f"{type(error).__name__} at {where}: {str(error)[:200]}"
    if not good:
        return None
    numbers = [np.asarray(leaf) for leaf in jax.tree.leaves(result) if hasattr(leaf, "dtype")]
    finite = all(np.isfinite(array).all() for array in numbers if array.dtype.kind == "f")
    return None if finite else "numbers that are not finite, of good arguments"


def draw(seed):
    """A function and arguments, of which one or two, or none, are odd; the same for a seed."""
    rng = np.random.default_rng(seed)
    name = NAMES[rng.integers(len(NAMES))]
    if name in COMPILE_EVERY_TIME and rng.integers(4):
        name = NAMES[rng.integers(len(NAMES))]
    arguments = dict(CALLS[name].arguments)
    spoilt = rng.permutation(list(arguments))[: rng.choice([0, 1, 2], p=[0.02, 0.78, 0.2])]
    for argument in spoilt:
        arguments[argument] = odd(rng, arguments[argument])
    return name, arguments, not len(spoilt)


def faults(seeds):
    """The seeds of calls with a wrong outcome, by function, with what was wrong."""
    found = collections.defaultdict(list)
    for seed in seeds:
        name, arguments, good = draw(seed)
        if fault := fault_of(CALLS[name], arguments, good=good):
            found[name].append(f"seed {seed}: {fault}")
    return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_odd_arguments_give_a_result_or_an_error_of_ours(unchecked, part):
    found = faults(range(part * CALLS_OF_A_PART, (part + 1) * CALLS_OF_A_PART))
    shown = [f"{name} ({len(lines)}): {lines[0]}" for name, lines in sorted(found.items())]
    assert not found, "\n".join(shown)


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (lambda: jnp.ones(2) + jnp.ones(3), "TypeError at"),
        (lambda: {}["key"], "KeyError at"),
        (lambda: jnp.log(-jnp.ones(2)), "not finite"),
        (lambda: jnp.ones(2), None),
        (lambda: hcl_jax.geometry.zero_sum(None), None),
    ],
)
def test_the_harness_tells_our_errors_from_others(unchecked, function, fault):
    class Wrapped:
        def __init__(self, function):
            self.function = function

    found = fault_of(Wrapped(function), {}, good=True)
    assert found is None if fault is None else fault in found
