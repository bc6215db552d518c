"""What the theory refuses: where a hypothesis fails that no control drops there is no number."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from flint import arb

from theory.escape import matrix, paley
from theory.evaluation import evaluate
from theory.exact.balls import exact_losses
from theory.exact.batches import hucl_of_batch
from theory.exact.bounds import (
    at_gap,
    bernoulli_mixture,
    hucl_at_collapse,
    supervised_bound,
    unsupervised_bound,
)
from theory.model.eta_kinds import Exponential, Threshold, ThresholdAny, WeightedExponential
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE, LogisticSum
from theory.model.random_models import neural_collapse
from theory.model.simplex import exact_simplex, nc_gap
from theory.optimum.collapsed_loss import collapsed_loss, collapsed_taylor
from theory.optimum.floor import floor
from theory.optimum.floor_by_slope import floor_by_slope
from theory.optimum.profile import (
    ProfileParameters,
    lambert_threshold,
    limit_minimum,
    limit_threshold,
)
from theory.optimum.random_batches import slope_at_nc
from theory.priors.limit import limit_ratio
from theory.priors.minority import MinorityProblem
from theory.priors.programme import CollapsedSCL, shares

ONE, HALF = Fraction(1), Fraction(1, 2)
FALLING = InfoNCE(tau=-ONE)
TWO_WEIGHTS = LogisticSum(w=(ONE, HALF))
ILL = arb("nan"), arb(-1), arb("inf")
ESCAPE = matrix.EscapeProblem(True, ONE)
EQUAL = (HALF, HALF)

CLASSES = {
    "the gap": nc_gap,
    "the simplex": exact_simplex,
    "the bound of SCL": lambda classes: supervised_bound(classes, 1, InfoNCE()),
    "the bound of UCL": lambda classes: unsupervised_bound(classes, 1, InfoNCE()),
    "HUCL at NC": lambda classes: hucl_at_collapse(classes, 1, InfoNCE(), Exponential(ONE)),
    "the floor": lambda c: floor(num_classes=c, k=1, psi=InfoNCE(), beta=arb(1)),
    "the floor by slope": lambda c: floor_by_slope(num_classes=c, k=1, psi=InfoNCE(), beta=arb(1)),
    "the profile": lambda classes: ProfileParameters(classes, None),
    "random batches": lambda classes: slope_at_nc(classes, 4, arb(1)),
}

NEGATIVES = {
    "the bound of SCL": lambda k, psi: supervised_bound(3, k, psi),
    "the bound of UCL": lambda k, psi: unsupervised_bound(3, k, psi),
    "HUCL at NC": lambda k, psi: hucl_at_collapse(3, k, psi, Exponential(ONE)),
    "a mixture": lambda k, psi: bernoulli_mixture(arb(HALF.numerator) / 2, ONE, k, psi),
    "a gap": lambda k, psi: at_gap(ONE, 0, k, psi),
    "collapse": lambda k, psi: collapsed_loss(arb(1), num_classes=3, k=k, psi=psi, beta=arb(1)),
    "its series": lambda k, psi: collapsed_taylor(arb(1), num_classes=3, k=k, psi=psi, beta=arb(1)),
    "the floor": lambda k, psi: floor(num_classes=3, k=k, psi=psi, beta=arb(1)),
    "a model": lambda k, psi: neural_collapse(num_classes=3, k=k, psi=psi),
}

ILLEGAL = {
    "the floor": lambda psi: floor(num_classes=3, k=1, psi=psi, beta=arb(1)),
    "the floor by slope": lambda psi: floor_by_slope(num_classes=3, k=1, psi=psi, beta=arb(1)),
    "the profile": lambda psi: ProfileParameters(3, None, psi),
    "escape": lambda psi: matrix.EscapeProblem(True, ONE, psi),
    "unequal priors": lambda psi: CollapsedSCL(EQUAL, psi),
    "minorities": lambda psi: MinorityProblem(2, 2, psi),
    "minorities without bound": lambda psi: limit_ratio(3, psi),
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("classes", [1, 0, -3])
def test_one_class_is_none(name, classes):
    with pytest.raises(ValueError, match=f"num_classes must be at least 2, got {classes}"):
        CLASSES[name](classes)


@pytest.mark.parametrize("name", NEGATIVES)
def test_negatives_are_one_at_least_and_as_many_as_their_weights(name):
    for k in (0, -2):
        with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
            NEGATIVES[name](k, InfoNCE())
    with pytest.raises(ValueError, match=r"the weights w of psi must number 3, .* got 2"):
        NEGATIVES[name](3, TWO_WEIGHTS)


@pytest.mark.parametrize("name", ILLEGAL)
def test_theorems_need_a_convex_psi_that_does_not_fall(name):
    with pytest.raises(ValueError, match="psi must be convex and non-decreasing, got InfoNCE"):
        ILLEGAL[name](FALLING)


@pytest.mark.parametrize("search", [floor, floor_by_slope])
@pytest.mark.parametrize("number", ILL, ids=str)
def test_floors_are_looked_for_between_finite_numbers(search, number):
    with pytest.raises(ValueError, match="a finite beta > 0"):
        search(num_classes=3, k=1, psi=InfoNCE(), beta=number)
    with pytest.raises(ValueError, match="a finite within >= 0"):
        search(num_classes=3, k=1, psi=InfoNCE(), beta=arb(1), within=number)


@pytest.mark.parametrize("eta", [WeightedExponential((ONE, 3 * ONE)), ThresholdAny(ONE)], ids=str)
def test_hucl_at_collapse_is_known_where_every_negative_has_one_factor(eta):
    with pytest.raises(ValueError, match="eta must be a product of one factor"):
        hucl_at_collapse(3, 2, InfoNCE(), eta)


def test_an_eta_that_vanishes_at_collapse_leaves_ucl():
    eta = Threshold(2 * ONE)
    found = hucl_at_collapse(3, 2, InfoNCE(), eta)
    assert found.overlaps(exact_losses(neural_collapse(num_classes=3, k=2, eta=eta)).hucl)
    assert found.overlaps(unsupervised_bound(3, 2, InfoNCE()))


@pytest.mark.parametrize("closed", [lambert_threshold, limit_threshold])
def test_the_closed_threshold_is_that_of_infinitely_many_negatives(closed):
    with pytest.raises(ValueError, match="needs k = infinity, got C=3 k=4"):
        closed(ProfileParameters(3, 4))
    with pytest.raises(ValueError, match="no limit for k to infinity"):
        closed(ProfileParameters(3, None, InfoNCE(q=None)))


def test_batches_have_two_members_and_all_negatives():
    with pytest.raises(ValueError, match="per_class must be at least 2, got 1"):
        ProfileParameters(3, None, InfoNCE(), 1)
    with pytest.raises(ValueError, match="batches need k = infinity"):
        ProfileParameters(3, 4, InfoNCE(), 2)
    with pytest.raises(ValueError, match="beta > 0"):
        limit_minimum(ProfileParameters(3, None), arb("nan"))


@pytest.mark.parametrize(("rows", "members"), [(3, 2), (0, 2), (3, 1)])
def test_a_batch_has_as_many_rows_of_each_class(rows, members):
    with pytest.raises(ValueError, match=r"must be at least 2|a batch needs 2 rows of each class"):
        hucl_of_batch(exact_simplex(3)[:rows], members, beta=ONE, psi=InfoNCE())


def test_random_batches_have_a_negative():
    with pytest.raises(ValueError, match="negatives must be at least 1, got 0"):
        slope_at_nc(3, 0, arb(1))


@pytest.mark.parametrize("prime", [-3, 1, 6, 7, 9, 21, 25])
def test_paley_frames_need_their_primes(prime):
    for find in (paley.paley_spectrum, paley.paley_share):
        with pytest.raises(ValueError, match=f"a prime of the form 4 n \\+ 1, got {prime}"):
            find(prime, ESCAPE)
    with pytest.raises(ValueError, match="a prime of the form"):
        paley.paley_gram(prime)


@pytest.mark.parametrize(
    ("gram", "expected"),
    [
        ([[1]], "two or more classes"),
        ([[1, 0], [0]], "square matrix"),
        ([[2, 0], [0, 1]], "1 on the diagonal, got .* of class 0"),
        ([[1, "nan"], ["nan", 1]], "finite"),
        ([[1, "0.5"], [0, 1]], "symmetric, those of class 0"),
    ],
)
def test_rates_are_of_similarities_of_unit_vectors(gram, expected):
    balls = [[arb(t) for t in row] for row in gram]
    for find in (matrix.slopes, matrix.loss_of_classes):
        with pytest.raises(ValueError, match=expected):
            find(balls, ESCAPE)


@pytest.mark.parametrize("changes", [{"beta": -ONE}, {"own_weight": Fraction(0)}], ids=str)
def test_rates_are_of_hardening(changes):
    with pytest.raises(ValueError, match="beta must not be negative and own_weight positive"):
        replace(ESCAPE, **changes)


@pytest.mark.parametrize(
    "law", [(HALF, HALF / 2), (ONE,), (3 * HALF, -HALF), (HALF, HALF, 0 * ONE)], ids=str
)
def test_certificates_are_of_laws(law):
    with pytest.raises(ValueError, match="priors must be positive, two or more, and sum to 1"):
        CollapsedSCL(law)
    with pytest.raises(ValueError, match="anchors must be"):
        CollapsedSCL(EQUAL, anchors=law)


def test_anchors_are_as_many_as_classes():
    with pytest.raises(ValueError, match="one for each of 2 classes, got 3"):
        CollapsedSCL(EQUAL, anchors=(Fraction(1, 3),) * 3)


@pytest.mark.parametrize("sizes", [[], [0, 0], [-1, 3]], ids=str)
def test_classes_have_members(sizes):
    with pytest.raises(ValueError, match="sizes must be positive"):
        shares(sizes)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"majority": 0}, "majority must be at least 1"),
        ({"minority": 1}, "minority must be at least 2"),
        ({"k": 0}, "k must be at least 1"),
        ({"beta": -ONE}, "beta must not be negative"),
    ],
    ids=str,
)
def test_minorities_are_two_classes(numbers, expected):
    with pytest.raises(ValueError, match=expected):
        replace(MinorityProblem(2, 2), **numbers)


@pytest.mark.parametrize("number", [0.5, float("nan"), np.float32(0.5), "1/2", True], ids=str)
def test_numbers_are_exact(number):
    frame = neural_collapse(num_classes=2)
    for make, name in (
        (lambda: InfoNCE(tau=number), "tau of infonce"),
        (lambda: Exponential(number), "beta of exp"),
        (lambda: WeightedExponential((ONE, number)), "betas of exp_weighted"),
        (lambda: MinorityProblem(2, 2, beta=number), "beta"),
        (lambda: CollapsedSCL((number, HALF)), r"priors\[0\]"),
        (lambda: replace(frame, prior=(HALF, number)), r"prior\[1\]"),
        (lambda: replace(frame, features=((ONE,), (number,))), r"features\[1\]\[0\]"),
        (lambda: _with_joint(frame, number), r"joint law 1\[1\]\[1\]"),
    ):
        with pytest.raises(TypeError, match=f"{name} must be an exact number, a Fraction"):
            make()


def _with_joint(frame: LatentClassModel, number: object) -> LatentClassModel:
    zero = 0 * ONE
    tables = ((ONE, zero), (zero, zero)), ((zero, zero), (zero, number))
    return replace(frame, joint=tables)


@pytest.mark.parametrize("digits", [2.5, "6", True, float("nan")], ids=str)
def test_digits_are_an_integer(digits):
    with pytest.raises(TypeError, match="digits must be an integer"):
        evaluate(neural_collapse(num_classes=2), digits=digits)
