"""Chunks from the host: bit for bit those of indexing, at most two at a time, no thread left."""

import contextlib
import gc
import threading
import weakref

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hcl_jax.data import Split, chunks, place_split

WAIT = 20  # seconds after which a transfer that has not begun counts as a failure


@pytest.fixture
def split():
    rng = np.random.default_rng(0)
    return Split(
        rng.integers(0, 256, (50, 4, 5, 3), dtype=np.uint8),
        rng.integers(0, 10, 50, dtype=np.int32),
    )


def batches_of(steps, batch=4):
    return np.random.default_rng(1).integers(0, 50, (steps, batch))


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("chunks")]


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("steps_per_chunk", [1, 3, 20])
def test_chunks_are_what_indexing_gives(split, steps, steps_per_chunk):
    batches = batches_of(steps)
    found = list(chunks(split, batches, steps_per_chunk=steps_per_chunk))
    lengths = [len(chunk.labels) for chunk in found]
    assert lengths[:-1] == [steps_per_chunk] * (len(found) - 1)
    assert 0 < lengths[-1] <= steps_per_chunk
    images = np.concatenate([chunk.images for chunk in found])
    assert images.dtype == np.uint8
    for step, batch in enumerate(batches):
        for position, index in enumerate(batch):
            np.testing.assert_array_equal(images[step, position], split.images[index])
    labels = np.concatenate([chunk.labels for chunk in found])
    np.testing.assert_array_equal(labels, split.labels[batches])
    assert all(isinstance(chunk.images, jax.Array) for chunk in found)


def test_no_steps_are_no_chunks(split):
    assert list(chunks(split, batches_of(0), steps_per_chunk=2)) == []


class Counted:
    """A `put` that records what it loads and lets a test wait for it."""

    def __init__(self, total):
        self.loaded = [threading.Event() for _ in range(total)]
        self.alive = []

    def __call__(self, chunk):
        chunk = jax.device_put(chunk)
        self.alive.append(weakref.ref(chunk.images))
        self.loaded[len(self.alive) - 1].set()
        return chunk

    def count_alive(self):
        gc.collect()
        return sum(reference() is not None for reference in self.alive)


def test_the_next_chunk_is_loaded_while_one_is_in_use_and_no_more(split):
    put = Counted(total=5)
    for number, _chunk in enumerate(chunks(split, batches_of(5), steps_per_chunk=1, put=put)):
        if number < 4:
            assert put.loaded[number + 1].wait(WAIT), "nothing is loaded while a chunk is in use"
        assert len(put.alive) == min(number + 2, 5)
        assert put.count_alive() == min(2, 5 - number)


def test_loading_does_not_begin_before_it_is_asked_for(split):
    put = Counted(total=2)
    iterator = chunks(split, batches_of(2), steps_per_chunk=1, put=put)
    assert put.alive == []
    assert workers() == []
    next(iterator)
    assert len(put.alive) >= 1


def test_each_chunk_is_in_memory_of_its_own(split):
    kept = list(chunks(split, batches_of(4), steps_per_chunk=1, put=lambda chunk: chunk))
    assert not any(np.shares_memory(chunk.images, split.images) for chunk in kept)
    assert not any(np.shares_memory(a.images, b.images) for a in kept for b in kept if a is not b)


def test_exceptions_of_the_thread_come_where_the_chunk_would(split):
    calls = []

    def put(chunk):
        calls.append(chunk)
        if len(calls) == 3:
            raise MemoryError("the device is full")
        return chunk

    stream = chunks(split, batches_of(6), steps_per_chunk=1, put=put)
    next(stream)
    next(stream)
    with pytest.raises(MemoryError, match="the device is full"):
        next(stream)
    assert len(calls) == 3
    assert workers() == []


def test_a_consumer_that_raises_leaves_no_thread(split):
    def consume():
        with contextlib.closing(chunks(split, batches_of(6), steps_per_chunk=1)) as stream:
            for _ in stream:
                assert workers()
                raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        consume()
    assert workers() == []


def test_a_dropped_iterator_leaves_no_thread(split):
    stream = chunks(split, batches_of(6), steps_per_chunk=1)
    next(stream)
    assert len(workers()) == 1
    del stream
    gc.collect()
    assert workers() == []


def test_devices_each_get_their_part(split):
    devices = np.array(jax.devices())
    assert len(devices) == 8
    sharding = NamedSharding(Mesh(devices, "devices"), PartitionSpec(None, "devices"))
    batches = batches_of(5, batch=16)
    found = chunks(
        split, batches, steps_per_chunk=2, put=lambda chunk: jax.device_put(chunk, sharding)
    )
    for start, chunk in zip((0, 2, 4), found, strict=True):
        expected = batches[start : start + 2]
        for shard in chunk.images.addressable_shards:
            device = int(np.flatnonzero(devices == shard.device)[0])
            part = expected[:, 2 * device : 2 * device + 2]
            np.testing.assert_array_equal(shard.data, split.images[part])
        np.testing.assert_array_equal(chunk.labels, split.labels[expected])


def test_budget_counts_images_and_labels(split):
    size = 50 * 4 * 5 * 3 + 50 * 4
    assert place_split(split, budget_bytes=size - 1) == (split, None)
    host, resident = place_split(split, budget_bytes=size)
    assert host is split
    assert isinstance(resident.images, jax.Array)
    assert resident.images.dtype == np.uint8
    np.testing.assert_array_equal(resident.images, split.images)
    np.testing.assert_array_equal(resident.labels, split.labels)


def test_a_resident_split_is_what_put_returns(split):
    placed = place_split(split, put=lambda whole: Split(whole.labels, whole.images))
    assert placed.resident.images is split.labels


def test_a_split_that_does_not_fit_is_not_put(split):
    def put(_):
        raise AssertionError("put was called")

    assert place_split(split, budget_bytes=0, put=put).resident is None


ERRORS = {
    "steps_per_chunk must be at least 1, got 0": lambda split: chunks(
        split, batches_of(2), steps_per_chunk=0
    ),
    r"indices in 0\.\.49, got 50": lambda split: chunks(
        split, np.array([[0, 50]]), steps_per_chunk=1
    ),
    r"indices in 0\.\.49, got -1": lambda split: chunks(
        split, np.array([[0, -1]]), steps_per_chunk=1
    ),
    "budget_bytes must be at least 0, got -1": lambda split: place_split(split, budget_bytes=-1),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_come_at_once(split, message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message](split)


@pytest.mark.parametrize("batches", [np.zeros((2, 2)), np.zeros(3, int)])
def test_batches_of_another_kind(split, batches, unchecked):
    with pytest.raises(TypeError, match="integers of shape"):
        chunks(split, batches, steps_per_chunk=1)


ODD = {
    "batches must be a NumPy or JAX array of numbers, got a list": lambda split: chunks(
        split, [[0, 1]], steps_per_chunk=1
    ),
    "images must be a NumPy or JAX array of numbers, got a list": lambda split: place_split(
        Split([[1.0]], split.labels)
    ),
    "labels must be a NumPy or JAX array of numbers, got a NoneType": lambda split: chunks(
        Split(split.images, None), batches_of(1), steps_per_chunk=1
    ),
    r"of one length, got shapes \(50, 4, 5, 3\) and \(49,\)": lambda split: chunks(
        Split(split.images, split.labels[1:]), batches_of(1), steps_per_chunk=1
    ),
    r"of one length, got shapes \(50, 4, 5, 3\) and \(\)": lambda split: place_split(
        Split(split.images, np.int32(3))
    ),
}


@pytest.mark.parametrize("message", ODD)
def test_what_is_no_split_is_named(split, message, unchecked):
    with pytest.raises((ValueError, TypeError), match=message):
        ODD[message](split)
