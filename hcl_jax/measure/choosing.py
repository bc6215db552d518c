"""Which array of a file is the embeddings, and which the labels: guessed, and said.

A guess is made where there is one candidate, or one with a usual name; otherwise it is asked for.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from hcl_jax.measure.arrays import (
    Stored,
    layer,
    npy_arrays,
    npz_arrays,
    read_all,
    safetensors_arrays,
)
from hcl_jax.measure.class_names import KEY, names_of, numbered, texts, without_class_names
from hcl_jax.measure.extras import InputError
from hcl_jax.measure.hints import (
    NAMELESS,
    all_of,
    if_bfloat16,
    if_one_column,
    if_one_hot,
    if_without_names,
)
from hcl_jax.measure.tables import DELIMITERS, csv_arrays, parquet_arrays
from hcl_jax.system.counting import counted

READERS: dict[str, Callable[[Path], dict[str, Stored]]] = {
    ".npy": npy_arrays,
    ".npz": npz_arrays,
    ".parquet": parquet_arrays,
    ".safetensors": safetensors_arrays,
}
MATRICES = ("embeddings", "embedding", "projections", "features", "representations", "z", "x")
LABELS = ("labels", "label", "y", "targets", "target", "classes", "class")
"""Usual names, the better ones first."""

INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
"""Names of columns that have none, as pandas writes its index to CSV and Parquet, and reads it."""

MOST_CLASSES = 4096


class Keys(NamedTuple):
    """What was asked for; None for a guess.

    Attributes:
        embeddings: the name of the embeddings.
        labels: the name of the labels.
        ignore: the label of rows to leave out.
    """

    embeddings: str | None = None
    labels: str | None = None
    ignore: str | None = None


class Classes(NamedTuple):
    """The class of every row.

    Attributes:
        labels: from 0, in the order of the names; -1 for rows to leave out.
        names: the labels as texts.
        sizes: the number of members of every class.
    """

    labels: Int[np.ndarray, " n"]
    names: tuple[str, ...]
    sizes: Int[np.ndarray, " classes"]


class Source(NamedTuple):
    """Embeddings and classes, and what was taken for them.

    The rows are a matrix, or several for the same labels, stacked along a first axis.
    """

    name: str
    rows: Stored
    classes: Classes
    notes: tuple[str, ...]


def open_source(path: Path, labels: Path | None, keys: Keys) -> Source:
    """The embeddings of a file, with the labels of the same or of another."""
    arrays, class_names = without_class_names(
        arrays_of(path, keys.labels), path, has_labels=labels is None
    )
    name, rows = _embeddings(arrays, keys.embeddings, path)
    beside = {k: a for k, a in arrays.items() if k != name}
    if labels is not None:
        beside, own_names = without_class_names(
            arrays_of(labels, keys.labels), labels, has_labels=True
        )
        class_names = own_names or class_names
    label_name, stored = _labels(beside, keys.labels, name, rows, labels or path)
    where = f" of {labels.name}" if labels else ""
    notes = [f"embeddings: {name} {rows.shape} {rows.dtype}, labels: {label_name}{where}"]
    if rows.note:
        notes.append(f"embeddings are {rows.note}")
    if left := sorted(set(beside) - {label_name}):
        shown = [name or NAMELESS for name in left[:8]]
        notes.append(f"not used: {', '.join(shown)}{' ..' if len(left) > 8 else ''}")
    ignore = numbered(keys.ignore, class_names)
    classes = classes_of(read_all(stored), label_name, ignore)
    if class_names and (names := names_of(classes.names, class_names)):
        classes = classes._replace(names=names)
        notes.append(f"names of classes: {KEY}")
    elif class_names:
        notes.append(f"not used: {KEY}, which are {len(class_names)} and do not fit the labels")
    if ignored := int((classes.labels < 0).sum()):
        notes.append(f"{counted(ignored, 'row')} with label {keys.ignore} left out")
    return Source(str(path), rows, classes, tuple(notes))


def representations(source: Source) -> list[Source]:
    """The matrices of a stack, such as those of the seeds of a run; one matrix is one."""
    if len(source.rows.shape) == 2:
        return [source]
    count = source.rows.shape[0]
    if count == 1:
        return [source._replace(rows=layer(source.rows, 0))]
    return [
        source._replace(
            name=f"{source.name}-{n + 1}",
            rows=layer(source.rows, n),
            notes=(*source.notes, f"number {n + 1} of {count} along the first axis"),
        )
        for n in range(count)
    ]


def arrays_of(path: Path, labels: str | None) -> dict[str, Stored]:
    """The arrays of a file, by the end of its name; `labels` may be the number of a column."""
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if not path.is_file():
        inside = path / "embeddings.npz"
        hint = f"; that of the run is {inside}" if inside.is_file() else ""
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise InputError(f"{path} is {kind}, not a file of embeddings or labels{hint}")
    if path.suffix in DELIMITERS:
        return csv_arrays(path, DELIMITERS[path.suffix], labels)
    if path.suffix not in READERS:
        hint = ""
        if path.suffix in (".pt", ".pth", ".pkl", ".bin"):
            hint = "; pickles are not read, write numpy.savez(FILE, embeddings=.., labels=..)"
        raise InputError(f"{path.name} is none of {', '.join((*DELIMITERS, *READERS))}{hint}")
    return READERS[path.suffix](path)


def classes_of(labels: np.ndarray, name: str, ignore: str | None) -> Classes:
    """Labels of any kind as integers from 0."""
    labels = texts(labels.reshape(len(labels)), name)
    if labels.dtype.kind not in "fiubU":
        raise InputError(f"{name} must be numbers or texts, got dtype {labels.dtype}")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.round(labels)).any():
            raise InputError(f"{name} must be whole numbers or texts, got fractions or NaN")
        if (large := labels[np.abs(labels) >= 2.0**63]).size:
            raise InputError(f"{name} must be whole numbers below 2^63 in size, got {large[0]:g}")
        labels = labels.astype(np.int64)
    values, indices = np.unique(labels, return_inverse=True)
    names = [str(value) for value in values]
    kept = np.array([name != ignore for name in names])
    if ignore is not None and kept.all():
        raise InputError(f"no row has the label {ignore} that is to be ignored")
    negative = [name for name, k in zip(names, kept, strict=True) if k and _is_negative(name)]
    if negative and labels.dtype.kind == "i":
        raise InputError(
            f"{name} has negative labels such as {negative[0]}, which are no class: leave such "
            f"rows out by --ignore-label={negative[0]}"
        )
    if empty := [name for name, k in zip(names, kept, strict=True) if k and not name.strip()]:
        raise InputError(
            f"{name} has rows with an empty text, which is no class: leave such rows out by "
            f"--ignore-label={empty[0]!r}"
        )
    if not 2 <= kept.sum() <= MOST_CLASSES:
        raise InputError(
            f"{name} must have 2 to {MOST_CLASSES} different labels, since classes are compared, "
            f"got {kept.sum()}"
        )
    rank = np.where(kept, np.cumsum(kept) - 1, -1)
    integers = rank[indices].astype(np.int32)
    sizes = np.bincount(integers[integers >= 0], minlength=int(kept.sum()))
    return Classes(integers, tuple(n for n, k in zip(names, kept, strict=True) if k), sizes)


def _is_negative(name: str) -> bool:
    return name.startswith("-")


def _embeddings(arrays: Mapping[str, Stored], key: str | None, path: Path) -> tuple[str, Stored]:
    """The matrix of floating point that is meant, or the stack of matrices."""
    candidates = _matrices(arrays)
    if key is not None:
        _check_key(key, arrays, path, "--embeddings-key")
        name = key
    elif not arrays:
        raise InputError(f"{path} is empty: it holds no array")
    elif not candidates:
        raise InputError(
            f"{path} has no matrix of floating point, but {all_of(arrays)}"
            f"{if_one_column(arrays, path)}{if_bfloat16(arrays)}"
        )
    else:
        name = _one_of(candidates, MATRICES, path, "--embeddings-key")
    stored = arrays[name]
    if len(stored.shape) not in (2, 3) or not _is_floating(stored) or 0 in stored.shape:
        raise InputError(
            "embeddings must be a matrix (rows, dim) of float16 to float64 that is not empty, or "
            f"several (number, rows, dim), got {name} of shape {stored.shape} and dtype "
            f"{stored.dtype}"
        )
    return name, stored


def _matrices(arrays: Mapping[str, Stored]) -> dict[str, Stored]:
    """The matrices of floating point; else the stacks of them, best those with as many labels."""
    floating = {k: a for k, a in arrays.items() if _is_floating(a) and not INDEX.fullmatch(k)}
    if found := {k: a for k, a in floating.items() if len(a.shape) == 2}:
        return found
    stacks = {k: a for k, a in floating.items() if len(a.shape) == 3}
    lengths = {a.shape[0] for a in arrays.values() if len(a.shape) == 1}
    return {k: a for k, a in stacks.items() if a.shape[1] in lengths} or stacks


def _labels(
    arrays: Mapping[str, Stored], key: str | None, of: str, rows: Stored, path: Path
) -> tuple[str, Stored]:
    """The vector that is meant, of a label for every row of what has the name `of`."""
    count = rows.shape[-2]
    vectors = {
        k: a for k, a in arrays.items() if len(a.shape) == 1 or (a.shape[1:] == (1,) and a.shape)
    }
    if key is not None:
        _check_key(key, arrays, path, "--labels-key")
        name = key
    else:
        named = {k: a for k, a in vectors.items() if not INDEX.fullmatch(k)}
        candidates = {k: a for k, a in named.items() if a.shape[0] == count} or named
        if not candidates:
            raise InputError(
                f"{path} has no vector of labels ({all_of(arrays)}): give --labels FILE"
                f"{if_one_hot(arrays, count)}{if_without_names(path)}"
            )
        likely = {k: a for k, a in candidates.items() if k.lower() in _partners(of)}
        usual = {k: a for k, a in candidates.items() if k.lower() in LABELS}
        whole = {k: a for k, a in candidates.items() if a.dtype.kind in "iubUS"}
        name = _one_of(likely or usual or whole or candidates, LABELS, path, "--labels-key")
    if name not in vectors or vectors[name].shape[0] != count:
        stack = f" in each part of {of} {rows.shape}" if len(rows.shape) == 3 else ""
        raise InputError(
            f"there must be one label for each of the {count} embeddings{stack}, got {name} of "
            f"shape {arrays[name].shape}{if_one_hot({name: arrays[name]}, count)}"
        )
    return name, vectors[name]


def _partners(name: str) -> set[str]:
    """What labels are called beside embeddings of this name: train_labels, y_train.

    >>> sorted(_partners("x_test"))[:3]
    ['class_test', 'classes_test', 'label_test']
    """
    words = name.lower().split("_")
    return {
        "_".join([*words[:i], label, *words[i + 1 :]])
        for i, word in enumerate(words)
        if word in MATRICES
        for label in LABELS
    }


def _is_floating(stored: Stored) -> bool:
    return bool(jnp.issubdtype(stored.dtype, jnp.floating)) and stored.dtype.itemsize in (2, 4, 8)


def _check_key(key: str, arrays: Mapping[str, Stored], path: Path, option: str) -> None:
    if key not in arrays:
        raise InputError(f"{option} {key}: {path} has {all_of(arrays)}")


def _one_of(
    candidates: Mapping[str, Stored], names: tuple[str, ...], path: Path, option: str
) -> str:
    """The only candidate, or the one with the best name."""
    if len(candidates) == 1:
        return next(iter(candidates))
    by_lower = {name.lower(): name for name in candidates}
    for name in names:
        if name in by_lower:
            return by_lower[name]
    raise InputError(f"{path} has {all_of(candidates)}: choose one by {option}")
