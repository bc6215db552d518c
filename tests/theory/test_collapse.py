"""Free features: the loss is the population loss, and minimisation ends where the theorems say."""

import random
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hcl_jax
from hcl_jax.psi import logistic_sum
from theory.checking import Verdict
from theory.claims.free_features_optima import Prediction, judge, predict
from theory.claims.proposition5_detached_gradient import (
    end_of_run,
    expanding_slope,
    predicted_losses,
    radial_slope,
)
from theory.exact.balls import exact_losses
from theory.free_features.minimisation import (
    MinimisationProblem,
    Minimiser,
    PopulationLoss,
    class_mean_geometry,
    constrain,
    minimise,
    population_loss,
)
from theory.free_features.trajectories import Run, whole_batch_loss
from theory.model.eta_kinds import Exponential
from theory.model.psi_kinds import InfoNCE, LogisticSum
from theory.model.random_models import ball_features, random_model, uniform

pytestmark = pytest.mark.usefixtures("x64")


def _features(classes=3, points=2, dim=2):
    return 0.7 * jax.random.normal(jax.random.key(5), (classes, points, dim))


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("beta", [Fraction(0), Fraction(3)])
def test_population_loss_is_the_exact_one(k, beta):
    model = random_model(
        random.Random(k),
        psi=InfoNCE(),
        eta=Exponential(beta),
        balanced=True,
        joint=False,
        overlapping=False,
        k=k,
        features=ball_features,
        sizes=(3, 1, 2),
    )
    features = jnp.array([[float(x) for x in row] for row in model.features])[:, None]
    exact = exact_losses(model)
    assert uniform(3) == model.prior
    for supervised, expected in ((True, exact.hscl), (False, exact.hucl)):
        found = population_loss(features, supervised, float(beta), k=k)
        assert float(found) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.parametrize("supervised", [True, False])
def test_limit_is_the_shipped_loss_with_self_pairs(supervised):
    features = _features()
    run = Run(3, 2, supervised, beta=2.0)
    expected = whole_batch_loss(features.reshape(-1, 2), run)
    found = population_loss(features, supervised, 2.0, k=None)
    assert float(found) == pytest.approx(float(expected), rel=1e-14)


def test_without_self_pairs_the_shipped_loss_is_another():
    labels = jnp.repeat(jnp.arange(3), 2)
    shipped = hcl_jax.hucl(_features().reshape(-1, 2), labels, beta=2.0)
    assert abs(float(shipped - population_loss(_features(), False, 2.0, k=None))) > 1e-3


def test_population_loss_takes_other_psi():
    features, psi = _features(), logistic_sum()
    one = population_loss(features, False, 1.5, k=1, psi=psi)
    three = population_loss(features, False, 1.5, k=3, psi=psi)
    assert float(three) == pytest.approx(3 * float(one), rel=1e-13)
    assert LogisticSum().separable


def test_population_loss_grows_with_hardness_and_with_k():
    features = _features()
    by_beta = [float(population_loss(features, False, b, k=2)) for b in (0.0, 1.0, 5.0)]
    by_k = [float(population_loss(features, False, 1.0, k=k)) for k in (1, 2, 3, None)]
    assert by_beta == sorted(by_beta)
    assert by_k == sorted(by_k)


@pytest.mark.parametrize("constraint", ["ball", "sphere", "none"])
def test_constraints(constraint):
    free = jnp.array([[1e-9, 0.0], [0.6, -0.8], [300.0, 5.0]])
    norms = np.linalg.norm(np.asarray(constrain(free, constraint, radius=2.0)), axis=1)
    if constraint == "ball":
        assert np.all(norms <= 2.0)
        assert norms[1] == pytest.approx(2.0)
    elif constraint == "sphere":
        assert norms == pytest.approx(2.0)
    else:
        assert norms == pytest.approx(np.linalg.norm(np.asarray(free), axis=1))


def test_minimisation_reaches_the_predictions():
    problem = MinimisationProblem(3, 1, 2, 2)
    objectives = [PopulationLoss(True, 5.0), PopulationLoss(False, 0.0), PopulationLoss(False, 5.0)]
    found = minimise(jax.random.key(0), problem, objectives)
    for objective, minimiser in zip(objectives, found, strict=True):
        prediction = predict(problem, objective)
        assert judge(minimiser, prediction) is Verdict.EQUAL
        shape = class_mean_geometry(minimiser.features)
        assert shape.norm == pytest.approx((prediction.gap / 1.5) ** 0.5, abs=1e-5)
        assert shape.zero_sum < 1e-5


def test_too_few_dimensions_leave_a_distance_to_the_bound():
    problem = MinimisationProblem(3, 1, 1, 1)
    found = minimise(jax.random.key(0), problem, [PopulationLoss(True, 0.0)], starts=6)[0]
    assert found.value == pytest.approx(0.315668, abs=1e-6)
    assert found.value > predict(problem, PopulationLoss(True, 0.0)).value + 0.1


@pytest.mark.parametrize(
    ("classes", "k", "beta", "value", "gap"),
    [
        (2, 4, 5.0, 0.66786671, 0.2353),
        (3, 2, 5.0, 0.65104311, 0.2719),
        (3, None, 20.0, 0.68191633, 0.0714),
        (4, 1, 0.75, 0.452244, 4 / 3),
        (4, 1, 0.9, 0.475136, 1.3096),
        (5, 1, 1.0, 0.45752748, 1.25),
        (6, 4, 1.1, 0.464353, 1.1839),
    ],
)
def test_predictions_for_hucl(classes, k, beta, value, gap):
    found = predict(MinimisationProblem(classes, 1, classes - 1, k), PopulationLoss(False, beta))
    assert found.value == pytest.approx(value, abs=6e-7)
    assert found.gap == pytest.approx(gap, abs=6e-5)


def test_judge_tells_undercut_from_unreached_and_misshapen():
    nc = np.array([[[1.0]], [[-1.0]]])
    cases = [(0.4, 2.0, Verdict.EQUAL), (0.4 - 1e-11, 2.0, Verdict.VIOLATED)]
    cases += [(0.4 + 1e-8, 2.0, Verdict.UNDECIDED), (0.4, 1.9, Verdict.UNDECIDED)]
    for value, gap, verdict in cases:
        assert judge(Minimiser(value, nc, 1.0), Prediction(0.4, gap)) is verdict


@pytest.mark.parametrize("beta", [0.5, 5.0])
def test_detached_slope_always_expands_and_full_slope_turns(beta):
    shares = (0.05, 0.3, 1.0)
    detached = [radial_slope(4, beta, s * 4 / 3, stop_gradient=True) for s in shares]
    assert all(slope < 0 for slope in detached)
    assert detached == pytest.approx([expanding_slope(4, beta, s * 4 / 3) for s in shares])
    full = radial_slope(4, beta, 4 / 3, stop_gradient=False)
    assert (full > 0) == (beta > 0.751967)


def test_predicted_losses_at_a_hundred_classes():
    assert predicted_losses(100, 5.0) == pytest.approx((0.561472, 0.482871), abs=1e-6)
    below = predicted_losses(100, 3.0)
    assert below[0] == below[1]


@pytest.mark.slow
def test_a_hundred_classes_end_at_nc_or_at_the_shrunk_frame():
    detached = end_of_run(100, 5.0, stop_gradient=True)
    full = end_of_run(100, 5.0, stop_gradient=False)
    assert detached.losses[-1] == pytest.approx(0.5615, abs=5e-5)
    assert full.losses[-1] == pytest.approx(0.4829, abs=5e-5)
    assert detached.etf_distances[-1] < 1e-6 < 0.5 < full.etf_distances[-1]
    assert detached.first_step_below(1e-3) is not None
    assert full.first_step_below(0.3) is None
