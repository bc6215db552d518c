"""CSV and Parquet files as arrays: pyarrow reads them, some rows at a time.

Columns that are numbered, such as z0, z1, .., are one matrix under the name before the number; a
column of lists is a matrix too. Every other column is a vector.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hcl_jax.measure.arrays import Stored, refusing, repeated
from hcl_jax.measure.extras import InputError, need
from hcl_jax.system.counting import counted

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""What separates columns, by the end of the name of a file."""

LABELS = "labels"
"""The name of a column that is known by its number."""

ROWS = 8192
"""Rows of a Parquet file that are read at a time."""

Batches = Callable[[list[str]], Iterator["pa.RecordBatch"]]
"""Gives some columns, a batch of rows at a time."""


class _Column(NamedTuple):
    """A column: its name, its type, and how long its lists are, if it is one of lists."""

    name: str
    type: "pa.DataType"
    length: int | None


def csv_arrays(path: Path, delimiter: str, labels: str | None) -> dict[str, Stored]:
    """The columns of a CSV file, with or without a line of names.

    Without names, `labels` may be the number of a column, from 0 or, negative, from the end: it is
    then apart, under that number.
    """
    need(("pyarrow",), f"{path.name}")
    import pyarrow as pa
    from pyarrow import csv, types

    names = _first_line(path, delimiter)
    headless = _are_numbers(names)
    apart = _place(path, labels, len(names)) if headless else None
    if headless:
        names = [f"f{number}" for number in range(len(names))]
    if apart is not None:
        names = [*names[:apart], LABELS, *names[apart:-1]]
    read = csv.ReadOptions(column_names=names if headless else None)
    parse = csv.ParseOptions(delimiter=delimiter)

    def batches(
        columns: list[str], kind: "pa.DataType | None" = None
    ) -> Iterator["pa.RecordBatch"]:
        kinds = {name: kind for name in columns if kind is not None}
        convert = csv.ConvertOptions(
            include_columns=columns, column_types=kinds, strings_can_be_null=kind == pa.string()
        )
        with (
            refusing(f"{path}"),
            path.open("rb") as file,
            csv.open_csv(file, read, parse, convert) as reader,
        ):
            yield from reader

    first = next(batches([]), None)  # its types are those of the file, but of whole numbers
    if first is None or not first.num_rows:
        raise InputError(f"{path} has no rows")
    schema = first.schema
    with refusing(f"{path}"):
        names = schema.names
    _check_names(names, path)
    count = sum(batch.num_rows for batch in batches([schema.names[0]], pa.string()))
    columns = [_Column(f.name, f.type, None) for f in schema]
    inside = {column.name for group in _numbered(columns, path).values() for column in group}
    whole = {column.name for column in columns if types.is_integer(column.type)} - inside

    def typed(names: list[str]) -> Iterator["pa.RecordBatch"]:
        if whole.issuperset(names):
            return _as_written(batches(names, pa.string()), path)
        return batches(names, pa.float64() if inside.issuperset(names) else None)

    found = _arrays(columns, count, typed, path)
    return found if apart is None else {labels or "": found.pop(LABELS), **found}


def _place(path: Path, labels: str | None, count: int) -> int | None:
    """The place of the column of labels that is meant by a number, if one is."""
    if labels is None or not re.fullmatch(r"-?\d+", labels):
        return None
    if not -count <= int(labels) < count:
        raise InputError(
            f"--labels-key {labels}: {path} has no names of columns, and their numbers are 0 to "
            f"{count - 1}, or -1 for the last to -{count}"
        )
    return int(labels) % count


def parquet_arrays(path: Path) -> dict[str, Stored]:
    """The columns of a Parquet file."""
    need(("pyarrow",), f"{path.name}")
    from pyarrow import parquet

    with refusing(f"{path}"), path.open("rb") as opened, parquet.ParquetFile(opened) as file:
        count, schema = file.metadata.num_rows, file.schema_arrow
        _check_names(schema.names, path)
        first = next(iter(file.iter_batches(1)), None)
    if first is None:
        raise InputError(f"{path} has no rows")

    def batches(columns: list[str]) -> Iterator["pa.RecordBatch"]:
        with refusing(f"{path}"), path.open("rb") as opened, parquet.ParquetFile(opened) as file:
            yield from file.iter_batches(ROWS, columns=columns)

    columns = []
    for field in schema:
        lists = _is_list(field.type)
        length = len(first.column(field.name)[0].as_py() or ()) if lists else None
        columns.append(_Column(field.name, field.type.value_type if lists else field.type, length))
    return _arrays(columns, count, batches, path)


def _check_names(names: Sequence[str], path: Path) -> None:
    twice = repeated(names)
    if twice is not None:
        raise InputError(f"{path} has two columns of the name {twice!r}, and one would be lost")


def _as_written(batches: Iterator["pa.RecordBatch"], path: Path) -> Iterator["pa.RecordBatch"]:
    """A column of whole numbers that was read as texts, which it stays if one of them is 01."""
    import pyarrow as pa
    from pyarrow.compute import call_function

    table = pa.Table.from_batches(list(batches))
    texts = call_function("utf8_trim_whitespace", [table.column(0)])
    with refusing(f"{path}"):
        numbers = texts.cast(pa.int64())
    same = call_function("equal", [numbers.cast(pa.string()), texts])
    if call_function("all", [same]).as_py() is not False:
        texts = numbers
    yield from pa.table({table.column_names[0]: texts}).to_batches()


def _first_line(path: Path, delimiter: str) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(2**24).strip()
    if not line:
        raise InputError(f"{path} has no first line")
    return [word.strip().strip('"') for word in line.split(delimiter)]


def _are_numbers(names: list[str]) -> bool:
    """Whether the first line is of numbers, but not the numbers of columns.

    A fraction is no name, so that what stands beside one, such as the name of a class, is none.
    """
    if any(re.fullmatch(r"[-+]?\d*\.\d+(e[-+]?\d+)?", name.lower()) for name in names):
        return True
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return False
    counted = [str(n) for n in range(len(names))]
    return len(numbers) == 1 or names != counted


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _arrays(columns: list[_Column], count: int, batches: Batches, path: Path) -> dict[str, Stored]:
    """The arrays that columns are."""
    found, numbered = {}, _numbered(columns, path)
    inside = {column.name for group in numbered.values() for column in group}
    for prefix, group in numbered.items():
        names = [column.name for column in group]
        dtype = np.result_type(*{_dtype(column.type) for column in group})
        note = f"{counted(len(names), 'column')}, {names[0]} to {names[-1]}"
        whole = [column.name for column in group if _dtype(column.type).kind != "f"]
        if whole and dtype.kind == "f":
            note += f", with whole numbers in {', '.join(whole[:8])}{' ..' * (len(whole) > 8)}"
        found[prefix] = Stored((count, len(names)), dtype, _matrix(names, batches), note)
    for column in columns:
        if column.name in inside:
            continue
        if column.name in found:
            raise InputError(
                f"{path} has a column {column.name!r} beside the columns "
                f"{numbered[column.name][0].name!r}, .., and one name cannot be both"
            )
        dtype = _dtype(column.type)
        shape = (count,) if column.length is None else (count, column.length)
        blocks = (
            _vector(column, batches) if column.length is None else _lists(column, batches, path)
        )
        found[column.name] = Stored(shape, dtype, blocks)
    return found


def _dtype(kind: Any) -> np.dtype:
    """The dtype of NumPy; that of texts for whatever is no number and no bytes."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _dtype(kind.value_type)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return np.dtype(np.bytes_)
    if types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind):
        return np.dtype(kind.to_pandas_dtype())
    return np.dtype(np.str_)


def _numbered(columns: list[_Column], path: Path) -> dict[str, list[_Column]]:
    """Columns of numbers with one name and the numbers of a range, in its order, two or more.

    Integers count where another column of the name is of floating point: CSV files write 1 for 1.0.
    """
    groups: dict[str, dict[int, list[_Column]]] = {}
    for column in columns:
        match = re.fullmatch(r"(.*?)(\d+)", column.name, re.DOTALL)
        if match and column.length is None and _dtype(column.type).kind in "fiu":
            group = groups.setdefault(match[1].rstrip("_-. "), {})
            group.setdefault(int(match[2]), []).append(column)
    found = {}
    for prefix, group in groups.items():
        numbers = sorted(group)
        whole = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        inside = [column for number in numbers for column in group[number]]
        if whole and any(_dtype(column.type).kind == "f" for column in inside):
            if len(inside) > len(numbers):
                one, other = next(same for same in group.values() if len(same) > 1)[:2]
                raise InputError(f"columns {one.name} and {other.name} of {path} have one number")
            found[prefix or "columns"] = inside
    return found


def _matrix(names: list[str], batches: Batches) -> Callable[[], Iterator[np.ndarray]]:
    def blocks() -> Iterator[np.ndarray]:
        for batch in batches(names):
            parts = [batch.column(name).to_numpy(zero_copy_only=False) for name in names]
            yield np.stack(parts, axis=1)

    return blocks


def _vector(column: _Column, batches: Batches) -> Callable[[], Iterator[np.ndarray]]:
    kind = np.bytes_ if _dtype(column.type).kind == "S" else np.str_
    texts = _dtype(column.type).kind in "US"

    def blocks() -> Iterator[np.ndarray]:
        for batch in batches([column.name]):
            part = batch.column(column.name)
            if part.null_count:
                raise InputError(f"the column {column.name} has rows without a value")
            values = part.to_numpy(zero_copy_only=False)
            yield values.astype(kind) if texts or values.dtype.kind == "O" else values

    return blocks


def _lists(column: _Column, batches: Batches, path: Path) -> Callable[[], Iterator[np.ndarray]]:
    def blocks() -> Iterator[np.ndarray]:
        for batch in batches([column.name]):
            part = batch.column(column.name)
            lengths = part.value_lengths().unique()
            if part.null_count or lengths.to_pylist() != [column.length]:
                raise InputError(
                    f"the lists of {column.name} of {path} differ in length: "
                    f"{column.length} and {lengths.to_pylist()}"
                )
            numbers = part.flatten().to_numpy(zero_copy_only=False)
            yield numbers.reshape(len(part), -1)

    return blocks
