"""A loss in every form, and which cases of a test are quick."""

import functools

import jax
import pytest
from jax.sharding import AxisType, PartitionSpec

import hcl_jax
from hcl_jax import losses, pairs, parallel

MESH = jax.make_mesh((3,), ("devices",), devices=jax.devices()[:3], axis_types=(AxisType.Auto,))


def forms(loss):
    """A loss as a function of embeddings, arrays of their rows, and options, by its forms."""

    def on_one_device(implementation, z, arrays, **options):
        return loss(z, implementation=implementation, **arrays, **options)

    def over_devices(exchange, z, arrays, **options):
        def local(z, arrays):
            where = parallel.over_axis("devices", exchange=exchange)
            return loss(z, collectives=where, **arrays, **options)

        spec = PartitionSpec("devices")
        shards = jax.shard_map(local, mesh=MESH, in_specs=spec, out_specs=PartitionSpec())
        return shards(z, arrays)

    return {
        "dense": functools.partial(on_one_device, "dense"),
        "blockwise": functools.partial(on_one_device, "blockwise"),
        "gather": functools.partial(over_devices, "gather"),
        "ring": functools.partial(over_devices, "ring"),
    }


FORMS = forms(hcl_jax.objective)


def supervised_forms(labels):
    """Every form of the supervised loss of such rows, and the dense one that it equals, by name.

    A form takes embeddings, options whose numbers may be traced, and options by keyword.
    """

    def one_set(implementation, z, options, **chosen):
        given = {**options, **chosen}
        return hcl_jax.objective(z, labels, supervised=True, implementation=implementation, **given)

    def two_sets(implementation, z, options, **chosen):
        keys = pairs.supervised(pairs.rows(labels[:10]), pairs.rows(labels), same_batch=True)
        given = {"implementation": implementation, **options, **chosen}
        return losses.average_loss(losses.contrastive_loss(0.9 * z[:10], keys, z, **given))

    def over_devices(exchange, z, options, **chosen):
        def local(z, labels, options):
            given = {"axis_name": "devices", "exchange": exchange, **options, **chosen}
            return parallel.objective(z, labels, supervised=True, **given)

        spec, shared = PartitionSpec("devices"), PartitionSpec()
        shards = jax.shard_map(local, mesh=MESH, in_specs=(spec, spec, shared), out_specs=shared)
        return shards(z, labels, options)

    return {
        "blockwise": (functools.partial(one_set, "blockwise"), one_set),
        "pallas": (functools.partial(one_set, "pallas"), one_set),
        "two sets": (functools.partial(two_sets, "blockwise"), two_sets),
        "gather": (functools.partial(over_devices, "gather"), one_set),
        "ring": (functools.partial(over_devices, "ring"), one_set),
    }


def every_pair(cases, forms, quick):
    """Every case in every form; those that are not quick are slow tests."""
    return [
        pytest.param(case, form, marks=() if (case, form) in quick else pytest.mark.slow)
        for case in cases
        for form in forms
    ]
