"""Every public function promotes neither ranks nor dtypes of arrays on its own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.public_calls import CALLS, KEY, PAIRS, READS_FILES, Z, public_functions

from hcl_jax import hardening, losses, psi


def test_every_public_function_has_a_call():
    assert sorted(CALLS) == sorted(public_functions())
    assert len(CALLS) > 70
    assert all(name.split(".")[0] in ("data", "encoders") for name in READS_FILES)


def follow(function, arguments):
    """Traces a call under strict promotion, or makes it where it looks at values.

    Promotion is decided while tracing, so that nothing needs to be compiled.
    """
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        try:
            jax.eval_shape(lambda: function(**arguments))
        except Exception:
            function(**arguments)


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x + jnp.ones((2, 3)), "broadcast|rank"),
        (lambda x: x + jnp.ones(3, jnp.int32), "promotion"),
        (lambda x: float(x[0]) + (x + jnp.ones((2, 3))), "broadcast|rank"),
    ],
)
def test_promotion_is_seen_while_tracing(function, error):
    with pytest.raises((ValueError, TypeError), match=error):
        follow(function, {"x": jnp.ones(3)})
    follow(lambda x: float(x[0]) + x, {"x": jnp.ones(3)})


@pytest.mark.parametrize("name", CALLS)
def test_works_under_strict_promotion(name):
    follow(*CALLS[name])


def numbers_of(result):
    """All numbers in a result, or in a hardening or loss function that is one."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result) if hasattr(leaf, "dtype")]


QUICK = ("normalization.unit_ball", "geometry.nc1", "evaluation.knn_accuracy", "hucl")
"""Of the functions, those computed in the default run; compiling for all of them takes minutes."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CALLS],
)
def test_strict_promotion_gives_the_same(name):
    function, arguments = CALLS[name]
    expected = numbers_of(function(**arguments))
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        found = numbers_of(function(**arguments))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if one.dtype.kind in "biuf":
            np.testing.assert_array_equal(one, other)
            assert np.isfinite(one).all()


NARROW = [
    name
    for name, call in CALLS.items()
    if name.split(".")[0] in ("augmentation", "evaluation", "geometry", "normalization", "hucl")
    and any(getattr(value, "dtype", None) == np.float32 for value in call.arguments.values())
]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", NARROW)
def test_narrow_dtypes_work_under_strict_promotion(name, dtype):
    function, arguments = CALLS[name]
    narrow = {
        key: value.astype(dtype) if getattr(value, "dtype", None) == np.float32 else value
        for key, value in arguments.items()
    }
    follow(function, narrow)


FORMS = {
    "dense": functools.partial(losses.contrastive_loss, implementation="dense"),
    "blockwise": functools.partial(losses.contrastive_loss, implementation="blockwise"),
    "samples": functools.partial(
        functools.partial(losses.sampled_contrastive_loss, KEY),
        num_negatives=3,
        stop_gradient_hardening=False,
    ),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("loss", [psi.infonce(alpha=0.5, q="k"), psi.triplet_sum()])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_losses_work_under_strict_promotion(form, loss, dtype):
    def mean(z):
        options = {"psi": loss, "hardening": hardening.exponential(2.0)}
        return losses.average_loss(FORMS[form](z, PAIRS, **options), "anchors")

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        gradient = jax.jit(jax.grad(mean))(Z.astype(dtype))
    assert np.isfinite(np.asarray(gradient, np.float32)).all()
