"""Tiles: rows cut into blocks of equal length, so that no (rows, rows) matrix is ever whole.

Arrays of n rows are padded to a multiple of the block length and read a block at a time inside a
loop. Padded rows are marked invalid; where no padding is needed the mark is None, which costs
nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from hcl_jax.padding import varying_like

Index = Int[Array, ""] | np.integer | int
"""The number of a block: a constant in loops that are written out."""


UNROLLED = 1
"""Loops of at most this many steps are written out, so that XLA can merge equal work."""


def tile_length(length: int, backend: str | None = None) -> int:
    """The block length for `length` rows: small enough for the cache, large enough for the matmul.

    Args:
        length: the number of rows.
        backend: "cpu", "gpu" or "tpu"; by default the one JAX uses.

    Returns:
        A number of rows, at most `length`.

    Example:
        >>> tile_length(8192, "cpu"), tile_length(300, "cpu"), tile_length(131072, "tpu")
        (1024, 300, 2048)
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


def block_of(tree: Any, index: Index, block: int) -> Any:
    """Block number `index` of every array of a tree.

    Args:
        tree: arrays whose first axis is a multiple of `block`.
        index: which block.
        block: the block length.

    Returns:
        The same tree of shorter arrays.

    Example:
        >>> import jax.numpy as jnp
        >>> block_of(jnp.arange(6), jnp.int32(1), 2).tolist()
        [2, 3]
    """
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, index * block, block), tree)


def add_to_block(
    total: Shaped[Array, "n ..."], index: Index, part: Shaped[Array, "block ..."]
) -> Shaped[Array, "n ..."]:
    """Adds `part` to block number `index` of `total`.

    Args:
        total: an array of whole blocks.
        index: which block.
        part: what to add.

    Returns:
        The sum.

    Example:
        >>> import jax.numpy as jnp
        >>> add_to_block(jnp.zeros(4), jnp.int32(1), jnp.ones(2)).tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    start = index * part.shape[0]
    old = lax.dynamic_slice_in_dim(total, start, part.shape[0])
    return lax.dynamic_update_slice_in_dim(total, old + part, start, 0)


def fold(step: Any, start: Any, indices: Any, *, like: Any) -> Any:
    """Runs ``state = step(state, *index)`` over rows of index arrays.

    Args:
        step: the body.
        start: the first state.
        indices: a tuple of equally long index arrays.
        like: any array computed from the data; inside `jax.shard_map` the state is marked as
            varying over the same mesh axes.

    Returns:
        The last state.

    Example:
        >>> import jax.numpy as jnp
        >>> fold(lambda s, i: s + i, jnp.int32(0), (jnp.arange(4),), like=jnp.zeros(1)).item()
        6
    """
    start = varying_like(start, like)
    if len(indices[0]) <= UNROLLED:
        for index in zip(*indices, strict=True):
            start = step(start, *index)
        return start
    return lax.scan(lambda state, index: (step(state, *index), None), start, indices)[0]


def unless(condition: Bool[Array, ""], compute: Any, otherwise: Any) -> Any:
    """``otherwise if condition else compute()``, also under `jax.vmap` computed only where needed.

    `jax.lax.cond` under `jax.vmap` computes both sides; a loop of at most one step does not.

    Args:
        condition: whether to keep `otherwise`.
        compute: a function without arguments; its result has the types of `otherwise`.
        otherwise: arrays.

    Returns:
        One of the two.

    Example:
        >>> import jax.numpy as jnp
        >>> unless(jnp.array(True), lambda: jnp.float32(1), jnp.float32(2)).item()
        2.0
    """
    needed, otherwise = varying_like((~condition, otherwise), (condition, otherwise))
    last = lax.while_loop(
        lambda state: state[0],
        lambda state: varying_like((jnp.zeros_like(needed), compute()), (condition, otherwise)),
        (needed, otherwise),
    )
    return last[1]


def inner_products(
    x: Float[Array, "n dim"], y: Float[Array, "m dim"], precision: Any
) -> Float[Array, "n m"]:
    """``x @ y.T`` in at least float32.

    Args:
        x: one vector a row.
        y: one vector a row.
        precision: of the multiplication, see `jax.lax.Precision`.

    Returns:
        The matrix of inner products.

    Example:
        >>> import jax.numpy as jnp
        >>> inner_products(jnp.ones((1, 2)), jnp.ones((2, 2)), None).tolist()
        [[2.0, 2.0]]
    """
    dtype = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
    return lax.dot_general(
        x, y, (((1,), (1,)), ((), ())), precision=precision, preferred_element_type=dtype
    )


def triangle(blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """The tiles (I, J) with I <= J.

    Args:
        blocks: the number of blocks of rows.

    Returns:
        The row and column numbers of the tiles.

    Example:
        >>> [indices.tolist() for indices in triangle(2)]
        [[0, 0, 1], [0, 1, 1]]
    """
    rows, columns = np.triu_indices(blocks)
    return rows.astype(np.int32), columns.astype(np.int32)


def rectangle(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """All tiles (I, J), row by row.

    Args:
        rows: the number of blocks of rows.
        columns: the number of blocks of columns.

    Returns:
        The row and column numbers of the tiles.

    Example:
        >>> [indices.tolist() for indices in rectangle(1, 2)]
        [[0, 0], [0, 1]]
    """
    i, j = np.divmod(np.arange(rows * columns, dtype=np.int32), np.int32(columns))
    return i, j
