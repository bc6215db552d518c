"""The two passes over the rows of a file, in chunks of one shape and in float64.

The first finds class means and squared deviations (`hcl_jax.geometry.Accumulator`) and keeps a
sample; the second what needs the class means: distances, and what classifiers say.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.evaluation import class_mean_scores, nearest_mean_scores
from hcl_jax.geometry import Accumulator, StreamedGeometry
from hcl_jax.measure.arrays import chunks
from hcl_jax.measure.choosing import Source
from hcl_jax.measure.extras import InputError
from hcl_jax.normalization import Normalization
from hcl_jax.precision import norms
from hcl_jax.system.counting import counted
from hcl_jax.system.progress import progress_bar

CHUNK = 2**21
"""Numbers of the rows of a chunk, and of their scores for all classes, at most: 16 MiB each in
float64, of which a handful exist at once."""


class Chunk(NamedTuple):
    """Rows beside each other, padded to the shape of all chunks."""

    start: int
    rows: Float[np.ndarray, "chunk dim"]
    labels: Int[np.ndarray, " chunk"]
    where: Bool[np.ndarray, " chunk"]


class Totals(NamedTuple):
    """Sums of the second pass.

    Attributes:
        distances: the distances of the members of a class to its mean, summed.
        norms: the norms of the members of a class, summed.
        confusion: how many members of a class (row) are nearest to the mean of a class (column).
        hits: how many rows have the largest inner product with the mean of their class.
    """

    distances: Float[Array, " classes"]
    norms: Float[Array, " classes"]
    confusion: Int[Array, "classes classes"]
    hits: Int[Array, ""]


def first_pass(
    source: Source, normalize: Normalization, wanted: Int[np.ndarray, " sample"]
) -> tuple[StreamedGeometry, Float[np.ndarray, "sample dim"]]:
    """What the class sums and squares say, and some rows, whose numbers are wanted in order."""
    state = Accumulator.init(len(source.classes.names), source.rows.shape[1])
    kept = []
    for chunk in _chunks(source, "class means"):
        state, rows = _first(state, *chunk[1:], normalize=normalize)
        state.sizes.block_until_ready()  # else chunks would be waiting in memory
        low, high = np.searchsorted(wanted, [chunk.start, chunk.start + len(chunk.rows)])
        kept.append(np.asarray(rows)[wanted[low:high] - chunk.start])
    return state.finish(), np.concatenate(kept)


def second_pass(
    source: Source, normalize: Normalization, means: Float[Array, "classes dim"]
) -> Totals:
    """What needs the class means."""
    count = len(source.classes.names)
    totals = Totals(
        jnp.zeros(count), jnp.zeros(count), jnp.zeros((count, count), jnp.int32), jnp.int32(0)
    )
    for chunk in _chunks(source, "distances"):
        totals = _second(totals, *chunk[1:], means, normalize=normalize)
        totals.hits.block_until_ready()
    return totals


@partial(jax.jit, static_argnames="normalize", donate_argnums=0)
def _first(
    state: Accumulator,
    rows: Float[Array, "chunk dim"],
    labels: Int[Array, " chunk"],
    where: Bool[Array, " chunk"],
    *,
    normalize: Normalization,
) -> tuple[Accumulator, Float[Array, "chunk dim"]]:
    rows = normalize(rows)
    return state.add(rows, labels, where=where), rows


@partial(jax.jit, static_argnames="normalize", donate_argnums=0)
def _second(
    totals: Totals,
    rows: Float[Array, "chunk dim"],
    labels: Int[Array, " chunk"],
    where: Bool[Array, " chunk"],
    means: Float[Array, "classes dim"],
    *,
    normalize: Normalization,
) -> Totals:
    rows, count = normalize(rows), len(means)
    labels = jnp.where(where, labels, count)  # a number that sums leave out
    nearest = jnp.argmax(nearest_mean_scores(rows, means), axis=1).astype(jnp.int32)
    largest = jnp.argmax(class_mean_scores(rows, means), axis=1)

    def of_classes(values: Float[Array, " chunk"]) -> Float[Array, " classes"]:
        return jax.ops.segment_sum(values, labels, count)

    distances = norms(rows - means[jnp.minimum(labels, count - 1)])
    return Totals(
        totals.distances + of_classes(distances),
        totals.norms + of_classes(norms(rows)),
        totals.confusion.at[labels, nearest].add(1, mode="drop"),
        totals.hits + jnp.sum(largest == labels, dtype=jnp.int32),
    )


def _chunks(source: Source, what: str) -> Iterator[Chunk]:
    """The rows of a source, under a progress bar; InputError for the first that is not finite."""
    count, dim = source.rows.shape
    size = min(count, max(1, CHUNK // max(dim, len(source.classes.names))))
    with _progress(count, what) as advance:
        start = 0
        for part in chunks(source.rows, size):
            stop = start + len(part)
            labels = np.zeros(size, np.int32)
            labels[: len(part)] = source.classes.labels[start:stop]
            where = (np.arange(size) < len(part)) & (labels >= 0)
            rows = part
            if len(part) < size:
                rows = np.zeros((size, dim))
                rows[: len(part)] = part
            _check_finite(rows, where, start, source.name)
            rows[~where] = 0
            yield Chunk(start, rows, np.maximum(labels, 0), where)
            advance(len(part))
            start = stop
        if start != count:
            raise InputError(f"{source.name} has {start} rows, not {count}; has it been changed?")


def _check_finite(
    rows: Float[np.ndarray, "chunk dim"], where: Bool[np.ndarray, " chunk"], start: int, name: str
) -> None:
    wrong = np.flatnonzero(where & ~np.isfinite(rows).all(axis=1))
    if wrong.size:
        raise InputError(
            f"embeddings must be finite, but row {start + wrong[0]} of {name} is not "
            f"({len(wrong)} of the {counted(where.sum(), 'row')} read with it)"
        )


@contextlib.contextmanager
def _progress(count: int, what: str) -> Iterator[Callable[[int], object]]:
    """A progress bar that stays away from what is done at once."""
    with progress_bar(total=count, desc=what, unit="row", unit_scale=True, leave=False) as bar:
        yield bar.update
