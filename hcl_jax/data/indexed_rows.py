"""Some rows of an array that stays where it is, such as in a file that is mapped into memory."""

from typing import Any

import numpy as np
from jaxtyping import Int, Shaped


class IndexedRows:
    """Rows of an array by their numbers: indexing reads those that are asked for, and no others.

    Example:
        >>> some = IndexedRows(np.arange(10) ** 2, np.array([2, 5, 7]))
        >>> some.shape, some[1:].tolist(), some[np.array([[0], [2]])].tolist()
        ((3,), [25, 49], [[4], [49]])
    """

    def __init__(self, array: Shaped[np.ndarray, "n ..."], rows: Int[np.ndarray, " m"]) -> None:
        self.array, self.rows = array, rows
        self.dtype = array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the rows would have as an array."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return self.array.ndim

    @property
    def nbytes(self) -> int:
        """The bytes that the rows would take as an array."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        return np.asarray(self.array[(self.rows[first], *rest)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows that are gathered are a copy")
        return np.asarray(self.array[self.rows], dtype)


def rows_of(array: Any, rows: Int[np.ndarray, " m"]) -> Any:
    """The rows as an array; of a file that is mapped into memory as an index into it."""
    if isinstance(array, IndexedRows):
        return IndexedRows(array.array, array.rows[rows])
    return IndexedRows(array, rows) if isinstance(array, np.memmap) else array[rows]
