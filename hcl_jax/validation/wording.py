"""How a message shows what was found."""

from typing import Any

import numpy as np


def described(value: Any) -> str:
    """An object of the wrong type: by its name where it has one, shown where it is short."""
    if callable(value) and hasattr(value, "__name__"):
        return f"the {'class' if isinstance(value, type) else 'function'} {value.__name__}"
    short = value is None or isinstance(value, (str, int, float, complex))
    return repr(value) if short and len(repr(value)) < 40 else f"a {type(value).__name__}"


def shown(value: Any) -> str:
    """Concrete numbers, however long."""
    array = np.asarray(value)
    if array.dtype == object and array.ndim == 0:
        return f"an integer of {len(str(abs(value)))} digits"
    return repr(array.item()) if array.ndim == 0 else np.array2string(array, threshold=8)
