"""Every public function promotes neither ranks nor dtypes of arrays on its own."""

import functools

import jax
import numpy as np
import pytest
from references.public_calls import CALLS, KEY, PAIRS, READS_FILES, Z, public_functions

from hcl_jax import hardening, losses, psi


def test_every_public_function_has_a_call():
    assert sorted(CALLS) == sorted(public_functions())
    assert len(CALLS) > 70
    assert all(name.split(".")[0] in ("data", "encoders") for name in READS_FILES)


def numbers_of(result):
    """All numbers in a result, or in a hardening or loss function that is one."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result) if hasattr(leaf, "dtype")]


QUICK = ("normalization.unit_ball", "geometry.nc1", "evaluation.knn_accuracy", "hucl")
"""Of the functions, those tried in the default run; compiling for all of them takes minutes."""


def slow_unless(quick, case):
    """A case of a test, which is left to the slow run unless it is quick."""
    return pytest.param(*case, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("name", [slow_unless(name in QUICK, (name,)) for name in CALLS])
def test_works_under_strict_promotion_and_gives_the_same(name):
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


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        slow_unless(name in QUICK and dtype == "bfloat16", (name, dtype))
        for name in NARROW
        for dtype in ("bfloat16", "float16")
    ],
)
def test_narrow_dtypes_work_under_strict_promotion(name, dtype):
    function, arguments = CALLS[name]
    narrow = {
        key: value.astype(dtype) if getattr(value, "dtype", None) == np.float32 else value
        for key, value in arguments.items()
    }
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        function(**narrow)


FORMS = {
    "dense": functools.partial(losses.contrastive_loss, implementation="dense"),
    "blockwise": functools.partial(losses.contrastive_loss, implementation="blockwise"),
    "samples": functools.partial(
        functools.partial(losses.sampled_contrastive_loss, KEY),
        num_negatives=3,
        stop_gradient_hardening=False,
    ),
}


@pytest.mark.parametrize("dtype", [pytest.param("bfloat16", marks=pytest.mark.slow), "float32"])
@pytest.mark.parametrize(
    "loss",
    [
        psi.infonce(alpha=0.5, q="k"),
        pytest.param(psi.triplet_sum(), marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_losses_work_under_strict_promotion(form, loss, dtype):
    def mean(z):
        options = {"psi": loss, "hardening": hardening.exponential(2.0)}
        return losses.average_loss(FORMS[form](z, PAIRS, **options), "anchors")

    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        assert np.isfinite(np.asarray(jax.grad(mean)(Z.astype(dtype)), np.float32)).all()
