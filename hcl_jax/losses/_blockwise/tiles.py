"""Tiles: rows cut into blocks of equal length, so that no (rows, rows) matrix is ever whole.

Arrays of n rows are padded to a multiple of the block length and read a block at a time inside a
loop. Padded rows are marked invalid; where no padding is needed the mark is None, which costs
nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Integer, Shaped, UInt32

from hcl_jax.padding import varying_like

T = TypeVar("T")

Index = Integer[Array, ""] | np.integer | int
"""The index of a block: a constant in loops that are written out.

Unsigned, as JAX has to look at the sign of others.
"""

UNROLLED = 1
"""Loops of at most this many steps are written out, so that XLA can merge equal work."""


def tile_length(length: int, backend: str | None = None) -> int:
    """The block length for `length` rows: small enough for the cache, large enough for the matmul.

    `backend` is by default the one JAX uses.
    """
    backend = jax.default_backend() if backend is None else backend
    if backend == "cpu":
        longest = 1024 if length >= 8192 else 512
    else:
        longest = 4096 if backend in ("gpu", "cuda", "rocm") else 2048
    if length <= longest:
        return length
    divisors = [t for t in range(longest, longest // 2, -8) if length % t == 0]
    return divisors[0] if divisors else longest


def block_of(tree: T, index: Index, block: int) -> T:
    """Block `index` of every array of a tree."""
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, index * block, block), tree)


def add_to_block(
    total: Shaped[Array, "n ..."], index: Index, part: Shaped[Array, "block ..."]
) -> Shaped[Array, "n ..."]:
    """`total` with `part` added to its block `index`."""
    start = index * part.shape[0]
    old = lax.dynamic_slice_in_dim(total, start, part.shape[0])
    return lax.dynamic_update_slice_in_dim(total, old + part, start, 0)


def fold(
    step: Callable[..., T], start: T, indices: Sequence[Shaped[np.ndarray, " k"]], *, like: Any
) -> T:
    """Runs ``state = step(state, *index)`` over rows of equally long index arrays.

    Inside `jax.shard_map` the state is marked as varying over the mesh axes of `like`.
    """
    start = varying_like(start, like)
    if len(indices[0]) <= UNROLLED:
        for index in zip(*indices, strict=True):
            start = step(start, *index)
        return start
    return lax.scan(lambda state, index: (step(state, *index), None), start, tuple(indices))[0]


def compute_if(needed: Bool[Array, ""], compute: Callable[[], T], otherwise: T) -> T:
    """``compute() if needed else otherwise``, also under `jax.vmap` computed only where needed.

    `jax.lax.cond` under `jax.vmap` computes both sides; a loop of at most one step does not.
    """
    needed, otherwise = varying_like((needed, otherwise), (needed, otherwise))
    marks = (needed, otherwise)
    last = lax.while_loop(
        lambda state: state[0],
        lambda state: varying_like((jnp.zeros_like(needed), compute()), marks),
        marks,
    )
    return last[1]


def triangle(blocks: int) -> tuple[UInt32[np.ndarray, " k"], UInt32[np.ndarray, " k"]]:
    """The row and column indices of the tiles (I, J) with I <= J."""
    rows, columns = np.triu_indices(blocks)
    return rows.astype(np.uint32), columns.astype(np.uint32)


def rectangle(rows: int, columns: int) -> tuple[UInt32[np.ndarray, " k"], UInt32[np.ndarray, " k"]]:
    """The row and column indices of all tiles (I, J), row by row."""
    i, j = np.divmod(np.arange(rows * columns, dtype=np.uint32), np.uint32(columns))
    return i, j
