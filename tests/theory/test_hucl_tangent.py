"""Tangent certificates, the slope lemma and the branch and bound: right verdicts, both ways."""

from fractions import Fraction

import pytest
from flint import arb, ctx

from theory.checking import Effort, Verdict
from theory.claims.theorem4_branch_and_bound import hucl, least_hucl
from theory.claims.theorem4_tangents import certify_tangent, parameters, tangents_up_to_threshold
from theory.claims.theorem4_unimodality import (
    ProfileAlongGaps,
    random_profiles,
    slope_factors,
    slope_from_factors,
)
from theory.model.psi_kinds import InfoNCE, SquaredHinge
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.collapsed_loss import collapsed_taylor
from theory.optimum.floor import floor
from theory.optimum.profile import ProfileParameters, taylor
from theory.optimum.threshold import threshold


@pytest.mark.parametrize(
    "profile",
    [ProfileParameters(2, 8), ProfileParameters(100, 3), ProfileParameters(5, None)],
    ids=str,
)
def test_certificate_turns_at_the_threshold(profile):
    middle = arb(threshold(profile).middle)
    with ctx.workprec(96):
        assert certify_tangent(profile, (middle * arb("0.9999")).mid()).verdict is Verdict.PROVED
        assert certify_tangent(profile, (middle * arb("1.0001")).mid()).verdict is Verdict.VIOLATED


def test_certificate_agrees_with_a_dense_grid():
    profile, beta = ProfileParameters(3, 2), arb("0.55")
    gap = ball(nc_gap(3))
    value, slope = taylor(profile, beta, gap, terms=2)
    with ctx.workprec(96):
        certificate = certify_tangent(profile, beta)
    for i in range(400):
        delta = (arb(i) + arb("0.5")) / 20
        difference = taylor(profile, beta, delta, terms=1)[0] - value - slope * (delta - gap)
        assert difference > 0
    assert certificate.verdict is Verdict.PROVED
    assert certificate.least is not None
    assert certificate.least > 0


def test_certificates_are_asked_for_on_both_sides_of_every_threshold():
    assert len(parameters(Effort.FULL)) == 280


def test_certificate_needs_alpha():
    with pytest.raises(ValueError, match="alpha > 0"):
        certify_tangent(ProfileParameters(3, 2, InfoNCE(alpha=Fraction(0))), arb("0.1"))


@pytest.mark.slow
def test_all_certificates():
    found = tangents_up_to_threshold(Effort.FULL)
    assert found.verdicts == {Verdict.PROVED: 280}
    assert found.models == len(parameters(Effort.FULL))


def test_slope_factors_of_one_negative():
    profile = ProfileAlongGaps(2, 1, InfoNCE(), arb(1), ())
    factors = slope_factors(profile, arb(2))
    assert float(factors.mean_a) == pytest.approx(0.119203, abs=1e-6)  # sigmoid(-2)
    assert float(factors.mean_b) == pytest.approx(0.566219, abs=1e-6)  # log 2 - softplus(-2)
    assert float(slope_from_factors(profile, factors)) == pytest.approx(0.04524, abs=1e-6)


def test_random_profiles_have_many_negatives_and_a_given_sign():
    profiles = random_profiles(50, sign=-1)
    assert 16 < max(profile.k for profile in profiles) <= 32
    assert all(profile.beta < 0 for profile in profiles)


@pytest.mark.parametrize("profile", random_profiles(5, seed=1), ids=lambda p: f"k={p.k}")
def test_slope_formula_is_the_derivative(profile):
    for gap in profile.gaps:
        direct = collapsed_taylor(
            gap, num_classes=profile.num_classes, k=profile.k, psi=profile.psi, beta=profile.beta
        )[1]
        formula = slope_from_factors(profile, slope_factors(profile, gap))
        assert abs(direct - formula) < arb("1e-9")


def test_taylor_refuses_a_kink():
    with pytest.raises(ValueError, match="smooth"):
        collapsed_taylor(arb(1), num_classes=3, k=1, psi=SquaredHinge(), beta=arb(1))


@pytest.mark.parametrize(("k", "beta"), [(1, 1), (3, 2)])
def test_branch_and_bound_encloses_the_floor(k, beta):
    with ctx.workprec(64):
        found = least_hucl(k=k, beta=Fraction(beta), gap=Fraction(1, 10**4))
    value = floor(num_classes=2, k=k, psi=InfoNCE(), beta=arb(beta)).value
    assert found.low < value < found.high
    assert float(found.high - found.low) < 1e-4
    assert found.at[0] == pytest.approx(-found.at[1], abs=0.1)


def test_branch_and_bound_knows_the_value_at_nc():
    assert float(hucl((arb(1), arb(-1)), 1, arb(1)).value) == pytest.approx(0.625652, abs=1e-6)


def test_branch_and_bound_slopes_are_derivatives():
    here, step = (arb("0.3"), arb("-0.7")), arb("1e-6")
    for place in (0, 1):
        moved = [x + step * (place == i) for i, x in enumerate(here)]
        back = [x - step * (place == i) for i, x in enumerate(here)]
        ahead = hucl((moved[0], moved[1]), 3, arb(2)).value
        behind = hucl((back[0], back[1]), 3, arb(2)).value
        quotient = float((ahead - behind) / (2 * step))
        assert float(hucl(here, 3, arb(2)).slopes[place]) == pytest.approx(quotient, abs=1e-8)
