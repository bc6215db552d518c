"""Rows appended and marked."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from hcl_jax.padding import pad_rows, padding, valid_rows, varying_like


@pytest.mark.parametrize(("length", "block", "wanted"), [(10, 4, 2), (8, 4, 0), (3, 4, 1)])
def test_rows_lacking_to_whole_blocks(length, block, wanted):
    assert padding(length, block) == wanted
    valid = valid_rows(length, block)
    if wanted:
        assert valid.tolist() == [True] * length + [False] * wanted
    else:
        assert valid is None


def test_rows_are_appended_to_every_array():
    tree = {"a": jnp.array([3, 4]), "b": jnp.ones((2, 3))}
    zeros, copies = pad_rows(tree, 2), pad_rows(tree, 2, mode="edge")
    assert zeros["a"].tolist() == [3, 4, 0, 0]
    assert copies["a"].tolist() == [3, 4, 4, 4]
    assert zeros["b"].shape == copies["b"].shape == (4, 3)
    assert pad_rows(tree, 0) is tree


def test_values_vary_where_the_data_do():
    """Without the mark the loop's state would change its type, which shard_map refuses."""
    mesh = jax.make_mesh((2,), ("devices",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("devices")

    def total(x, mark):
        start = mark(jnp.zeros(()), x)
        return jax.lax.fori_loop(0, 2, lambda _, s: s + x.sum(), start)[None]

    def run(mark):
        over = jax.shard_map(lambda x: total(x, mark), mesh=mesh, in_specs=spec, out_specs=spec)
        return over(jnp.arange(4.0))

    assert run(varying_like).tolist() == [2, 10]
    with pytest.raises(TypeError, match="carry"):
        run(lambda tree, like: tree)
    assert varying_like(jnp.zeros(()), jnp.ones(3)).item() == 0
