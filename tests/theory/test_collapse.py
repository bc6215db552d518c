"""Free features: the loss is the population loss, and minimisation ends where the theorems say."""

import random
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb

import hcl_jax
from hcl_jax.psi import logistic_sum
from theory.checking import Effort, Verdict
from theory.claims.free_features_optima import objectives, problems, verdict_on
from theory.claims.free_features_training import SPREAD, trajectory
from theory.claims.proposition5_detached_gradient import (
    adam_on_class_means,
    detached_slope,
    predicted_losses,
    runs,
    shipped_slope,
    slope_by_definition,
)
from theory.exact.balls import exact_losses
from theory.exact.bounds import supervised_bound, unsupervised_bound
from theory.free_features.minimisation import (
    MinimisationProblem,
    Minimiser,
    PopulationLoss,
    class_mean_geometry,
    constrain,
    minimise,
    population_loss,
)
from theory.free_features.predictions import Prediction, hucl_at_nc, predict
from theory.free_features.trajectories import Run, whole_batch_loss
from theory.model.eta_kinds import Exponential
from theory.model.psi_kinds import InfoNCE, LogisticSum
from theory.model.random_models import ball_features, random_model, uniform

pytestmark = pytest.mark.usefixtures("x64")


compiled = jax.jit(population_loss, static_argnames="k")


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
        found = compiled(features, supervised, float(beta), k=k)
        assert float(found) == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.parametrize("supervised", [True, False])
def test_limit_is_the_shipped_loss_with_self_pairs(supervised):
    features = _features()
    run = Run(3, 2, supervised, beta=2.0)
    expected = jax.jit(whole_batch_loss, static_argnums=1)(features.reshape(-1, 2), run)
    found = compiled(features, supervised, 2.0, k=None)
    assert float(found) == pytest.approx(float(expected), rel=1e-14)


def test_without_self_pairs_the_shipped_loss_is_another():
    features, labels = _features(), jnp.array([0, 0, 1, 1, 2, 2])
    shipped = jax.jit(lambda z: hcl_jax.hucl(z, labels, beta=2.0))(features.reshape(-1, 2))
    assert abs(float(shipped - compiled(features, False, 2.0, k=None))) > 1e-3


def test_population_loss_takes_other_psi():
    features, psi = _features(), logistic_sum()
    one, three = (compiled(features, False, 1.5, k=k, psi=psi) for k in (1, 3))
    assert float(three) == pytest.approx(3 * float(one), rel=1e-13)
    assert LogisticSum().separable


def test_population_loss_grows_with_hardness_and_with_k():
    features = _features()
    by_beta = [float(compiled(features, False, b, k=2)) for b in (0.0, 1.0, 5.0)]
    by_k = [float(compiled(features, False, 1.0, k=k)) for k in (1, 2, 3, None)]
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
        assert verdict_on(minimiser, prediction) is Verdict.AGREES
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
        (2, 1, 1.0, 0.59095804, 0.9813),
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


def test_verdicts_tell_undercut_from_unreached_and_misshapen():
    nc = np.array([[[1.0]], [[-1.0]]])
    cases = [(0.4, 2.0, Verdict.AGREES), (0.4 - 1e-11, 2.0, Verdict.DISAGREES)]
    cases += [(0.4 + 1e-8, 2.0, Verdict.UNDECIDED), (0.4, 1.9, Verdict.UNDECIDED)]
    for value, gap, verdict in cases:
        assert verdict_on(Minimiser(value, nc, 1.0), Prediction(0.4, gap)) is verdict


def test_predictions_of_scl_and_ucl_are_the_bounds():
    problem = MinimisationProblem(3, 2, 2, 2)
    for beta in (0.0, 5.0):
        bound = float(supervised_bound(3, 2, InfoNCE()))
        assert predict(problem, PopulationLoss(True, beta)) == pytest.approx(
            (bound, 1.5), abs=1e-14
        )
    bound = float(unsupervised_bound(3, 2, InfoNCE()))
    assert predict(problem, PopulationLoss(False, 0.0)) == pytest.approx((bound, 1.5), abs=1e-14)


def test_efforts_choose_problems_and_losses():
    assert [len(problems(effort)) for effort in Effort] == [1, 3, 39]
    assert [len(objectives(effort)) for effort in Effort] == [3, 6, 6]
    assert runs(Effort.DEFAULT) == [(100, 5.0)]


@pytest.mark.parametrize("beta", [0.5, 5.0])
def test_detached_slope_always_expands_and_full_slope_turns(beta):
    shares = (0.05, 0.3, 1.0)
    gaps = [share * 4 / 3 for share in shares]
    detached = [shipped_slope(4, beta, gap, stop_gradient=True) for gap in gaps]
    assert all(slope < 0 for slope in detached)
    formula = [float(detached_slope(4, arb(beta), arb(gap))) for gap in gaps]
    assert detached == pytest.approx(formula)
    full = shipped_slope(4, beta, 4 / 3, stop_gradient=False)
    assert (full > 0) == (beta > 0.751967)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_slope_by_definition_is_that_of_the_shipped_loss(stop_gradient):
    for num_classes, beta, gap in ((4, 5.0, 1.0), (3, 0.7, 0.2)):
        slope = slope_by_definition(num_classes, arb(beta), arb(gap), stop_gradient=stop_gradient)
        shipped = shipped_slope(num_classes, beta, gap, stop_gradient=stop_gradient)
        assert float(slope) == pytest.approx(shipped, abs=1e-13)


def test_detached_slope_of_two_merged_classes():
    assert float(detached_slope(2, arb(0), arb(0))) == pytest.approx(-0.25)


def test_training_reaches_nc_below_the_threshold_and_with_hard_negatives():
    path = adam_on_class_means(3, 0.1, stop_gradient=True, steps=300)
    assert path.etf_distances[-1] < 0.05
    hardened = trajectory("HSCL", "unit ball", SPREAD, steps=300)
    assert hardened.first_step_below(0.01) is not None


def test_predicted_losses_at_a_hundred_classes():
    assert predicted_losses(100, 5.0) == pytest.approx((0.561472, 0.482871), abs=1e-6)
    below = predicted_losses(100, 3.0)
    assert below[0] == below[1] == hucl_at_nc(100, None, 3.0)


@pytest.mark.slow
def test_a_hundred_classes_end_at_nc_or_near_the_minimum():
    detached = adam_on_class_means(100, 5.0, stop_gradient=True)
    full = adam_on_class_means(100, 5.0, stop_gradient=False)
    assert detached.losses[-1] == pytest.approx(0.5615, abs=5e-5)
    assert full.losses[-1] == pytest.approx(0.4829, abs=5e-5)
    assert detached.etf_distances[-1] < 1e-6 < 0.5 < full.etf_distances[-1]
    assert detached.first_step_below(1e-3) is not None
    assert full.first_step_below(0.3) is None
