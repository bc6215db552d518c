"""The accumulator against `measure` of all rows at once, in hard numbers, and its refusals."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from hcl_jax import geometry
from hcl_jax.geometry import Accumulator

CLASSES, DIM = 4, 6
RNG = np.random.default_rng(0)
LABELS = np.concatenate([np.arange(CLASSES), RNG.integers(0, CLASSES, 60)]).astype(np.int32)
ROWS = RNG.normal(size=(CLASSES, DIM))[LABELS] + 0.3 * RNG.normal(size=(64, DIM))
BOUNDS = (0, 3, 33, 63, 64)
"""Batches of 3, 30, 30 and 1 rows; the first and the last know only some of the classes."""

add, finish = jax.jit(Accumulator.add), jax.jit(Accumulator.finish)
measure = jax.jit(geometry.measure, static_argnums=2)


def streamed(rows, labels=LABELS, bounds=BOUNDS):
    state = Accumulator.init(CLASSES, DIM)
    for start, stop in itertools.pairwise(bounds):
        state = add(state, jnp.asarray(rows[start:stop]), jnp.asarray(labels[start:stop]))
    return state


def expected(rows, labels=LABELS):
    """What `measure` says of all rows, and the fields of classes from their definitions."""
    found = measure(jnp.asarray(rows), jnp.asarray(labels), CLASSES)._asdict()
    del found["within_class"]
    of_class = [np.asarray(rows, np.float64)[labels == c] for c in range(CLASSES)]
    found["sizes"] = [len(members) for members in of_class]
    found["means"] = np.array([members.mean(axis=0) for members in of_class])
    squares = [np.square(members - members.mean(axis=0)).sum(axis=1) for members in of_class]
    found["spreads"] = [np.sqrt(s.mean()) for s in squares]
    found["cdnv"] = np.mean(
        [
            (squares[a].mean() + squares[b].mean())
            / (2 * np.square(found["means"][a] - found["means"][b]).sum())
            for a, b in itertools.permutations(range(CLASSES), 2)
        ]
    )
    return found


def assert_agree(found, wanted, rtol):
    for name, value in found._asdict().items():
        unit = np.abs(np.asarray(wanted[name])).max()
        np.testing.assert_allclose(
            value, wanted[name], rtol=rtol, atol=rtol * unit, err_msg=f"{name}"
        )


def test_it_agrees_with_measure_in_float64(x64):
    """Without a promotion of ranks, or of dtypes but of narrow rows to the state's."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        found = finish(streamed(ROWS))
        cdnv = geometry.cdnv(jnp.asarray(ROWS), jnp.asarray(LABELS), CLASSES)
        add(Accumulator.init(CLASSES, DIM), jnp.ones((1, DIM), jnp.bfloat16), jnp.ones(1, jnp.int8))
    assert found.means.dtype == jnp.float64
    assert_agree(found, expected(ROWS), 1e-12)
    np.testing.assert_allclose(cdnv, found.cdnv, rtol=1e-12)


def test_classes_at_one_point_are_not_apart():
    assert geometry.cdnv(jnp.ones((4, 2)), jnp.arange(4) % 2, 2) == jnp.inf


def test_it_agrees_with_measure_in_float32():
    """To some roundings of float32, and in half precision to what the rows hold."""
    rows = ROWS.astype(np.float32)
    assert_agree(finish(streamed(rows)), expected(rows), 1e-5)
    half = ROWS.astype(np.float16)
    assert_agree(finish(streamed(half)), expected(half.astype(np.float32)), 1e-5)


def test_classes_far_from_the_origin():
    """Sums of squares would lose everything: the offset is squared 10^8, the spread 0.1."""
    rows = (ROWS + 1e4).astype(np.float32)
    found = finish(streamed(rows))
    with jax.enable_x64(True):
        exact = expected(rows.astype(np.float64))
    for name in ("alignment", "spreads", "cdnv"):
        np.testing.assert_allclose(getattr(found, name), exact[name], rtol=1e-3, err_msg=name)
    rounding = np.finfo(np.float32).eps * 1e4
    np.testing.assert_allclose(found.means, exact["means"], atol=rounding)


@pytest.mark.slow
def test_a_million_equal_rows_and_as_many_batches():
    """One class moves, the others are a point each, whose spread stays 0 to the last bit."""

    def step(state, number):
        rows = jnp.full((1, DIM), 0.1) * (1 + number % 4)
        rows = rows + jnp.where(number % 4 == 3, jnp.where(number % 8 == 3, 0.1, -0.1), 0)
        return state.add(rows, (number % 4)[None]), None

    state, _ = jax.lax.scan(step, Accumulator.init(CLASSES, DIM), jnp.arange(2**20))
    found = finish(state)
    np.testing.assert_array_equal(found.sizes, 2**18)
    np.testing.assert_allclose(found.means, np.outer([0.1, 0.2, 0.3, 0.4], np.ones(DIM)), rtol=3e-7)
    np.testing.assert_array_equal(found.spreads[:3], 0)
    np.testing.assert_allclose(found.spreads[3], 0.1 * np.sqrt(DIM), rtol=1e-6)


def test_many_rows_in_one_batch():
    rows = np.random.default_rng(1).normal(size=(2**18, DIM)).astype(np.float32) + 3
    labels = (np.arange(2**18) % CLASSES).astype(np.int32)
    state = streamed(rows, labels, (0, 2**18))
    exact = rows.astype(np.float64)
    means = exact.reshape(-1, CLASSES, DIM).mean(axis=0)
    around = exact - means[labels]
    np.testing.assert_allclose(state.means.total, means, rtol=1e-6)
    scatter = around.T @ around
    found = np.asarray(state.scatter.total, np.float64) * float(state.scale) ** 2
    np.testing.assert_allclose(found, scatter, atol=1e-5 * np.abs(scatter).max())


@pytest.mark.parametrize("exponent", [-80, 60])
def test_the_unit_of_length_changes_no_digit(exponent):
    rows = ROWS.astype(np.float32)
    one = finish(streamed(rows))
    other = finish(streamed(rows * np.float32(2.0**exponent)))
    for name in ("nc1", "cdnv", "equal_inner_product", "nc2_equinorm", "effective_rank"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_array_equal(one.spreads * np.float32(2.0**exponent), other.spreads)


def test_merged_and_over_devices(x64):
    whole = finish(streamed(ROWS))._asdict()
    parts = [streamed(ROWS[i::8], LABELS[i::8], (0, 8)) for i in range(8)]
    order = [3, 0, 7, 1, 2, 6, 5, 4]
    merged = functools.reduce(Accumulator.merge, [parts[i] for i in order])
    assert_agree(finish(merged), whole, 1e-12)
    mesh = jax.make_mesh((8,), ("device",), axis_types=(jax.sharding.AxisType.Auto,))
    spread, one = PartitionSpec("device"), PartitionSpec()

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(spread, spread), out_specs=one)
    def over_devices(rows, labels):
        return Accumulator.init(CLASSES, DIM).add(rows, labels).merge_over("device").finish()

    assert_agree(jax.jit(over_devices)(jnp.asarray(ROWS), jnp.asarray(LABELS)), whole, 1e-12)


def test_padding_is_not_counted(unchecked):
    rows, labels = np.full((30, DIM), np.nan, np.float32), np.full(30, -1, np.int32)
    rows[:7], labels[:7] = ROWS[:7], LABELS[:7]
    where = jnp.arange(30) < 7
    state = add(Accumulator.init(CLASSES, DIM), rows, labels, where=where)
    plain = add(Accumulator.init(CLASSES, DIM), rows[:7], labels[:7])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state, plain)


def test_what_cannot_be_looked_at_is_refused_in_the_end(unchecked):
    rows = ROWS.astype(np.float32)
    rows[5, 0] = np.nan
    labels = LABELS.copy()
    labels[:3] = 4, -1, 2
    state = add(Accumulator.init(CLASSES, DIM), rows, labels)
    message = r"2 had a label out of 0\.\.3 and 1 others were not finite"
    with pytest.raises(ValueError, match=message):
        state.finish()
    assert jnp.isnan(finish(state).nc1)
    assert jnp.isnan(finish(overflown(Accumulator.init(CLASSES, DIM))).nc1)


def overflown(state):
    """Merged of two, of which one has as many members of a class as are counted, the other one."""
    rows, labels = jnp.ones((CLASSES, DIM)), jnp.arange(CLASSES)
    one = add(state, rows, labels)
    return one._replace(sizes=one.sizes.at[2].set(2**31 - 1)).merge(one)


ERRORS = {
    "labels must lie in 0..3, got 4": lambda s: s.add(jnp.ones((1, DIM)), jnp.array([4])),
    "embeddings must be finite": lambda s: s.add(jnp.full((1, DIM), jnp.nan), jnp.array([0])),
    "must have dimension 6, got 5": lambda s: s.add(jnp.ones((1, 5)), jnp.array([0])),
    "where must be booleans of shape": lambda s: s.add(
        jnp.ones((1, DIM)), jnp.array([0]), where=jnp.ones(2, bool)
    ),
    "3 of 4 classes have none": lambda s: add(s, jnp.ones((1, DIM)), jnp.array([1])).finish(),
    "a class has more than 2\\^31 - 1 members": lambda s: overflown(s).finish(),
    "the same classes and dimensions": lambda s: s.merge(Accumulator.init(3, DIM)),
    "num_classes must be at least 2": lambda s: s.init(1, DIM),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(unchecked, message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message](Accumulator.init(CLASSES, DIM))


def test_a_state_takes_no_wider_embeddings(unchecked):
    state = Accumulator.init(CLASSES, DIM)
    with jax.enable_x64(True), pytest.raises(TypeError, match="the state is float32, narrower"):
        state.add(jnp.asarray(ROWS), jnp.asarray(LABELS))
