"""Options that no loss has, with what may have been meant."""

import jax
import pytest
from references.places import EMBEDDINGS, LABELS

import hcl_jax
from hcl_jax import hardening, parallel
from hcl_jax.collectives import SINGLE

KEY = jax.random.key(1)


UNKNOWN = {
    "scl has no hardness, hscl.embeddings, labels, beta=5.0. has": (hcl_jax.scl, {"beta": 5}),
    "ucl has no hardness, hucl.embeddings, labels, beta=...": (hcl_jax.ucl, {"beta": KEY}),
    r"hucl takes beta, .* call hcl_jax.objective\(.., supervised=False": (
        hcl_jax.hucl,
        {"beta": 1.0, "hardening": hardening.threshold(0.0)},
    ),
    r"hscl takes beta, .* call hcl_jax.objective\(.., supervised=True, hardening=..\); ": (
        hcl_jax.hscl,
        {"hardening": hardening.threshold(0.0)},
    ),
    r"hucl takes beta, .* call hcl_jax.objective\(.., supervised=False, hardening=..\); ": (
        hcl_jax.hucl,
        {"hardening": hardening.threshold(0.0)},
    ),
    r"objective; beta: of hscl and hucl; other losses take hardening=hcl_jax.hardening.exp": (
        hcl_jax.objective,
        {"supervised": True, "beta": 5.0},
    ),
    r"of parallel.objective; gather_distributed: here collectives": (
        parallel.objective,
        {"gather_distributed": True},
    ),
    r"of nscl; temp: here temperature": (hcl_jax.nscl, {"temp": 0.1}),
    r"scl has none, .* call hcl_jax.objective\(.., supervised=True": (
        hcl_jax.scl,
        {"hardening": hardening.threshold(0.0)},
    ),
    "supervised: scl and hscl are, ucl and hucl are not": (hcl_jax.scl, {"supervised": True}),
    "of supcon; did you mean temperature. known are": (hcl_jax.supcon, {"temprature": 1.0}),
    "tau: here temperature; known": (hcl_jax.nscl, {"tau": 1.0}),
    "axis_name: here collectives=hcl_jax.parallel.over_axis": (hcl_jax.nt_xent, {"axis_name": "d"}),
    r"unknown options \['collectives'\] of parallel.objective": (
        parallel.objective,
        {"axis_name": "d", "supervised": True, "hardening": None, "collectives": SINGLE},
    ),
}


@pytest.mark.parametrize("message", UNKNOWN)
def test_unknown_options_are_refused_with_what_may_have_been_meant(unchecked, message):
    loss, given = UNKNOWN[message]
    with pytest.raises(TypeError, match=message):
        loss(EMBEDDINGS, LABELS, **given)
