"""What errors show of a file, and what may have been meant."""

from collections.abc import Mapping
from pathlib import Path

from hcl_jax.measure.arrays import Stored
from hcl_jax.measure.tables import DELIMITERS

NAMELESS = "a column without a name"


def all_of(arrays: Mapping[str, Stored]) -> str:
    """Names with shapes and dtypes."""
    parts = [f"{name or NAMELESS} {a.shape} {a.dtype}" for name, a in list(arrays.items())[:6]]
    return "; ".join(parts) + ("; .." if len(arrays) > 6 else "") if parts else "no other array"


def if_one_column(arrays: Mapping[str, Stored], path: Path) -> str:
    """What separates the columns of a table that has but one."""
    marks = {",": "commas", "\t": "tabs"}
    one = len(arrays) == 1 and path.suffix in DELIMITERS
    return (
        f"; columns of {path.suffix} are separated by {marks[DELIMITERS[path.suffix]]}"
        if one
        else ""
    )


def if_bfloat16(arrays: Mapping[str, Stored]) -> str:
    """What NumPy's own files make of bfloat16: bytes that may be anything."""
    found = [k for k, a in arrays.items() if a.dtype.kind == "V" and a.dtype.itemsize == 2]
    return (
        f"; was {found[0]} bfloat16, which npy and npz files cannot say? then save "
        f"{found[0]}.astype('float32'), or write safetensors"
        if found
        else ""
    )


def if_without_names(path: Path) -> str:
    """How a column is meant in a table without names."""
    return (
        ", or, where columns have no names, --labels-key=-1 for the last, 0 for the first"
        if path.suffix in DELIMITERS
        else ""
    )


def if_one_hot(arrays: Mapping[str, Stored], count: int) -> str:
    """What to save if a matrix with a row for each embedding has the labels."""
    found = [k for k, a in arrays.items() if len(a.shape) == 2 and a.shape[0] == count]
    return f"; is {found[0]} one-hot? then save {found[0]}.argmax(1)" if found else ""
