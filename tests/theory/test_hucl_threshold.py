"""The threshold beta_c and the closed forms, against numbers computed elsewhere."""

from fractions import Fraction

import mpmath
import pytest
from flint import arb, ctx

from scripts.theory_report.optimum_tables import threshold_table
from theory.checking import Effort
from theory.claims.theorem4_threshold import profiles
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.floor import floor
from theory.optimum.profile import (
    ProfileParameters,
    limit_minimum,
    limit_threshold,
    slope_at_nc,
    taylor,
)
from theory.optimum.threshold import infonce_profiles, threshold

TABLE = """
2    .321254  .282913  .265969  .258312  .251219  .301608  .281634  .267459
3    .650598  .593342  .566554  .553963  .541995  .621344  .591637  .569534
4    .877374  .812425  .781244  .766325  .751967  .844390  .810739  .785136
5    1.048889 .979772  .946074  .929778  .913978  1.014006 .978233  .950621
6    1.186675 1.114925 1.079571 1.062351 1.045566 1.150668 1.113566 1.084629
10   1.564892 1.488094 1.449372 1.430213 1.411323 1.527006 1.487422 1.455768
100  3.261029 3.176476 3.131621 3.108643 3.085378 3.222067 3.179296 3.142641
1000 5.079503 4.992884 4.945999 4.921642 4.896699 5.041172 4.998002 4.959755
"""
"""From an independent computation; columns k = 1, 2, 4, 8, oo with q = 1, then q = k = 2, 4, 8."""


def _profile(num_classes, k, beta, delta):
    """L_k by mpmath, from the definition, InfoNCE with alpha = q = tau = 1."""
    p = (num_classes - 1) / (num_classes - 1 + mpmath.exp(beta * delta))
    return mpmath.fsum(
        mpmath.binomial(k, j)
        * p**j
        * (1 - p) ** (k - j)
        * mpmath.log(1 + (k - j + j * mpmath.exp(-delta)) / k)
        for j in range(k + 1)
    )


def test_table_of_thresholds():
    expected = [[float(cell) for cell in line.split()] for line in TABLE.strip().splitlines()]
    found = [[float(cell) for cell in row] for row in threshold_table().rows]
    assert found == expected


def test_settings_of_the_table():
    assert len(profiles(Effort.FULL)) == len(set(profiles(Effort.FULL))) == 64
    assert {profile.num_classes for profile in profiles(Effort.QUICK)} == {2, 3, 4}


@pytest.mark.parametrize("profile", infonce_profiles((2, 10), (1, 2, 4, 8, None)), ids=str)
def test_slopes_at_the_ends_of_a_bracket_have_certified_signs(profile):
    low, high = threshold(profile)
    with ctx.workprec(200):
        assert slope_at_nc(profile, low) < 0
        assert slope_at_nc(profile, high) > 0
        assert high - low < arb("1e-7")


@pytest.mark.parametrize(("num_classes", "k"), [(2, 1), (4, 3), (7, 8)])
def test_slope_agrees_with_numerical_differentiation(num_classes, k):
    mpmath.mp.dps = 40
    gap, beta = mpmath.mpf(num_classes) / (num_classes - 1), mpmath.mpf(3) / 4
    expected = mpmath.diff(lambda delta: _profile(num_classes, k, beta, delta), gap)
    found = slope_at_nc(ProfileParameters(num_classes, k), arb(3) / 4)
    assert abs(float(found) - float(expected)) < 1e-14


@pytest.mark.parametrize("tau", ["1", "1/2", "1/10"])
def test_threshold_of_the_limit_has_a_closed_form(tau):
    profile = ProfileParameters(10, None, InfoNCE(tau=Fraction(tau)))
    low, high = threshold(profile)
    with ctx.workprec(160):
        assert low < limit_threshold(profile) < high


@pytest.mark.parametrize(
    ("num_classes", "tau", "expected"),
    [(10, "1/2", 0.490), (100, "1/2", 1.284), (10, "1/10", 0.00015)],
)
def test_threshold_at_low_temperature(num_classes, tau, expected):
    fraction = Fraction(tau)
    found = threshold(ProfileParameters(num_classes, None, InfoNCE(tau=fraction))).middle * float(
        fraction
    )
    assert found == pytest.approx(expected, rel=0.01)


def test_alpha_and_q_do_not_move_the_threshold_of_the_limit():
    changed = InfoNCE(alpha=Fraction(3), q=Fraction(7, 2))
    plain, other = (
        threshold(ProfileParameters(5, None)),
        threshold(ProfileParameters(5, None, changed)),
    )
    assert abs(plain.middle - other.middle) < 1e-8


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_threshold_decreases_with_k_towards_the_limit(num_classes):
    values = [
        threshold(ProfileParameters(num_classes, k)).middle for k in (1, 2, 3, 5, 9, 17, None)
    ]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("num_classes", "beta", "delta", "value"),
    [
        (2, 1, 0.8814, 0.60345610),
        (3, 20, 0.0714, 0.68191633),
        (5, 5, 0.3129, 0.62999430),
        (100, 5, None, 0.48287140),
    ],
)
def test_minimum_of_the_limit(num_classes, beta, delta, value):
    found = limit_minimum(ProfileParameters(num_classes, None), arb(beta))
    assert float(found.value) == pytest.approx(value, abs=6e-9)
    assert delta is None or float(found.delta) == pytest.approx(delta, abs=6e-5)


def test_finite_k_tends_to_the_limit_from_below():
    limit = limit_minimum(ProfileParameters(4, None), arb(5)).value
    gaps = []
    for k in (8, 16, 32):
        value = floor(num_classes=4, k=k, psi=InfoNCE(), beta=arb(5)).value
        gaps.append(float(limit - value))
    assert all(gap > 0 for gap in gaps)
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("k", [1, 4, None])
def test_minimum_of_the_profile_is_where_the_slope_vanishes(k):
    profile = ProfileParameters(3, k)
    if k is None:
        delta = limit_minimum(profile, arb(2)).delta
    else:
        delta = floor(num_classes=3, k=k, psi=InfoNCE(), beta=arb(2)).delta
    _, slope, curvature = taylor(profile, arb(2), delta)
    assert abs(slope) < arb("1e-9")
    assert curvature > 0


def test_profile_at_zero_gap_is_total_collapse():
    value, slope = taylor(ProfileParameters(4, 3), arb(2), arb(0), terms=2)
    assert abs(value - arb(2).log()) < arb("1e-12")
    assert abs(slope + arb(3) / 8) < arb("1e-12")  # -(C-1)/C times q / (alpha + q)


def test_sums_of_negatives_have_no_limit():
    with pytest.raises(ValueError, match="no limit"):
        taylor(ProfileParameters(4, None, InfoNCE(q=None)), arb(1), ball(nc_gap(4)))


def test_closed_form_needs_the_limit_and_a_positive_hardness():
    with pytest.raises(ValueError, match="k = infinity"):
        limit_minimum(ProfileParameters(4, 2), arb(1))
    with pytest.raises(ValueError, match="beta > 0"):
        limit_minimum(ProfileParameters(4, None), arb(0))
