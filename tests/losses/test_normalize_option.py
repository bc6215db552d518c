"""The option `normalize`: the same as normalising before the loss, in every form of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import batch
from references.loss_forms import forms

import hcl_jax
from hcl_jax import normalization

Z, LABELS, SCALES = batch(count=18, dim=4, classes=4)
Z = 3 * SCALES[:, None] ** 4 * Z  # norms on both sides of 1
Z = Z.at[5].set(0)
STORED = 2 * batch(count=6, dim=4, seed=1)[0]
OF_STORED = jnp.arange(6) % 4


FORMS = forms(functools.partial(hcl_jax.hucl, beta=3.0))


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

        def loss(z, stored, **options):
            arrays = {"labels": LABELS, "bank": hcl_jax.Bank(stored, OF_STORED)}
            return FORMS[form](z, arrays, **options)

        def before(z, stored):
            return loss(move(z), move(stored))

        with_option = functools.partial(loss, normalize=name)
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
        ValueError, match="normalize must be one of 'unit_ball', 'unit_sphere', None"
    ):
        hcl_jax.scl(Z, LABELS, normalize="sphere")
    with pytest.raises(TypeError, match="embeddings must be floating point, got dtype int32"):
        hcl_jax.scl(LABELS[:, None], LABELS, normalize="unit_ball")
    with pytest.raises(ValueError, match=r"embeddings must have shape \(n, dim\)"):
        hcl_jax.scl(Z[:, 0], LABELS, normalize="unit_ball")
