"""Two processes save one checkpoint, read it, and both learn of the error of one."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from references.processes import environment_with, free_address, side_by_side

from hcl_jax.checkpoints import restore_latest

ROOT = Path(__file__).parents[2]
PROCESS = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_platforms", "cpu")
address, rank, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
jax.distributed.initialize(address, num_processes=2, process_id=rank)
import numpy as np
from hcl_jax.checkpoints import Checkpoints, CheckpointError, checksums, restore_best
from hcl_jax.system.preemption import preemption
from jax.sharding import NamedSharding, PartitionSpec

mesh = jax.make_mesh((2,), ("devices",), (jax.sharding.AxisType.Auto,))
rows, everywhere = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["devices"], []))

def state_of(step):
    values = np.arange(8, dtype=np.float32).reshape(4, 2) + step
    return {
        "rows": jax.make_array_from_callback((4, 2), rows, lambda index: values[index]),
        "copied": jax.make_array_from_callback((4, 2), everywhere, lambda index: values[index]),
    }

def check(restored, step, rejected):
    assert (restored.step, restored.notes) == (step, {"step": step})
    assert [one.step for one in restored.rejected] == rejected, restored.rejected
    for name, array in state_of(step).items():
        found = restored.state[name]
        assert found.sharding.is_equivalent_to(array.sharding, 2)
        for a, b in zip(found.addressable_shards, array.addressable_shards, strict=True):
            np.testing.assert_array_equal(a.data, b.data)

with Checkpoints(directory, keep=2, best="step", mode="min") as checkpoints:
    assert checkpoints.restore_latest(state_of(0)) is None
    for step in (1, 2, 3, 4):
        checkpoints.save(step, state_of(step), {"step": step})
    check(checkpoints.restore_latest(state_of(0)), 4, [])
    check(restore_best(directory, state_of(0), metric="step", mode="min"), 1, [])
    if rank == 0:
        (directory / "step_000000004" / "checkpoint.json").unlink()
    check(checkpoints.restore_latest(state_of(0)), 3, [4])
    checkpoints.save(4, state_of(4), {"step": 4})
    check(checkpoints.restore_latest(state_of(0)), 4, [])
    if rank == 0:
        def full(*args):
            raise OSError(28, "No space left on device")
        checksums.write = full
    checkpoints.save(5, state_of(5), {"step": 5})
    try:
        checkpoints.wait()
        raise AssertionError("process 0 has failed")
    except CheckpointError as error:
        assert str(error).endswith(["No space left on device", "process 0 says why"][rank]), error
    check(checkpoints.restore_latest(state_of(0)), 4, [])
    with preemption() as asked:
        assert not asked.requested_anywhere()
        if rank == 1:
            import os, signal
            os.kill(os.getpid(), signal.SIGTERM)
        assert asked.requested_anywhere()
        assert asked.requested == (rank == 1)
print("equal")
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    address = free_address()
    commands = [[sys.executable, "-c", PROCESS, address, str(r), str(tmp_path)] for r in range(2)]
    ended = side_by_side(commands, cwd=ROOT, env=environment_with(devices=1))
    for status, printed in ended:
        assert (status, "equal" in printed.splitlines()) == (0, True), printed[-3000:]
    names = sorted(path.name for path in tmp_path.glob("step_*"))
    assert names == [f"step_00000000{step}" for step in (1, 3, 4)] + ["step_000000004.faulty"]
    like = {name: jnp.zeros((4, 2)) for name in ("copied", "rows")}
    expected = np.arange(8, dtype=np.float32).reshape(4, 2) + 4
    for found in restore_latest(tmp_path, like).state.values():
        np.testing.assert_array_equal(found, expected)
