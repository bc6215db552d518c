"""What `--case` says of infinitely many negatives, against the library and closed forms."""

import json
from dataclasses import replace
from fractions import Fraction

import jax.numpy as jnp
import pytest

import hcl_jax
from hcl_jax import geometry
from theory.evaluation import evaluate
from theory.model.eta_kinds import Exponential, Threshold
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE, Linear
from theory.model.random_models import neural_collapse

HALF = Fraction(1, 2)
BETA = Fraction(2)


def crossed():
    """Four classes, one point each, on a cross in two of three dimensions."""
    rows = ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0))
    return LatentClassModel(
        prior=(Fraction(1, 4),) * 4,
        class_laws=tuple(tuple(Fraction(int(i == j)) for j in range(4)) for i in range(4)),
        features=tuple(tuple(map(Fraction, row)) for row in rows),
        k=3,
        psi=InfoNCE(tau=HALF),
        eta=Exponential(BETA),
    )


def close(value):
    return pytest.approx(float(value), rel=1e-11)


@pytest.mark.parametrize("beta", ["1/10", "2"])  # NC, and a shrunk frame
def test_thresholds_and_optima_are_those_of_the_library(beta):
    model = neural_collapse(num_classes=3, points=2, k=1, eta=Exponential(Fraction(beta)))
    found, hardness = evaluate(model)["limit"], float(Fraction(beta))
    for part, members in ((found, None), (found["batch"], 2)):
        expected = geometry.hucl_optimum(3, hardness, 1.0, per_class=members)
        assert {k: float(v) for k, v in part["hucl_optimum"].items()} == {
            k: close(v) for k, v in expected._asdict().items()
        }
        limit = geometry.hucl_threshold(3, 1.0, per_class=members)
        assert float(part["hucl_threshold"]) == close(limit)
    assert found["hucl_threshold_k"].startswith("0.650598")  # docs/hucl_optimum.md, C = 3, k = 1
    assert found["batch"]["per_class"] == 2


def test_hucl_of_the_batch_is_that_of_the_library(x64):
    model = neural_collapse(num_classes=3, points=2, k=1, eta=Exponential(BETA))
    rows = jnp.array([[float(x) for x in row] for row in model.features])
    expected = hcl_jax.hucl(rows, jnp.array([0, 0, 1, 1, 2, 2]), beta=float(BETA))
    assert float(evaluate(model)["limit"]["batch"]["HUCL"]) == close(expected)


def test_rates_of_escape_are_those_of_the_library(x64):
    model = crossed()
    found = evaluate(model)["limit"]["escape_rate"]
    assert found["unused_dimensions"] == 1
    rows = jnp.array([[float(x) for x in row] for row in model.features])
    for name, stopped in (("detached_weights", True), ("full_gradient", False)):
        for loss, value in found[name].items():
            rate = geometry.escape_rate(
                rows,
                supervised="SCL" in loss,
                beta=float(BETA) if loss[0] == "H" else 0.0,
                temperature=0.5,
                stop_gradient_hardening=stopped,
            )
            assert float(value) == close(rate)
            assert rate > 0


def test_nothing_escapes_where_every_dimension_is_used():
    flat = replace(crossed(), features=tuple(row[:2] for row in crossed().features))
    found = evaluate(flat)["limit"]["escape_rate"]
    assert found["unused_dimensions"] == 0
    assert {*found["detached_weights"].values(), *found["full_gradient"].values()} == {"0"}


@pytest.mark.parametrize(
    "changes",
    [
        {"psi": Linear()},
        {"psi": InfoNCE(q=None)},
        {"eta": Threshold(HALF)},
        {"prior": (HALF, Fraction(1, 4), Fraction(1, 8), Fraction(1, 8))},
    ],
    ids=str,
)
def test_nothing_is_said_without_the_hypotheses(changes):
    assert "limit" not in evaluate(replace(crossed(), **changes))


def test_a_shorter_class_mean_has_no_rate_and_no_batch():
    rows = crossed().features
    shorter = replace(crossed(), features=((HALF, Fraction(0), Fraction(0)), *rows[1:]))
    found = evaluate(shorter)["limit"]
    assert set(found) == {"hucl_threshold", "hucl_optimum", "hucl_threshold_k"}


def test_digits_are_those_asked_for():
    model = neural_collapse(num_classes=2, points=2, k=2, eta=Exponential(Fraction(1)))
    few, many = (evaluate(model, digits=d)["limit"] for d in (8, 60))
    json.dumps(many)
    threshold = many["hucl_threshold_k"]
    assert threshold.startswith("0.282913")  # docs/hucl_optimum.md, C = 2, k = 2
    assert len(threshold) == 62
    assert float(few["hucl_threshold_k"]) == pytest.approx(float(threshold), rel=1e-7)
