"""The loss over devices is the loss of the global batch, and so is its gradient."""

import functools
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from references.processes import environment_with, free_address, side_by_side

from hcl_jax import hardening, objective, pairs, parallel
from hcl_jax.collectives import over_axis
from hcl_jax.conventions import Conventions, Objective
from hcl_jax.dispatch import batch_losses
from hcl_jax.losses import choose_exchange

LOCAL, DIM = 12, 5
ROUNDING = 16 * jnp.finfo(jnp.float32).eps
"""Two float32 gradients, each within 8 eps of the one in float64 on every processor tried."""
LAUNCHERS = ("pmap", "shard_map", "unchecked shard_map", "outside shard_map")


def batch(devices):
    """Labels are uneven: some rows are alone, and the first shard has one class only."""
    keys = jax.random.split(jax.random.key(devices))
    z = jax.random.normal(keys[0], (devices * LOCAL, DIM))
    z /= jnp.linalg.norm(z, axis=1, keepdims=True)
    labels = jax.random.randint(keys[1], (devices * LOCAL,), 0, 4)
    return z, labels.at[:LOCAL].set(0).at[-2].set(50)


def launched(launcher, losses, z, labels, devices):
    """Values and gradients of per-device losses, of one program, in global order."""
    chosen = jax.devices()[:devices]

    def step(z, labels, over=lambda loss: loss):
        return [jax.value_and_grad(over(loss))(z, labels) for loss in losses]

    if launcher == "pmap":
        step = parallel.launch(step, axis_name="devices", devices=chosen)
        found = step(z.reshape(devices, LOCAL, DIM), labels.reshape(devices, LOCAL))
        for value, _ in found:
            np.testing.assert_array_equal(value, value[0])
        return [(value[0], gradient.reshape(-1, DIM)) for value, gradient in found]
    mesh = jax.make_mesh((devices,), ("devices",), devices=chosen, axis_types=(AxisType.Auto,))
    spec = PartitionSpec("devices")
    over = functools.partial(jax.shard_map, mesh=mesh, in_specs=(spec, spec))
    if launcher == "outside shard_map":
        step = functools.partial(step, over=functools.partial(over, out_specs=PartitionSpec()))
    else:
        outputs = [(PartitionSpec(), spec)] * len(losses)
        step = over(step, out_specs=outputs, check_vma=launcher == "shard_map")
    return jax.jit(step)(z, labels)


class Setting(NamedTuple):
    """Which loss is compared."""

    supervised: bool
    average: str
    detached: bool

    @property
    def options(self):
        return {
            "supervised": self.supervised,
            "hardening": hardening.exponential(5.0),
            "average": self.average,
            "stop_gradient_hardening": self.detached,
        }


SETTINGS = tuple(
    Setting(supervised, average, average == "pairs")
    for supervised in (True, False)
    for average in ("pairs", "anchors")
)


@functools.cache
def of_one_device(devices, settings):
    """Values and gradients of the dense losses of the global batch."""
    z, labels = batch(devices)

    def loss(z, setting):
        return objective(z, labels, implementation="dense", **setting.options)

    return jax.jit(lambda z: [jax.value_and_grad(loss)(z, setting) for setting in settings])(z)


def compare(devices, launcher, exchange, settings):
    z, labels = batch(devices)

    def loss(setting, z, labels):
        return parallel.objective(
            z, labels, axis_name="devices", exchange=exchange, **setting.options
        )

    losses = [functools.partial(loss, setting) for setting in settings]
    found = launched(launcher, losses, z, labels, devices)
    for setting, (value, gradient), (wanted_value, wanted) in zip(
        settings, found, of_one_device(devices, settings), strict=True
    ):
        np.testing.assert_allclose(value, wanted_value, rtol=1e-6, err_msg=f"{setting}")
        error = jnp.linalg.norm(gradient - wanted) / jnp.linalg.norm(wanted)
        assert error <= ROUNDING, setting


@pytest.mark.parametrize("exchange", ["gather", "ring"])
@pytest.mark.parametrize(
    ("devices", "launcher"),
    [(2, "pmap"), (3, "shard_map"), (8, "unchecked shard_map"), (3, "outside shard_map")],
)
def test_devices_equal_one_device(devices, launcher, exchange):
    compare(devices, launcher, exchange, (Setting(False, "pairs", True),))


@pytest.mark.slow
@pytest.mark.parametrize("exchange", ["gather", "ring"])
@pytest.mark.parametrize(
    ("devices", "launcher"),
    [*((3, launcher) for launcher in LAUNCHERS), (2, "shard_map"), (8, "pmap")],
)
def test_devices_equal_one_device_in_every_way(devices, launcher, exchange):
    """All losses in one program, which takes less to compile than one of each."""
    compare(devices, launcher, exchange, SETTINGS)


def test_shared_parameters_need_the_sum_of_the_parts():
    """The control: the mean of the parts is too small by the number of devices."""
    z, labels = batch(2)

    def loss(scale, z, labels):
        return parallel.objective(
            scale * z,
            labels,
            axis_name="devices",
            supervised=True,
            hardening=hardening.exponential(2.0),
        )

    step = parallel.launch(jax.grad(loss), axis_name="devices", devices=jax.devices()[:2])
    parts = step(jnp.full(2, 0.9, jnp.float32), z.reshape(2, LOCAL, DIM), labels.reshape(2, LOCAL))

    def alone(scale):
        tilt = hardening.exponential(2.0)
        return objective(scale * z, labels, supervised=True, hardening=tilt)

    wanted = jax.jit(jax.grad(alone))(0.9)
    np.testing.assert_allclose(parts.sum(), wanted, rtol=1e-5)
    assert abs(parts.mean() - wanted) > 0.3 * abs(wanted)


def test_samples_over_devices():
    """Devices draw differently; with one possible negative each, the loss is known."""
    z = jnp.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]] * 2)
    labels = jnp.array([0, 0, 1, 1] * 2)

    def loss(z, labels):
        return parallel.objective(
            z,
            labels,
            axis_name="devices",
            supervised=True,
            hardening=hardening.exponential(3.0),
            num_negatives=3,
            key=jax.random.key(0),
        )

    value, gradient = parallel.launch(
        jax.value_and_grad(loss), axis_name="devices", devices=jax.devices()[:2]
    )(z.reshape(2, 4, 2), labels.reshape(2, 4))
    np.testing.assert_allclose(value, np.log1p(np.exp(-2.0)), rtol=1e-6)
    wanted = jax.grad(
        lambda z: objective(z, labels, supervised=True, hardening=hardening.no_hardening())
    )(z)
    # Draws differ, negatives do not: the gradient with respect to anchors is that of the weights
    # estimator, the one with respect to negatives has the same sum over equal rows.
    np.testing.assert_allclose(gradient.sum((0, 1)), wanted.sum(0), atol=1e-6)


def test_devices_draw_with_keys_of_their_own():
    z = jax.random.normal(jax.random.key(0), (1, 6, 3)).repeat(2, axis=0)
    labels = jnp.array([[0, 0, 1, 1, 2, 2]] * 2)
    scl = Objective(True, hardening.no_hardening())

    def totals(z, labels):
        rows = pairs.rows(labels, first=6 * jax.lax.axis_index("devices"))
        conventions, where = Conventions(num_negatives=4), over_axis("devices")
        losses = batch_losses(z, rows, scl, conventions, key=jax.random.key(0), collectives=where)
        return losses.total

    one, two = parallel.launch(totals, axis_name="devices", devices=jax.devices()[:2])(z, labels)
    assert not jnp.allclose(one, two)


def test_the_exchange_follows_the_formula():
    assert choose_exchange(1024, 128, 8) == "gather"
    assert choose_exchange(16384, 128, 8) == "gather"
    assert choose_exchange(16385, 128, 8) == "ring"
    assert choose_exchange(10**6, 128, 2) == "gather"


PROCESS = """
import sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
import numpy as np
sys.path[:0] = [sys.argv[3], sys.argv[3] + "/tests"]
from tests.parallel import test_parallel as test
z, labels = test.batch(2)
mine = slice(int(sys.argv[2]) * test.LOCAL, (int(sys.argv[2]) + 1) * test.LOCAL)
spec = test.PartitionSpec("devices")
mesh = jax.make_mesh((2,), ("devices",), axis_types=(test.AxisType.Auto,))
options = {"supervised": False, "hardening": test.hardening.exponential(5.0)}
wanted_value, wanted = jax.value_and_grad(
    lambda z: test.objective(z, labels, implementation="dense", **options))(z)
def check(value, gradient):
    error = np.linalg.norm(gradient - wanted[mine]) / np.linalg.norm(wanted[mine])
    assert error <= 1e-6, error
    assert abs(float(value) - wanted_value) <= 1e-6 * wanted_value
for exchange in ("gather", "ring"):
    def loss(z, labels):
        return test.parallel.objective(
            z, labels, axis_name="devices", exchange=exchange, **options)
    step = test.parallel.launch(jax.value_and_grad(loss), axis_name="devices")
    value, gradient = step(z[mine][None], labels[mine][None])
    check(value[0], gradient[0])
    step = jax.jit(jax.shard_map(
        jax.value_and_grad(loss), mesh=mesh, in_specs=(spec, spec),
        out_specs=(test.PartitionSpec(), spec)))
    value, gradient = step(*(
        jax.make_array_from_process_local_data(jax.NamedSharding(mesh, spec), np.asarray(part))
        for part in (z[mine], labels[mine])))
    check(value, gradient.addressable_data(0))
print("equal")
"""


@pytest.mark.slow
def test_two_processes_equal_one_device():
    root, address = str(Path(__file__).parents[2]), free_address()
    commands = [[sys.executable, "-c", PROCESS, address, rank, root] for rank in ("0", "1")]
    for status, printed in side_by_side(commands, cwd=root, env=environment_with(devices=1)):
        assert (status, "equal" in printed.splitlines()) == (0, True), printed[-3000:]


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.usefixtures("x64")
def test_who_adds_the_gradients_of_shared_parameters(checked):
    """JAX itself where it follows what varies over the mesh; else the caller."""
    mesh = jax.make_mesh((2,), ("devices",), devices=jax.devices()[:2], axis_types=(AxisType.Auto,))
    z, labels = batch(2)

    def loss(scale, z, labels, **where):
        tilt = hardening.exponential(5.0)
        return objective(scale * z, labels, supervised=True, hardening=tilt, **where)

    def step(scale, z, labels):
        where = parallel.over_axis("devices")
        gradient = jax.grad(loss)(scale, z, labels, collectives=where)
        return gradient if checked else jax.lax.psum(gradient, "devices")

    spec, shared = PartitionSpec("devices"), PartitionSpec()
    step = jax.shard_map(
        step, mesh=mesh, in_specs=(shared, spec, spec), out_specs=shared, check_vma=checked
    )
    dense = jax.jit(jax.grad(functools.partial(loss, implementation="dense")))
    wanted = dense(0.5, z, labels)
    np.testing.assert_allclose(jax.jit(step)(0.5, z, labels), wanted, rtol=1e-9)
