"""Checks of what is no number: functions, objects of a class, names, paths and precisions."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from hcl_jax.validation.wording import described


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if not isinstance(value, (str, int, float, np.generic, type(None))) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_function(name: str, value: Any) -> None:
    """Raises TypeError unless `value` can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {described(value)}")


def check_kind(name: str, value: Any, kind: type, such_as: str) -> None:
    """Raises TypeError unless `value` is of a class; `such_as` is an expression that makes one."""
    if not isinstance(value, kind):
        expected = f"{name} must be a {kind.__name__}, such as {such_as}"
        raise TypeError(f"{expected}, got {described(value)}")


def check_path(name: str, value: Any) -> Path:
    """The path; raises unless it is a `Path` or a string that names something."""
    if not isinstance(value, (str, Path)):
        raise TypeError(f"{name} must be a path, got {described(value)}")
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
