"""Small values that are known in closed form, or were computed once by independent means."""

import math
from collections import defaultdict
from fractions import Fraction
from itertools import product
from operator import add

import jax
import jax.numpy as jnp
import optax
import pytest
from flint import arb, fmpq

from theory.evaluation import decimal, evaluate
from theory.exact.balls import exact_losses, expected_losses
from theory.exact.bounds import hucl_at_collapse, supervised_bound, unsupervised_bound
from theory.exact.float64 import losses_float64
from theory.exact.tuple_laws import (
    Outcome,
    independent,
    mixture,
    plain_and_hard,
    psi_of,
    without_replacement,
)
from theory.free_features.minimisation import (
    MinimisationProblem,
    PopulationLoss,
    class_mean_geometry,
    minimise,
    population_loss,
)
from theory.free_features.trajectories import Run, train, whole_batch_loss
from theory.model.eta_kinds import Exponential, Threshold
from theory.model.multisets import multisets, over_multisets
from theory.model.psi_kinds import InfoNCE, Linear, TripletSum
from theory.model.random_models import neural_collapse, own_points, uniform
from theory.model.rationals import ball, exact, exact_vector, rational, sequence
from theory.model.simplex import exact_simplex, nc_gap, square_root
from theory.optimum.collapsed_loss import (
    collapsed_loss,
    collapsed_loss_float64,
    collapsed_taylor,
)
from theory.optimum.floor import floor
from theory.optimum.floor_by_slope import floor_by_slope
from theory.optimum.profile import (
    ProfileParameters,
    limit_minimum,
    limit_threshold,
    slope_at_nc,
    taylor,
)

ONE, HALF = Fraction(1), Fraction(1, 2)
TWO_CLASSES = {"num_classes": 2, "k": 1, "psi": InfoNCE(), "beta": arb(1)}


def test_numbers_are_read_exactly():
    assert exact("beta", "1/3") + exact("beta", "0.5") == Fraction(5, 6)
    assert exact_vector("prior", ["1/3", 0.5]) == (Fraction(1, 3), HALF)
    assert sequence("prior", [1, 2]) == [1, 2]
    assert rational(Fraction(-1, 3)) == fmpq(-1, 3)
    assert ball(Fraction(1, 3)).contains(fmpq(1, 3))


def test_multisets_count_orders():
    assert multisets(2, 2) == [((0, 0), 1), ((0, 1), 2), ((1, 1), 1)]
    assert sum(orders for _, orders in multisets(5, 4)) == 5**4
    sums = over_multisets([arb(1), arb(10)], 2, add)
    assert [int(x.unique_fmpz()) for x in sums] == [2, 11, 20]


def test_simplex_of_two_and_its_gap():
    assert exact_simplex(2) == ((ONE,), (-ONE,))
    assert nc_gap(4) == Fraction(4, 3)
    assert square_root(Fraction(2), 3) == Fraction(1414, 1000)
    assert float(neural_collapse(num_classes=3).gram[0][1]) == -0.5
    assert own_points([uniform(1), uniform(2)]) == ((1, 0, 0), (0, HALF, HALF))


def test_bounds():
    assert float(supervised_bound(100, 1, InfoNCE())) == pytest.approx(0.31056, abs=5e-6)
    assert float(unsupervised_bound(2, 1, InfoNCE())) == pytest.approx(0.410038, abs=5e-7)
    at_nc = hucl_at_collapse(2, 1, InfoNCE(), Exponential(ONE))
    assert float(at_nc) == pytest.approx(0.625652, abs=5e-7)


def test_losses_at_collapse():
    model = neural_collapse(num_classes=4)
    assert exact_losses(model).scl.str(9, radius=False) == "0.233962525"
    assert losses_float64(model).scl == pytest.approx(0.233962525, abs=5e-10)
    assert evaluate(neural_collapse(num_classes=2), digits=8)["SCL"] == "0.12692801"
    assert decimal(arb("0.125"), 5) == "0.12500"


def test_laws_of_tuples():
    assert float(psi_of(TripletSum(ONE), [fmpq(0), fmpq(-2)])) == 1.0
    coin = [Outcome(fmpq(1, 2), (fmpq(t),), fmpq(0)) for t in (-1, 1)]
    plain, hard = plain_and_hard(coin, psi=Linear(), eta=Exponential(ONE))
    assert plain == 0
    assert abs(hard - arb(1).tanh()) < arb("1e-12")
    pairs = without_replacement([fmpq(0), fmpq(1), fmpq(2)], 2, s=fmpq(1))
    assert {ts for _, ts, _, _ in pairs} == {
        (fmpq(a), fmpq(b)) for a, b in product(range(3), repeat=2) if a != b
    }
    assert {p for p, *_ in pairs} == {fmpq(1, 6)}


def test_independent_tuples_have_the_losses_of_their_law():
    values, s = [fmpq(-1, 2), fmpq(1, 10), fmpq(4, 5)], fmpq(3, 5)
    psi, eta = InfoNCE(), Exponential(Fraction(2))
    plain, hard = plain_and_hard(independent(values, 3, s=s), psi=psi, eta=eta)
    expected = expected_losses(dict.fromkeys(values, fmpq(1, 3)), [s], k=3, psi=psi, eta=eta)
    assert abs(plain - expected.plain[s]) < arb("1e-12")
    assert abs(hard - expected.hard[s]) < arb("1e-12")


def test_mixtures_are_independent_given_the_part():
    """Two parts, one of a single value; positives at s = 1/2 and the linear psi, mean t - s."""
    parts = ((Fraction(1, 4), ((ONE, ONE),)), (Fraction(3, 4), ((HALF, -ONE), (HALF, ONE))))
    found = mixture(parts, 2, s=HALF)
    assert {s for *_, s, _ in found} == {fmpq(1, 2)}
    law = defaultdict(fmpq)
    for probability, ts, *_ in found:
        law[tuple(map(int, ts))] += probability
    sixteenth = fmpq(3, 16)
    assert law == {
        (1, 1): fmpq(1, 4) + sixteenth,
        **dict.fromkeys([(-1, 1), (1, -1), (-1, -1)], sixteenth),
    }
    plain, hard = plain_and_hard(found, psi=Linear(), eta=Exponential(ONE))
    assert abs(plain + arb(1) / 4) < arb("1e-12")
    both, neither = 7 * math.exp(2), 3 * math.exp(-2)
    assert float(hard) == pytest.approx((both - neither) / (both + 6 + neither) - 0.5, rel=1e-12)


def test_eta_may_see_others_and_may_vanish():
    """A fair coin that psi sees the other way round, and a threshold that nothing reaches."""
    seen = [Outcome(fmpq(1, 2), (fmpq(t),), fmpq(0), (fmpq(-t),)) for t in (-1, 1)]
    plain, hard = plain_and_hard(seen, psi=Linear(), eta=Exponential(ONE))
    assert plain == 0
    assert abs(hard + arb(1).tanh()) < arb("1e-12")
    low = independent([fmpq(0), fmpq(1, 4)], 1, s=fmpq(0))
    assert plain_and_hard(low, psi=Linear(), eta=Threshold(HALF)) == (arb("0.125"), arb("0.125"))


def test_collapsed_loss_of_two_classes():
    assert collapsed_loss(arb(2), **TWO_CLASSES).str(8, radius=False) == "0.62565220"
    coefficients = map(float, collapsed_taylor(arb(2), **TWO_CLASSES))
    assert list(coefficients) == pytest.approx([0.625652, 0.04524, -0.003865], abs=5e-7)
    with jax.enable_x64(True):
        found = collapsed_loss_float64(jnp.array([2.0]), **TWO_CLASSES | {"beta": 1.0})
    assert float(found[0]) == pytest.approx(0.6256522, abs=5e-9)


@pytest.mark.parametrize("search", [floor, floor_by_slope])
def test_floor_of_two_classes(search):
    delta, value = search(**TWO_CLASSES)
    assert float(delta) == pytest.approx(0.9813, abs=5e-5)
    assert float(value) == pytest.approx(0.59095804, abs=5e-9)


def test_profile():
    value, slope = taylor(ProfileParameters(100, None), arb(5), ball(nc_gap(100)), terms=2)
    assert float(value) == pytest.approx(0.5615, abs=5e-5)
    assert slope > 0
    assert slope_at_nc(ProfileParameters(4, 1), arb("0.87")) < 0
    assert slope_at_nc(ProfileParameters(4, 1), arb("0.88")) > 0
    delta, value = limit_minimum(ProfileParameters(4, None), arb(5))
    assert float(delta) == pytest.approx(0.2921, abs=5e-5)
    assert float(value) == pytest.approx(0.63975545, abs=5e-9)
    assert float(limit_threshold(ProfileParameters(10, None))) == pytest.approx(1.411323, abs=5e-7)


def test_free_features(x64):
    nc = jnp.array([[[1.0]], [[-1.0]]])
    of_pairs = jax.jit(lambda z: population_loss(z, False, 1.0, k=1))
    of_a_batch = jax.jit(lambda z: whole_batch_loss(z, Run(2, beta=1.0)))
    assert float(of_pairs(nc)) == pytest.approx(0.625652, abs=5e-7)
    assert float(of_a_batch(nc[:, 0])) == pytest.approx(0.640236, abs=5e-7)
    assert class_mean_geometry(nc) == (0.0, 2.0, 2.0, 1.0, 0.0)
    problem = MinimisationProblem(num_classes=2, points=1, dim=1, k=1)
    (found,) = minimise(jax.random.key(0), problem, [PopulationLoss(False, 5.0)], starts=4)
    assert found.value == pytest.approx(0.66703063, abs=5e-9)


def test_training_reaches_a_simplex():
    path = train(jax.random.key(0), Run(3, supervised=True), optax.adam(0.05), steps=200, every=20)
    assert path.etf_distances[-1] < 0.01
    assert list(path.steps) == list(range(20, 201, 20))
    assert path.losses[-1] == pytest.approx(path.losses.min(), rel=1e-6)
