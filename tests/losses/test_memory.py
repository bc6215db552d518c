"""Memory of compiled losses, as XLA reports it: linear in the batch. Compiled, never run."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from hcl_jax import hardening, hscl, hucl, pairs, parallel, scl, ucl
from hcl_jax.losses import average_loss, contrastive_loss

DIM = 128
MIB = 2**20


def temporaries(function, *shapes):
    return jax.jit(function).lower(*shapes).compile().memory_analysis().temp_size_in_bytes


def arguments(rows):
    return jax.ShapeDtypeStruct((rows, DIM), jnp.float32), jax.ShapeDtypeStruct((rows,), jnp.int32)


CORNERS = {
    "scl": scl,
    "hscl": functools.partial(hscl, beta=5.0),
    "ucl": ucl,
    "hucl": functools.partial(hucl, beta=5.0),
    "attached": functools.partial(hucl, beta=5.0, stop_gradient_hardening=False),
}


@pytest.mark.parametrize(
    "corner",
    [pytest.param(c, marks=pytest.mark.slow) if c in ("hscl", "ucl") else c for c in CORNERS],
)
def test_blockwise_is_linear(corner):
    loss = jax.value_and_grad(CORNERS[corner])
    small, large = (temporaries(loss, *arguments(rows)) for rows in (8192, 32768))
    assert large <= 4.2 * small
    assert large <= 256 * MIB


def test_two_sets_are_linear():
    """A shard against all: the rows of an eighth as anchors."""

    def loss(z, y, labels):
        everyone = pairs.rows(labels)
        some = jax.tree.map(lambda key: key[: len(z)], everyone)
        keys = pairs.supervised(some, everyone, same_batch=True)
        return average_loss(contrastive_loss(z, keys, y, hardening=hardening.exponential(5.0)))

    step = jax.value_and_grad(loss, (0, 1))
    small, large = (
        temporaries(step, arguments(rows // 8)[0], *arguments(rows)) for rows in (8192, 32768)
    )
    assert large <= 4.2 * small
    assert large <= 256 * MIB


def test_dense_is_not():
    """The control: what the test above would see of a form that keeps matrices."""
    loss = jax.value_and_grad(functools.partial(scl, implementation="dense"))
    small, large = (temporaries(loss, *arguments(rows)) for rows in (2048, 8192))
    assert large > 12 * small


@pytest.mark.parametrize("exchange", [pytest.param("gather", marks=pytest.mark.slow), "ring"])
def test_shards_are_linear(exchange):
    mesh = jax.make_mesh((8,), ("devices",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("devices")

    def loss(z, labels):
        return parallel.objective(
            z,
            labels,
            axis_name="devices",
            supervised=True,
            hardening=hardening.exponential(5.0),
            exchange=exchange,
        )

    step = jax.shard_map(
        jax.value_and_grad(loss),
        mesh=mesh,
        in_specs=(spec, spec),
        out_specs=(PartitionSpec(), spec),
    )
    small, large = (temporaries(step, *arguments(rows)) for rows in (8192, 32768))
    assert large <= 4.2 * small
    assert large <= 256 * MIB


def test_samples_are_bounded():
    def loss(z, labels):
        return hucl(z, labels, beta=5.0, num_negatives=256, key=jax.random.key(0))

    small, large = (temporaries(jax.value_and_grad(loss), *arguments(r)) for r in (8192, 32768))
    assert large <= 4.2 * small
    assert large <= 256 * MIB
