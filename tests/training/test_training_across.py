"""Training on several devices is training on one: same losses, same parameters."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from hcl_jax import data, networks, parallel, training
from hcl_jax.collectives import SINGLE, over_axis
from hcl_jax.conventions import Conventions
from hcl_jax.networks import Head
from hcl_jax.training import Program

DATA = data.digits()
BATCH = 48


def batches(steps):
    """Batches sorted by class, so that devices see different numbers of each class."""
    order = np.random.default_rng(0).permutation(len(DATA.train.labels))
    for step in range(steps):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        chosen = chosen[np.argsort(np.asarray(DATA.train.labels)[chosen], kind="stable")]
        yield data.Split(DATA.train.images[chosen], DATA.train.labels[chosen])


def program(axis_name=None, where=SINGLE, **changes):
    model = networks.convnet((8, 8, 1), 9, channels=(4, 8), head=Head((16,)), axis_name=axis_name)
    return Program(model, optax.sgd(0.1), BATCH, collectives=where, **changes)


def alone(objective, **changes):
    chosen = program(**changes)
    state, losses = training.init_state(jax.random.key(0), chosen), []
    step = jax.jit(training.train_step, static_argnums=3)
    for batch in batches(3):
        state, info = step(state, batch, objective, chosen)
        losses.append(float(info.loss))
    return state, losses, info


def spread(array, devices):
    return array.reshape(devices, -1, *array.shape[1:])


@pytest.mark.parametrize(
    ("devices", "exchange", "supervised"),
    [
        (2, "ring", False),
        pytest.param(3, "gather", True, marks=pytest.mark.slow),
        pytest.param(8, "ring", True, marks=pytest.mark.slow),
    ],
)
def test_pmap_is_one_device(devices, exchange, supervised):
    objective = training.traced_objective(supervised=supervised, beta=5.0)
    expected, expected_losses, expected_info = alone(objective)
    chosen = program("devices", over_axis("devices", exchange=exchange))
    step = parallel.launch(
        functools.partial(training.train_step, program=chosen),
        axis_name="devices",
        devices=jax.devices()[:devices],
    )
    state = training.init_state(jax.random.key(0), chosen)
    state, objective = jax.tree.map(lambda x: jnp.stack([x] * devices), (state, objective))
    losses = []
    for batch in batches(3):
        state, info = step(state, jax.tree.map(lambda x: spread(x, devices), batch), objective)
        np.testing.assert_array_equal(info.loss, jnp.full(devices, info.loss[0]))
        losses.append(float(info.loss[0]))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for copy in range(devices):
        found = jax.tree.map(lambda x, copy=copy: x[copy], state.variables)
        chex.assert_trees_all_close(found, expected.variables, rtol=1e-4, atol=1e-5)
    assert info.undefined[0] == expected_info.undefined
    np.testing.assert_allclose(info.gradient_norm[0], expected_info.gradient_norm, rtol=1e-4)


def test_shard_map_is_one_device():
    objective = training.traced_objective(supervised=True, beta=5.0)
    expected, expected_losses, _ = alone(objective)
    mesh = jax.make_mesh(
        (4,), ("devices",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:4]
    )
    chosen = program("devices", over_axis("devices"))
    shared, own = PartitionSpec(), PartitionSpec("devices")
    step = jax.jit(
        jax.shard_map(
            functools.partial(training.train_step, program=chosen),
            mesh=mesh,
            in_specs=(shared, own, shared),
            out_specs=(shared, shared),
        )
    )
    state, losses = training.init_state(jax.random.key(0), chosen), []
    for batch in batches(3):
        state, info = step(state, batch, objective)
        losses.append(float(info.loss))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    chex.assert_trees_all_close(state.variables, expected.variables, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positives", [pytest.param("class", marks=pytest.mark.slow), "views"])
def test_samples_and_views_train_across_devices(positives):
    """Draws and views are other ones than on one device, so only the law can be compared."""
    conventions = Conventions(num_negatives=256, self_positives=positives == "class")
    changes = {"positives": positives, "conventions": conventions}
    objective = training.traced_objective(supervised=True, beta=2.0)
    _, (expected, *_), _ = alone(objective, **changes)
    chosen = program("devices", over_axis("devices"), **changes)
    step = parallel.launch(
        functools.partial(training.train_step, program=chosen),
        axis_name="devices",
        devices=jax.devices()[:2],
    )
    state = training.init_state(jax.random.key(0), chosen)
    state, objective = jax.tree.map(lambda x: jnp.stack([x] * 2), (state, objective))
    _, info = step(state, jax.tree.map(lambda x: spread(x, 2), next(batches(1))), objective)
    np.testing.assert_allclose(info.loss[0], expected, rtol=0.02)
    assert info.loss[0] != expected
    assert (info.undefined == 0).all()
