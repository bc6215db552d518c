"""Rows of a mapped array by their numbers: the same as the rows themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax.data import Split, channel_statistics, chunks, place_split
from hcl_jax.data.indexed_rows import IndexedRows, rows_of

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 1), np.uint8)
ROWS = np.array([3, 19, 0, 7, 8, 11])


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    return rows_of(np.load(tmp_path / "images.npy", mmap_mode="r"), ROWS)


def test_they_are_an_index_of_what_is_mapped_and_a_copy_of_what_is_not(mapped):
    assert isinstance(mapped, IndexedRows)
    assert isinstance(rows_of(IMAGES, ROWS), np.ndarray)
    again = rows_of(mapped, np.array([4, 1]))
    assert isinstance(again.array, np.memmap)
    np.testing.assert_array_equal(np.asarray(again), IMAGES[[8, 19]])


@pytest.mark.parametrize(
    "index", [2, slice(1, 4), np.array([[0, 5], [2, 2]]), (slice(2), 1), (0, 2, 3, 0)]
)
def test_indexing_is_that_of_the_rows(mapped, index):
    found = mapped[index]
    np.testing.assert_array_equal(found, IMAGES[ROWS][index])
    assert not isinstance(found, np.memmap) or found.base is None


def test_it_says_what_it_would_be(mapped):
    held = IMAGES[ROWS]
    assert (mapped.shape, mapped.dtype, mapped.ndim) == (held.shape, held.dtype, held.ndim)
    assert (len(mapped), mapped.nbytes) == (len(held), held.nbytes)
    with pytest.raises(ValueError, match="are a copy"):
        np.asarray(mapped, copy=False)


def test_it_is_placed_streamed_and_measured_as_the_rows(mapped):
    labels = np.arange(6, dtype=np.int32)
    placed = place_split(Split(mapped, labels))
    assert isinstance(placed.resident.images, jax.Array)
    np.testing.assert_array_equal(placed.resident.images, IMAGES[ROWS])
    batches = np.array([[5, 0], [3, 3]])
    [chunk] = chunks(Split(mapped, labels), batches, steps_per_chunk=2, put=lambda split: split)
    np.testing.assert_array_equal(chunk.images, IMAGES[ROWS][batches])
    assert channel_statistics(mapped) == channel_statistics(IMAGES[ROWS])
    np.testing.assert_array_equal(jnp.asarray(mapped[:2]), IMAGES[ROWS[:2]])
