"""What is saved comes back bit for bit, from the latest checkpoint that is whole, or not at all."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from hcl_jax import data, networks, training
from hcl_jax.checkpoints import (
    CheckpointError,
    CheckpointMismatchError,
    Checkpoints,
    checksums,
    restore_best,
    restore_latest,
)
from hcl_jax.training import Program

NANS = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 0x00000001], np.uint32)
SPREAD = PartitionSpec("devices")


def mesh(devices):
    axis = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((devices,), ("devices",), axis, devices=jax.devices()[:devices])


def bits(tree):
    """Every leaf as bytes, with its dtype and shape."""

    def of(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return str(leaf.dtype), leaf.shape, np.array(jax.random.key_data(leaf)).tobytes()
        return str(leaf.dtype), leaf.shape, np.array(leaf).tobytes()

    return jax.tree.map(of, tree)


def state_of(step):
    return {"kernel": jnp.arange(6.0).reshape(2, 3) + step, "key": jax.random.key(step)}


def saved(directory, steps, **options):
    with Checkpoints(directory, **options) as checkpoints:
        for step in steps:
            checkpoints.save(step, state_of(step), {"step squared": step**2})


def names(directory):
    return sorted(path.name for path in Path(directory).iterdir() if path.name != "lock")


@pytest.mark.parametrize(
    "leaf",
    [
        jnp.asarray(NANS.view(np.float32)),
        jnp.asarray((NANS >> 16).astype(np.uint16).view(jnp.bfloat16)),
        jnp.asarray((NANS >> 16).astype(np.uint16).view(np.float16)),
        jnp.asarray(NANS),
        jnp.int32(-3),
        jnp.array([True, False]),
        jnp.zeros((0, 3), jnp.bfloat16),
        jax.random.key(7),
        jax.random.split(jax.random.key(2**31, impl="rbg"), (2, 3)),
        jnp.complex64(1 - 2j),
        jnp.arange(5, dtype=jnp.int8),
    ],
    ids=lambda leaf: f"{leaf.dtype}{list(leaf.shape)}",
)
def test_every_bit_comes_back(tmp_path, leaf):
    state = {"leaf": leaf, "other": jnp.ones(2)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
    restored = restore_latest(tmp_path, jax.eval_shape(lambda: state))
    assert bits(restored.state) == bits(state)


def test_training_resumes_as_if_nothing_had_happened(tmp_path):
    """The state is donated as soon as `save` returns, while it is being written."""
    split = data.gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=64).train
    model = networks.mlp(64, 3, depth=2, width=32, head=networks.Head((32,)))
    program = Program(model, optax.adam(1e-2), batch_size=64)
    hscl = training.traced_objective(supervised=True, beta=5.0)
    state = training.init_state(jax.random.key(0), program)
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        before = []
        for epoch in range(4):
            before.append(bits(state))
            checkpoints.save(epoch, state, {"epoch": epoch})
            state, infos = training.train_epoch(state, split, hscl, program)
    like = jax.eval_shape(lambda: training.init_state(jax.random.key(0), program))
    for epoch in (3, 2, 1, 0):
        restored = restore_latest(tmp_path, like)
        assert (restored.step, restored.notes) == (epoch, {"epoch": epoch})
        assert bits(restored.state) == before[epoch]
        (tmp_path / f"step_00000000{epoch}").rename(tmp_path / f"kept{epoch}")
        if epoch == 3:
            again, infos_again = training.train_epoch(restored.state, split, hscl, program)
            assert bits((again, infos_again)) == bits((state, infos))


def test_large_donated_buffers_are_copied_first(tmp_path):
    state = {"kernel": jax.random.normal(jax.random.key(0), (2048, 1024))}
    overwrite = jax.jit(lambda state: jax.tree.map(lambda x: -x, state), donate_argnums=0)
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        for step in range(4):
            before = bits(jax.tree.map(jnp.copy, state))
            checkpoints.save(step, state, {})
            state = overwrite(state)
            checkpoints.wait()
            assert bits(restore_latest(tmp_path, state).state) == before


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_other_devices(tmp_path, devices):
    values = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 8)
    state = {
        "split": jax.device_put(values, NamedSharding(mesh(4), SPREAD)),
        "copied": jax.device_put(values[0], NamedSharding(mesh(8), PartitionSpec())),
        "keys": jax.device_put(keys, NamedSharding(mesh(2), SPREAD)),
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
    wanted = {
        "split": NamedSharding(mesh(devices), PartitionSpec(None, "devices")),
        "copied": NamedSharding(mesh(devices), PartitionSpec()),
        "keys": NamedSharding(mesh(devices), SPREAD),
    }
    like = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=wanted[name])
        for name, leaf in state.items()
    }
    restored = restore_latest(tmp_path, like).state
    for name, leaf in restored.items():
        assert leaf.sharding.is_equivalent_to(wanted[name], leaf.ndim)
    expected = {"split": jnp.asarray(values), "copied": jnp.asarray(values[0]), "keys": keys}
    assert bits(restored) == bits(expected)


def test_arrays_nobody_has_placed_may_be_moved(tmp_path):
    saved(tmp_path, [1])
    for like in (state_of(0), jax.eval_shape(lambda: state_of(0))):
        restored = restore_latest(tmp_path, like).state
        assert not restored["kernel"].committed
        assert not restored["key"].committed
    second = jax.devices()[1]
    like = jax.device_put(state_of(0), second)
    restored = restore_latest(tmp_path, like).state
    assert restored["kernel"].sharding == SingleDeviceSharding(second)
    assert restored["key"].devices() == {second}


def test_nothing_there_is_none(tmp_path):
    assert restore_latest(tmp_path / "nowhere", state_of(0)) is None
    with Checkpoints(tmp_path / "a" / "b", best="accuracy") as checkpoints:
        assert checkpoints.restore_latest(state_of(0)) is None
    assert restore_best(tmp_path / "a" / "b", state_of(0), metric="accuracy") is None


def test_the_latest_of_a_run_stay(tmp_path):
    saved(tmp_path, [0, 7, 10, 1_000_000_000], keep=2)
    assert names(tmp_path) == ["step_000000010", "step_1000000000"]
    restored = restore_latest(tmp_path, state_of(0))
    assert restored.step == 1_000_000_000
    assert restored.notes == {"step squared": 10**18}
    assert bits(restored.state) == bits(state_of(1_000_000_000))
    assert restored.rejected == ()


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [
        ("max", [0.1, 0.9, 0.3, 0.2, 0.1], 1),
        ("min", [0.5, 0.9, 0.1, 0.2, 0.3], 2),
        ("max", [0.9, 0.9, 0.3, 0.2, 0.1], 1),
        ("max", [0.3, float("nan"), float("inf"), 0.2, 0.1], 0),
        ("min", [0.3, None, float("-inf"), 0.4, 0.5], 0),
        ("max", [None, "0.9", 0.3, 0.4, 0.2], 3),
    ],
)
def test_the_best_stays(tmp_path, mode, values, best):
    with Checkpoints(tmp_path, keep=1, best="accuracy", mode=mode) as checkpoints:
        for step, value in enumerate(values):
            notes = {} if value is None else {"accuracy": value}
            checkpoints.save(step, state_of(step), notes)
    assert names(tmp_path) == sorted({f"step_00000000{best}", "step_000000004"})
    found = restore_best(tmp_path, state_of(0), metric="accuracy", mode=mode)
    assert found.step == best
    assert bits(found.state) == bits(state_of(best))
    assert restore_best(tmp_path, state_of(0), metric="loss") is None


def test_the_best_falls_back_too(tmp_path):
    with Checkpoints(tmp_path, best="accuracy") as checkpoints:
        for step, accuracy in enumerate([0.7, 0.9, 0.8]):
            checkpoints.save(step, state_of(step), {"accuracy": accuracy})
    next((tmp_path / "step_000000001").rglob("manifest.ocdbt")).unlink()
    found = restore_best(tmp_path, state_of(0), metric="accuracy")
    assert found.step == 2
    assert [rejected.step for rejected in found.rejected] == [1]


def test_training_continues_meanwhile(tmp_path, monkeypatch):
    """`save` returns before the checkpoint is there; the next one waits."""
    may_finish, write = threading.Event(), checksums.write

    def slow_write(directory):
        assert may_finish.wait(60)
        write(directory)

    monkeypatch.setattr(checksums, "write", slow_write)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1), {})
        assert names(tmp_path) == ["step_000000001.1.saving"]
        threading.Timer(0.2, may_finish.set).start()
        checkpoints.save(2, state_of(2), {})
        assert "step_000000001" in names(tmp_path)
        checkpoints.wait()
        assert names(tmp_path) == ["step_000000001", "step_000000002"]
        checkpoints.save(3, state_of(3), {})
        checkpoints.wait()
        assert names(tmp_path)[-1] == "step_000000003"


def damages(checkpoint):
    """Ways to damage each file of a checkpoint, as (what was done, to which file)."""
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        content, name = path.read_bytes(), path.relative_to(checkpoint).as_posix()
        path.unlink()
        yield "removed", name
        path.write_bytes(content + b"\0")
        yield "longer", name
        if content:
            path.write_bytes(content[:-1])
            yield "truncated", name
            for position in {0, len(content) // 2, len(content) - 1}:
                flipped = bytearray(content)
                flipped[position] ^= 1 << (position % 8)
                path.write_bytes(flipped)
                yield "flipped", name
        path.write_bytes(content)


def test_whatever_is_damaged_is_found_and_named(tmp_path):
    saved(tmp_path, [1, 2])
    damaged, files = tmp_path / "step_000000002", set()
    for what, name in damages(damaged):
        restored = restore_latest(tmp_path, state_of(0))
        assert restored.step == 1, (what, name)
        assert bits(restored.state) == bits(state_of(1))
        (rejected,) = restored.rejected
        assert (rejected.step, rejected.path) == (2, damaged)
        if name != checksums.MANIFEST:
            assert rejected.reason.startswith(name), (what, rejected)
            expected = "is missing" if what == "removed" else "is truncated or altered"
            assert expected in rejected.reason
        files.add(name)
    assert {"checkpoint.json", "SHA256SUMS", "arrays/_CHECKPOINT_METADATA"} < files
    assert len(files) >= 8
    assert restore_latest(tmp_path, state_of(0)).step == 2, "it was put back whole"


def test_none_whole_is_an_error_that_names_them_all(tmp_path):
    saved(tmp_path, [1, 2])
    (tmp_path / "step_000000001" / "SHA256SUMS").unlink()
    (tmp_path / "step_000000002" / "checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        restore_latest(tmp_path, state_of(0))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"no checkpoint in {tmp_path} is whole:"
    assert lines[1].startswith(
        f"  {tmp_path}/step_000000002 is not whole: checkpoint.json is truncated or altered: "
        "its sha256 is"
    )
    assert lines[2] == f"  {tmp_path}/step_000000001 is not whole: SHA256SUMS is missing"


def test_a_checkpoint_that_is_not_whole_makes_way(tmp_path):
    """Also with keep=1, where counting the faulty one would remove the only good one."""
    saved(tmp_path, [1, 5], keep=2)
    (tmp_path / "step_000000005" / "checkpoint.json").unlink()
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.restore_latest(state_of(0)).step == 1
        checkpoints.save(3, state_of(3), {})
    assert names(tmp_path) == ["step_000000003", "step_000000005.faulty"]
    restored = restore_latest(tmp_path, state_of(0))
    assert (restored.step, restored.rejected) == (3, ())


def test_one_of_the_same_step_is_replaced(tmp_path):
    saved(tmp_path, [1])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(8), {"again": True})
    assert names(tmp_path) == ["step_000000001"]
    restored = restore_latest(tmp_path, state_of(0))
    assert restored.notes == {"again": True}
    assert bits(restored.state) == bits(state_of(8))


def test_steps_do_not_go_back(tmp_path):
    saved(tmp_path, [5])
    with Checkpoints(tmp_path) as checkpoints:
        message = f"step must be at least 5, .* in {tmp_path}, got 4"
        with pytest.raises(ValueError, match=message):
            checkpoints.save(4, state_of(4), {})
    assert restore_latest(tmp_path, state_of(0)).step == 5


@pytest.mark.parametrize(
    ("like", "line"),
    [
        ({"a": jnp.ones((2, 3)), "b": [jnp.ones(4)]}, "b/0: found float32[3], expected float32[4]"),
        ({"a": jnp.ones((3, 2)), "b": [jnp.ones(3)]}, "a: found float32[2, 3], expected float32"),
        (
            {"a": jnp.ones((2, 3), jnp.bfloat16), "b": [jnp.ones(3)]},
            "a: found float32[2, 3], expected bfloat16[2, 3]",
        ),
        ({"a": jnp.ones((2, 3))}, "b/0: found float32[3], expected nothing"),
        (
            {"a": jnp.ones((2, 3)), "b": [jnp.ones(3), jax.random.key(0)]},
            "b/1: found nothing, expected key<fry>[]",
        ),
    ],
)
def test_other_arrays_are_refused_by_name(tmp_path, like, line):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": jnp.ones((2, 3)), "b": [jnp.ones(3)]}, {})
    with pytest.raises(CheckpointMismatchError) as caught:
        restore_latest(tmp_path, like)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{tmp_path}/step_000000001 holds other arrays:"
    assert len(lines) == 1
    assert line in lines[0]


def test_many_other_arrays_are_counted(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, [jnp.ones(3)] * 12, {})
    with pytest.raises(CheckpointMismatchError, match=r"  4: .*\n  and 7 more$"):
        restore_latest(tmp_path, [jnp.ones(4)] * 12)


def test_what_cannot_be_saved_is_named(tmp_path, unchecked):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(TypeError, match=r"rate/0 must be a jax.Array, got float"):
            checkpoints.save(1, {"rate": [0.1]}, {})
        with pytest.raises(TypeError, match="ndarray is not JSON serializable"):
            checkpoints.save(1, state_of(1), {"accuracy": np.ones(2)})
        with pytest.raises(ValueError, match="no arrays"):
            checkpoints.save(1, {}, {})
        with pytest.raises(ValueError, match="step must be at least 0, got -1"):
            checkpoints.save(-1, state_of(1), {})
        with pytest.raises(TypeError, match=r"step must be an integer, got 1\.5"):
            checkpoints.save(1.5, state_of(1), {})
    with pytest.raises(ValueError, match="mode must be one of 'max', 'min', got 'best'"):
        Checkpoints(tmp_path, mode="best")
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        Checkpoints(tmp_path, keep=0)
    assert names(tmp_path) == []


def test_orbax_is_imported_when_it_is_needed():
    code = "import sys, hcl_jax, hcl_jax.checkpoints; sys.exit('orbax.checkpoint' in sys.modules)"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, env=dict(os.environ), check=True)
