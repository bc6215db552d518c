"""Tangent certificates, the slope lemma and the branch and bound: right verdicts, both ways."""

from fractions import Fraction

import pytest
from flint import arb

from theory.checking import Effort, Verdict
from theory.claims.theorem4_branch_and_bound import hucl, least_hucl
from theory.claims.theorem4_tangents import certify_tangent, measure_tangents, parameters
from theory.claims.theorem4_threshold import threshold
from theory.claims.theorem4_unimodality import random_parameters, slope_factors, slope_from_factors
from theory.model.psi_kinds import InfoNCE, SquaredHinge
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.collapsed_loss import collapsed_taylor
from theory.optimum.floor import floor
from theory.optimum.profile import ProfileParameters, taylor


@pytest.mark.parametrize(
    "setting",
    [ProfileParameters(2, 8), ProfileParameters(100, 3), ProfileParameters(5, None)],
    ids=str,
)
def test_certificate_turns_at_the_threshold(setting):
    middle = arb(threshold(setting).middle)
    assert certify_tangent(setting, (middle * arb("0.9999")).mid()).verdict is Verdict.PROVED
    assert certify_tangent(setting, (middle * arb("1.0001")).mid()).verdict is Verdict.VIOLATED


def test_certificate_agrees_with_a_dense_grid():
    setting, beta = ProfileParameters(3, 2), arb("0.55")
    gap = ball(nc_gap(3))
    value, slope = taylor(setting, beta, gap, terms=2)
    certificate = certify_tangent(setting, beta)
    for i in range(400):
        delta = (arb(i) + arb("0.5")) / 20
        difference = taylor(setting, beta, delta, terms=1)[0] - value - slope * (delta - gap)
        assert difference > 0
    assert certificate.verdict is Verdict.PROVED


def test_certificate_needs_alpha():
    with pytest.raises(ValueError, match="alpha > 0"):
        certify_tangent(ProfileParameters(3, 2, InfoNCE(alpha=Fraction(0))), arb("0.1"))


@pytest.mark.slow
def test_all_certificates():
    found = measure_tangents(Effort.FULL)
    assert found.verdicts == {Verdict.PROVED: 280}
    assert found.models == len(parameters(Effort.FULL))


@pytest.mark.parametrize("problem", random_parameters(5, seed=1), ids=lambda p: f"k={p.k}")
def test_slope_formula_is_the_derivative(problem):
    for gap in problem.gaps:
        direct = collapsed_taylor(
            gap, num_classes=problem.num_classes, k=problem.k, psi=problem.psi, beta=problem.beta
        )[1]
        formula = slope_from_factors(problem, slope_factors(problem, gap))
        assert abs(direct - formula) < arb("1e-9")


def test_taylor_refuses_a_kink():
    with pytest.raises(ValueError, match="smooth"):
        collapsed_taylor(arb(1), num_classes=3, k=1, psi=SquaredHinge(), beta=arb(1))


@pytest.mark.parametrize(("k", "beta"), [(1, 1), (3, 2)])
def test_branch_and_bound_encloses_the_floor(k, beta):
    found = least_hucl(k=k, beta=Fraction(beta), gap=Fraction(1, 10**4))
    value = floor(num_classes=2, k=k, psi=InfoNCE(), beta=arb(beta)).value
    assert found.low < value < found.high
    assert float(found.high - found.low) < 1e-4
    assert found.at[0] == pytest.approx(-found.at[1], abs=0.1)


def test_branch_and_bound_slopes_are_derivatives():
    here, step = (arb("0.3"), arb("-0.7")), arb("1e-6")
    for place in (0, 1):
        moved = [x + step * (place == i) for i, x in enumerate(here)]
        back = [x - step * (place == i) for i, x in enumerate(here)]
        ahead = hucl((moved[0], moved[1]), 3, arb(2)).value
        behind = hucl((back[0], back[1]), 3, arb(2)).value
        quotient = float((ahead - behind) / (2 * step))
        assert float(hucl(here, 3, arb(2)).slopes[place]) == pytest.approx(quotient, abs=1e-8)
