"""The option `normalize`: the same as normalising before the loss, in every form of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from references.loss_cases import batch

import hcl_jax
from hcl_jax import normalization, parallel

Z, LABELS, SCALES = batch(count=18, dim=4, classes=4)
Z = 3 * SCALES[:, None] ** 4 * Z  # norms on both sides of 1
Z = Z.at[5].set(0)
STORED = 2 * batch(count=6, dim=4, seed=1)[0]
OF_STORED = jnp.arange(6) % 4
MESH = jax.make_mesh((3,), ("devices",), devices=jax.devices()[:3], axis_types=(AxisType.Auto,))


def on_one_device(implementation, z, bank, **options):
    bank = hcl_jax.Bank(bank, OF_STORED)
    loss = functools.partial(hcl_jax.hucl, beta=3.0, implementation=implementation)
    return loss(z, LABELS, bank=bank, **options)


def over_devices(exchange, z, bank, **options):
    def local(z, labels, bank, of_stored):
        where = parallel.over_axis("devices", exchange=exchange)
        bank = hcl_jax.Bank(bank, of_stored)
        return hcl_jax.hucl(z, labels, beta=3.0, collectives=where, bank=bank, **options)

    spec, shared = PartitionSpec("devices"), PartitionSpec()
    shards = jax.shard_map(local, mesh=MESH, in_specs=spec, out_specs=shared)
    return shards(z, LABELS, bank, OF_STORED)


FORMS = {
    "dense": functools.partial(on_one_device, "dense"),
    "blockwise": functools.partial(on_one_device, "blockwise"),
    "gather": functools.partial(over_devices, "gather"),
    "ring": functools.partial(over_devices, "ring"),
}


@pytest.mark.parametrize(
    "form",
    [n if n in ("dense", "ring") else pytest.param(n, marks=pytest.mark.slow) for n in FORMS],
)
@pytest.mark.usefixtures("x64")
def test_every_form_is_that_of_normalised_embeddings(form):
    z, stored = jnp.float64(Z), jnp.float64(STORED)

    @functools.partial(jax.jit, static_argnums=2)
    def both(z, stored, name):
        move = getattr(normalization, name)
        with_option = functools.partial(FORMS[form], normalize=name)

        def before(z, stored):
            return FORMS[form](move(z), move(stored))

        pair = (jax.value_and_grad(f, argnums=(0, 1)) for f in (with_option, before))
        return [f(z, stored) for f in pair]

    for name in ("unit_sphere", "unit_ball") if form == "dense" else ("unit_ball",):
        found, wanted = both(z, stored, name)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), found, wanted)
        assert jnp.isfinite(found[1][0]).all()


def test_views_pairs_and_narrow_types_too():
    @jax.jit
    def found(z):
        views, on_sphere = z.reshape(9, 2, 4), normalization.unit_sphere(z)
        return (
            (
                hcl_jax.supcon(views, normalize="unit_sphere"),
                hcl_jax.supcon(on_sphere.reshape(9, 2, 4)),
            ),
            (
                hcl_jax.clip(z[:9], z[9:], normalize="unit_sphere"),
                hcl_jax.clip(on_sphere[:9], on_sphere[9:]),
            ),
        )

    for dtype in (jnp.float32, jnp.bfloat16):
        for with_option, before in found(Z.astype(dtype)):
            np.testing.assert_array_equal(with_option, before)


@pytest.mark.usefixtures("unchecked")
def test_errors():
    with pytest.raises(
        ValueError, match="normalize must be one of 'unit_sphere', 'unit_ball', None"
    ):
        hcl_jax.scl(Z, LABELS, normalize="sphere")
    with pytest.raises(TypeError, match="embeddings must be floating point, got dtype int32"):
        hcl_jax.scl(LABELS[:, None], LABELS, normalize="unit_ball")
    with pytest.raises(ValueError, match=r"embeddings must have shape \(n, dim\)"):
        hcl_jax.scl(Z[:, 0], LABELS, normalize="unit_ball")
