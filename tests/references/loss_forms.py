"""A loss in every form, and which cases of a test are quick."""

import functools

import jax
import pytest
from jax.sharding import AxisType, PartitionSpec

import hcl_jax
from hcl_jax import parallel

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


def every_pair(cases, forms, quick):
    """Every case in every form; those that are not quick are slow tests."""
    return [
        pytest.param(case, form, marks=() if (case, form) in quick else pytest.mark.slow)
        for case in cases
        for form in forms
    ]
