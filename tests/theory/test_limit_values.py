"""What `--case` says of infinitely many negatives, against the library and closed forms."""

import itertools
import json
import math
from dataclasses import replace
from fractions import Fraction

import jax.numpy as jnp
import pytest
from mpmath import mp

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


def turned(angles):
    """Classes at these angles of a plane that lies aslant in three dimensions, to 45 decimals."""
    with mp.workdps(60):
        across = ((2, -1, 0), (3, 6, -5))
        units = [[x / mp.norm(row) for x in row] for row in map(mp.matrix, across)]
        rows = [
            [mp.cos(angle) * x + mp.sin(angle) * y for x, y in zip(*units, strict=True)]
            for angle in angles
        ]
        return tuple(tuple(Fraction(str(mp.nstr(x, 45))) for x in row) for row in rows)


def test_a_plane_aslant_is_one_to_the_rounding_of_decimals(x64):
    angles = (0, 1, 2, 4)
    model = replace(crossed(), features=turned(angles), eta=Exponential(BETA))
    found = evaluate(model)["limit"]["escape_rate"]
    assert found["unused_dimensions"] == 1
    rows = jnp.array([[math.cos(angle), math.sin(angle), 0.0] for angle in angles])
    rate = geometry.escape_rate(rows, supervised=True, beta=2.0, temperature=0.5)
    assert float(found["detached_weights"]["HSCL"]) == close(rate)


def test_thin_is_not_unused():
    rows = crossed().features
    height = Fraction(1, 10**15)
    cosine, sine = (1 - height**2) / (1 + height**2), 2 * height / (1 + height**2)
    model = replace(crossed(), features=((cosine, Fraction(0), sine), *rows[1:]))
    assert evaluate(model)["limit"]["escape_rate"]["unused_dimensions"] == 0


def test_nothing_leaves_neural_collapse():
    """Eigenvalues of 0 are not told from 0 by the rounding of float64."""
    frame = neural_collapse(num_classes=4, eta=Exponential(HALF))
    model = replace(frame, features=tuple((*row, 0 * HALF) for row in frame.features))
    found = evaluate(model)["limit"]["escape_rate"]
    assert found["unused_dimensions"] == 1
    assert {*found["detached_weights"].values(), *found["full_gradient"].values()} == {"0"}


def test_a_rate_has_the_digits_that_float64_knows():
    """Near neural collapse the rate is far below the entries of S."""
    shake, third = mp.mpf("1e-9"), 2 * mp.pi / 3
    angles = (0, third + shake, -third)
    model = replace(
        crossed(),
        prior=(Fraction(1, 3),) * 3,
        class_laws=tuple(tuple(Fraction(int(i == j)) for j in range(3)) for i in range(3)),
        features=turned(angles),
    )
    found = evaluate(model)["limit"]["escape_rate"]["detached_weights"]["SCL"]
    with mp.workdps(40):
        cosines = mp.matrix(3, 3)
        for i, j in itertools.product(range(3), repeat=2):
            cosines[i, j] = mp.cos(angles[i] - angles[j])
        grown = (2 * cosines).apply(mp.exp)  # the temperature is one half
        slopes = mp.matrix(3, 3)
        for i, j in itertools.permutations(range(3), 2):
            others = sum(grown[i, c] for c in range(3) if c != i)
            slopes[i, j] = 2 * grown[i, j] / (2 * mp.exp(2) + others)
        matrix = (slopes + slopes.T) / 2
        for i in range(3):
            matrix[i, i] = -sum(matrix[i, j] * cosines[i, j] for j in range(3) if j != i)
        expected = -2 * mp.eigsy(matrix, eigvals_only=True)[0] / 3
        digits = len(found.split("e")[0].replace(".", ""))
        assert 3 <= digits <= 7
        assert found == mp.nstr(expected, digits)


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
    places = evaluate(model, digits=6)
    assert places["bounds"]["hucl_delta_star"] == "0.926216"
    rate = evaluate(crossed(), digits=6)["limit"]["escape_rate"]["detached_weights"]["SCL"]
    assert len(rate.removeprefix("0.").lstrip("0")) == 6
