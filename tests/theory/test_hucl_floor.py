"""The floor of HUCL against brute force and against itself; random models."""

import random
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, ctx

from theory.model import psi_kinds
from theory.model.random_models import random_joint, random_model
from theory.optimum.collapsed_loss import collapsed_loss_float64
from theory.optimum.floor import floor
from theory.optimum.floor_by_slope import floor_by_slope


@pytest.mark.parametrize("kind", ["infonce", "triplet_max", "triplet_sum", "linear", "logistic"])
def test_floor_is_the_least_value_of_a_fine_grid(kind):
    """Branch and bound against brute force in float64."""
    psi = {
        "infonce": psi_kinds.InfoNCE(q=None),
        "triplet_max": psi_kinds.TripletMax(Fraction(1, 4)),  # its kink is on the grid
        "triplet_sum": psi_kinds.TripletSum(Fraction(1, 2)),
        "linear": psi_kinds.Linear(),
        "logistic": psi_kinds.LogisticSum(Fraction(3), (Fraction(1), Fraction(2), Fraction(0))),
    }[kind]
    for beta in (0.3, 4.0):
        found = floor(num_classes=3, k=3, psi=psi, beta=arb(beta))
        with jax.enable_x64(True):
            deltas = jnp.linspace(0, 12, 60_001)
            grid = np.asarray(
                collapsed_loss_float64(deltas, num_classes=3, k=3, psi=psi, beta=beta)
            )
        assert float(found.value.rad()) < 1e-12
        assert -1e-12 < float(grid.min()) - float(found.value) < 1e-6


@pytest.mark.parametrize(("k", "beta", "num_classes"), [(1, "1", 2), (5, "0.05", 4), (12, "40", 3)])
@pytest.mark.parametrize("psi", [psi_kinds.InfoNCE(Fraction(0)), psi_kinds.InfoNCE(q=None)])
def test_floor_by_slope_is_the_floor(k, beta, num_classes, psi):
    """By Theorem 4(d), and by branch and bound without it."""
    with ctx.workprec(200):
        problem = {"num_classes": num_classes, "k": k, "psi": psi, "beta": arb(beta)}
        for within in (None, arb(num_classes) / (num_classes - 1)):
            found = floor_by_slope(**problem, within=within)
            expected = floor(**problem, within=within)
            assert abs(found.value - expected.value) < arb("1e-45")
            assert abs(found.delta - expected.delta) < arb("1e-20")


def test_floor_of_hundreds_of_negatives_is_near_that_of_infinitely_many():
    found = floor_by_slope(num_classes=2, k=200, psi=psi_kinds.InfoNCE(), beta=arb(1))
    assert 0 < float(0.60345610 - found.value) < 1 / 200


def test_floor_by_slope_refuses_a_negative_temperature():
    with pytest.raises(ValueError, match="psi must be convex and non-decreasing"):
        floor_by_slope(num_classes=2, k=1, psi=psi_kinds.InfoNCE(tau=Fraction(-1)), beta=arb(1))


def test_floor_refuses_what_it_cannot_certify():
    with pytest.raises(ValueError, match="beta > 0"):
        floor(num_classes=3, k=1, psi=psi_kinds.InfoNCE(), beta=arb(0))


def test_random_models_are_reproducible():
    assert random_model(random.Random(4)) == random_model(random.Random(4))


@pytest.mark.parametrize("seed", range(8))
def test_random_joint_laws_are_not_symmetric_unless_positives_are_anchors(seed):
    law = tuple(Fraction(p, 10) for p in (1, 2, 3, 4))
    table = random_joint(random.Random(seed), law)
    assert tuple(map(sum, table)) == tuple(map(sum, zip(*table, strict=True))) == law
    is_diagonal = all(table[i][i] == p for i, p in enumerate(law))
    assert (table == tuple(zip(*table, strict=True))) == is_diagonal
