"""What decides whether a claim holds, at the very boundary, where equality does or does not do.

Balls of no radius are exact numbers, so that a slope of exactly 0 has neither sign.
"""

import math

import numpy as np
import pytest
import scipy.stats
from flint import arb

from theory.checking import EQUALITY, Effort, Tally, Verdict, compare
from theory.checking.z_scores import ENOUGH, LEAST_ERROR, Z_LIMIT, judged, z_score
from theory.claims import free_features_optima, theorem4_tangents, trained_network
from theory.free_features.minimisation import Minimiser
from theory.free_features.predictions import Prediction
from theory.model.psi_kinds import InfoNCE
from theory.optimum import random_batches
from theory.optimum import threshold as thresholds
from theory.optimum.floor import floor
from theory.optimum.floor_by_slope import floor_by_slope
from theory.optimum.profile import ProfileParameters
from theory.priors import minority
from theory.priors import thresholds as priors_thresholds


def test_balls_exactly_as_far_apart_as_allowed_are_not_equal():
    assert compare(EQUALITY, arb(0)) is Verdict.PROVED
    assert compare(arb(0), EQUALITY) is Verdict.VIOLATED
    assert compare(arb(3), arb(2), within=arb(1)) is Verdict.PROVED
    assert compare(arb(2), arb(3), within=arb(1)) is Verdict.VIOLATED


def test_proved_is_strict():
    """`Tally.above` rests on it: without room for equality, equal numbers are on neither side."""
    assert compare(arb(1), arb(1), within=arb(0)) is Verdict.UNDECIDED


def test_what_is_observed_to_be_below_is_not_equal():
    tally = Tally()
    assert tally.observe_below(0.5, math.nextafter(0.5, 1)) is Verdict.AGREES
    assert tally.observe_below(0.5, 0.5) is Verdict.DISAGREES
    assert tally.observe_below(math.nextafter(0.5, 1), 0.5) is Verdict.DISAGREES
    assert tally.observe_below(arb(1), arb(1)) is Verdict.DISAGREES
    assert tally.observe_below(arb(1), arb(1, 0.5)) is Verdict.DISAGREES
    for pair in ((math.nan, 1.0), (1.0, math.nan)):
        assert tally.observe_below(*pair) is Verdict.DISAGREES
    assert tally.verdicts == {Verdict.AGREES: 1, Verdict.DISAGREES: 6}


def test_z_score_is_the_statistic_of_student():
    values = np.random.default_rng(0).normal(size=30)
    expected, _ = scipy.stats.ttest_1samp(values, 0.3)
    assert z_score(values, 0.3) == pytest.approx(expected, rel=1e-12)
    assert z_score(np.full(4, 0.5), 0.25) == 0.25 / LEAST_ERROR


@pytest.mark.parametrize("sign", [1, -1])
def test_a_score_at_the_limit_is_beyond_it(sign):
    inside = judged([0.0, sign * math.nextafter(Z_LIMIT, 0)], seed=3)
    assert inside.verdicts == {Verdict.AGREES: 1}
    assert (inside.models, inside.seed) == (2, 3)
    assert judged([0.0, sign * Z_LIMIT], seed=0).verdicts == {Verdict.DISAGREES: 1}


@pytest.mark.parametrize(("size", "verdict"), [(0.5, "DISAGREES"), (1, "AGREES"), (2, "DISAGREES")])
def test_scores_must_spread_as_normal_ones_where_there_are_enough(size, verdict):
    assert judged([size] * (ENOUGH - 1), seed=0).verdicts == {Verdict.AGREES: 1}
    found = judged([size, -size] * (ENOUGH // 2), seed=0)
    assert found.verdicts[Verdict.AGREES] == 1 + (verdict == "AGREES")
    assert found.verdicts[Verdict.DISAGREES] == (verdict == "DISAGREES")
    assert found.details["mean $z^2$"] == size**2


@pytest.fixture
def flat(monkeypatch):
    """Slopes of exactly 0, everywhere."""
    monkeypatch.setattr(thresholds, "slope_at_nc", lambda *_: arb(0))
    monkeypatch.setattr(random_batches, "slope_at_nc", lambda *_: arb(0))
    monkeypatch.setattr(minority, "excess", lambda *_: arb(0))
    for module in (random_batches, minority):
        monkeypatch.setattr(module, "BOXES", 8)


@pytest.mark.parametrize("sign", [True, False])
@pytest.mark.usefixtures("flat")
def test_a_slope_of_zero_has_no_sign(sign):
    with pytest.raises(ArithmeticError, match="is not decided"):
        thresholds.threshold(ProfileParameters(3, 2))
    with pytest.raises(ArithmeticError, match="undecided after 8 boxes"):
        random_batches.keeps_sign(3, 2, arb(0), arb(1), positive=sign)
    with pytest.raises(ArithmeticError, match="undecided after 8 boxes"):
        minority.keeps_sign(minority.MinorityProblem(2, 2), arb(0), arb(1), splits=sign)
    with pytest.raises(ValueError, match="the slope is not positive"):
        random_batches.shrinking_window(3, 2, arb(1), narrow=arb(1))


def test_the_sign_asked_for_is_that_of_every_part(monkeypatch):
    for module, name in ((random_batches, "slope_at_nc"), (minority, "excess")):
        monkeypatch.setattr(module, name, lambda *given: given[-1] - arb("0.3"))
    problem = minority.MinorityProblem(2, 2)
    for low, high, sign in ((0, "0.29", -1), ("0.31", 1, 1), (0, 1, None)):
        ends = arb(low), arb(high)
        for positive in (True, False):
            kept = sign == (1 if positive else -1)
            assert random_batches.keeps_sign(3, 2, *ends, positive=positive) == kept
    # The excess is of (problem, s), and negative where classes split.
    for low, high, splits in ((0, "0.29", True), ("0.31", 1, False)):
        ends = arb(low), arb(high)
        assert minority.keeps_sign(problem, *ends, splits=splits)
        assert not minority.keeps_sign(problem, *ends, splits=not splits)


@pytest.mark.parametrize("zero", ["10", "15", "20"])
def test_signs_are_asked_for_from_a_thousandth_off_the_zero_on(monkeypatch, zero):
    """Wherever in its bracket the zero is: the brackets here are wide."""
    asked = {}

    def keeps_sign(_, low, high, *, splits):
        asked[splits] = low.union(high)
        return True

    monkeypatch.setattr(priors_thresholds, "bracket", lambda _: (arb(10), arb(20)))
    monkeypatch.setattr(priors_thresholds, "excess", lambda *_: arb(1))
    monkeypatch.setattr(priors_thresholds, "keeps_sign", keeps_sign)
    priors_thresholds.record_only_threshold(Tally(), minority.MinorityProblem(2, 2))
    for splits, sign in ((True, -1), (False, 1)):
        assert asked[splits].contains(1 / (arb(zero) * (1 + sign * arb("0.001"))).mid())
    assert asked[True].contains(arb(1))
    assert asked[False].contains(arb(0))


@pytest.mark.parametrize(
    ("slope", "verdict"),
    [(arb(1), Verdict.VIOLATED), (arb(0, 1), Verdict.UNDECIDED), (arb(0), None)],
)
def test_nc_is_stationary_at_a_slope_of_zero(monkeypatch, slope, verdict):
    """So that a tangent may be level; what follows decides."""
    reached = ArithmeticError("the radius is asked for")

    def radius(tangent):
        raise reached

    monkeypatch.setattr(theorem4_tangents, "taylor", lambda *_, terms: (arb(1), slope)[:terms])
    monkeypatch.setattr(theorem4_tangents, "_convex_radius", radius)
    if verdict is None:
        with pytest.raises(ArithmeticError, match="radius"):
            theorem4_tangents.certify_tangent(ProfileParameters(3, 2), arb(1))
    else:
        found = theorem4_tangents.certify_tangent(ProfileParameters(3, 2), arb(1))
        assert found.verdict is verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (-free_features_optima.BELOW, Verdict.AGREES),
        (-math.nextafter(free_features_optima.BELOW, 1), Verdict.DISAGREES),
        (free_features_optima.REACHED, Verdict.AGREES),
        (math.nextafter(free_features_optima.REACHED, 1), Verdict.UNDECIDED),
    ],
)
def test_a_minimum_is_reached_up_to_what_is_named(value, verdict):
    at_nc = Minimiser(value, np.array([[[1.0]], [[-1.0]]]), 1.0)
    assert free_features_optima.verdict_on(at_nc, Prediction(0.0, 2.0)) is verdict


def test_a_minimum_of_another_geometry_is_not_reached():
    spread = np.array([[[1.0], [0.5]], [[-1.0], [-1.0]]])
    shrunk = np.array([[[0.9]], [[-0.9]]])
    for features in (spread, shrunk):
        found = free_features_optima.verdict_on(Minimiser(0.0, features, 1.0), Prediction(0.0, 2.0))
        assert found is Verdict.UNDECIDED


def test_a_similarity_that_is_nan_disagrees(monkeypatch):
    """Below the threshold it is neither below the similarity of meeting nor that of rarer ones."""
    ends = {2.0: math.nan, 3.0: 0.8, 8.0: 1.0}
    monkeypatch.setattr(trained_network, "rare_similarity", lambda imbalance, *_: ends[imbalance])
    found = trained_network.long_tails(Effort.QUICK)
    assert found.verdicts == {Verdict.AGREES: 3, Verdict.DISAGREES: 2}


def test_floors_need_some_hardness_and_two_classes():
    for find in (floor, floor_by_slope):
        with pytest.raises(ValueError, match="beta > 0"):
            find(num_classes=3, k=1, psi=InfoNCE(), beta=arb(0))
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        floor(num_classes=1, k=1, psi=InfoNCE(), beta=arb(1))
