"""Names of classes that stand beside their numbers, as in the embeddings.npz of a training run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from hcl_jax.measure.arrays import Stored, read_all
from hcl_jax.measure.extras import InputError

KEY = "class_names"


def without_class_names(
    arrays: Mapping[str, Stored], path: Path, *, has_labels: bool
) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """The other arrays of a file, and the names of classes 0, 1, ..; none where they are labels.

    Texts are names of classes if no other vector of the archive has their length, and if labels are
    elsewhere: in another vector, or in another file (not `has_labels`).
    """
    others = {key: array for key, array in arrays.items() if key != KEY}
    stored = arrays.get(KEY)
    lengths = [array.shape[0] for array in others.values() if len(array.shape) == 1]
    if (
        stored is None
        or path.suffix != ".npz"
        or len(stored.shape) != 1
        or stored.dtype.kind not in "US"
        or stored.shape[0] in lengths
        or (has_labels and not lengths)
    ):
        return dict(arrays), ()
    return others, tuple(texts(read_all(stored), f"{KEY} of {path}").tolist())


def texts(values: Shaped[np.ndarray, " n"], name: str) -> Shaped[np.ndarray, " n"]:
    """Texts from bytes; other values as they are. InputError for bytes that are no UTF-8."""
    if values.dtype.kind != "S":
        return values
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        row = next(row for row, value in enumerate(values) if value == error.object)
        raise InputError(
            f"{name} must be text in UTF-8, but row {row} has the bytes {error.object!r}"
        ) from error


def numbered(label: str | None, class_names: Sequence[str]) -> str | None:
    """A label by its number, if it is the name of one."""
    if label is None or label not in class_names or label.isdecimal():
        return label
    return str(class_names.index(label))


def names_of(labels: Sequence[str], class_names: Sequence[str]) -> tuple[str, ...] | None:
    """The name of each number; None if some are no place in the names.

    >>> names_of(["0", "2", "3"], ["cat", "crane", "dog", "crane"])
    ('cat', 'dog', 'crane')
    >>> names_of(["1", "3"], ["cat", "crane", "dog", "crane"])
    ('crane (1)', 'crane (3)')
    """
    if not all(label.isdecimal() and int(label) < len(class_names) for label in labels):
        return None
    found = [class_names[int(label)] for label in labels]
    often = Counter(found)
    return tuple(
        f"{name} ({label})" if often[name] > 1 else name
        for name, label in zip(found, labels, strict=True)
    )
