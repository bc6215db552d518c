"""The two exact evaluators against the committed cases, a naive transcription, and each other."""

import json
import random
from fractions import Fraction
from pathlib import Path

import pytest
from flint import arb, ctx
from mpmath import mp
from references import naive_theory

from theory.evaluation import evaluate
from theory.exact.balls import exact_losses
from theory.exact.float64 import losses_float64
from theory.model import eta_kinds, psi_kinds
from theory.model.model_files import model_from_json, model_to_json, read_models
from theory.model.random_models import neural_collapse, random_model, some_eta, some_psi

CASES_FILE = Path(__file__).parents[1] / "references" / "theory_cases.json"
CASES = json.loads(CASES_FILE.read_text())["cases"]
MODELS = {model.name: model for model in read_models(CASES_FILE)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_cases_in_balls(case):
    found = evaluate(MODELS[case["id"]])
    assert {key: found[key] for key in case["expected"]} == case["expected"]
    assert found["bounds"] == case["bounds"]
    assert found["hypotheses"] == case["hypotheses"]
    zeros = "n_anchor_label_pairs_with_E_eta_zero"
    assert found[zeros] == case[zeros]
    promised = [item[:3] for item in found["inequalities"]]
    assert [item for item in promised if "_joint" not in item[0]] == case["inequalities"]
    assert {item[3] for item in found["inequalities"]} <= {"proved", "equal"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_cases_in_float64(case):
    found = losses_float64(MODELS[case["id"]])
    for name, value in case["expected"].items():
        assert getattr(found, name.lower()) == pytest.approx(float(value), rel=1e-12, abs=0)


def kinds():
    """Every psi with every eta that a file may name."""
    half, third = Fraction(1, 2), Fraction(1, 3)
    psis = [
        psi_kinds.InfoNCE(half, third, Fraction(3, 2)),
        psi_kinds.InfoNCE(q=None, tau=half),
        psi_kinds.InfoNCE(Fraction(0)),
        psi_kinds.TripletSum(third),
        psi_kinds.TripletMax(half),
        psi_kinds.LogisticSum(Fraction(3, 2)),
        psi_kinds.LogisticSum(third, (Fraction(1), Fraction(3))),
        psi_kinds.SquaredHinge(half),
        psi_kinds.Linear(),
    ]
    etas = [
        eta_kinds.Exponential(Fraction(3)),
        eta_kinds.WeightedExponential((Fraction(4), half)),
        eta_kinds.ReluPower(third, Fraction(5, 2)),
        eta_kinds.SumReluPower(half, third),
        eta_kinds.Threshold(Fraction(1, 10)),
        eta_kinds.ThresholdAny(Fraction(1, 5)),
        eta_kinds.Sigmoid(Fraction(6), third),
        eta_kinds.DecreasingExponential(Fraction(2)),
    ]
    return [(psi, eta) for psi in psis for eta in etas]


def model_of(psi, eta):
    """A small model with dependence, overlapping classes and unequal priors."""
    rng = random.Random(f"{psi}{eta}")
    sizes = (3, 1, 2)
    return random_model(
        rng, psi=psi, eta=eta, k=2, joint=True, balanced=False, overlapping=True, sizes=sizes
    )


@pytest.mark.parametrize(("psi", "eta"), kinds(), ids=lambda kind: kind.kind)
def test_balls_equal_the_definition(psi, eta):
    check_balls(model_of(psi, eta))


@pytest.mark.parametrize(("psi", "eta"), kinds()[::9], ids=lambda kind: kind.kind)
def test_float64_equals_balls(psi, eta):
    check_float64(model_of(psi, eta))


@pytest.mark.slow
@pytest.mark.parametrize(("psi", "eta"), kinds(), ids=lambda kind: kind.kind)
def test_float64_equals_balls_for_every_kind(psi, eta):
    check_float64(model_of(psi, eta))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_random_models_equal_the_definition(seed):
    rng = random.Random(seed)
    model = random_model(rng, k=rng.choice((1, 2, 3)))
    check_balls(model)
    check_float64(model)


def check_balls(model):
    """To 40 digits."""
    expected, zeros = naive_theory.losses(model_to_json(model))
    with ctx.workprec(200):
        balls = exact_losses(model)
        assert (balls.zero_scl, balls.zero_ucl) == (zeros["HSCL"], zeros["HUCL"])
        for name, value in expected.items():
            assert abs(getattr(balls, name.lower()) - arb(mp.nstr(value, 45))) < arb("1e-40")


def check_float64(model):
    """To 12 digits, of a value that is not itself rounding."""
    balls, floats = exact_losses(model), losses_float64(model)
    for name, value in floats._asdict().items():
        exact = getattr(balls, name)
        assert value is exact is None or value == pytest.approx(float(exact), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("eta", [eta for psi, eta in kinds()[1:6:4]], ids=lambda eta: eta.kind)
def test_evaluators_agree_on_six_negatives(eta):
    if eta.kind == "exp_weighted":
        eta = eta_kinds.WeightedExponential(tuple(Fraction(i, 2) for i in range(6)))
    rng = random.Random(3)
    psi = psi_kinds.InfoNCE()
    check_float64(random_model(rng, k=6, eta=eta, psi=psi, joint=False, sizes=(3, 2, 2)))


def test_limit_in_k_is_the_limit():
    model = random_model(
        random.Random(5),
        psi=psi_kinds.InfoNCE(),
        eta=eta_kinds.Exponential(Fraction(2)),
        k=1,
        sizes=(3, 2, 2),
    )
    balls, floats = exact_losses(model, limit=True), losses_float64(model, limit=True)
    for exact, rounded in zip(balls[:4], floats[:4], strict=True):
        assert rounded == pytest.approx(float(exact), rel=1e-12)
    values = [float(exact_losses(model_with(model, k=k)).hucl) for k in (2, 4, 8)]
    gaps = [float(balls.hucl) - value for value in values]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] / gaps[1] == pytest.approx(0.5, abs=0.05)


def test_limit_needs_infonce_and_a_product():
    model = neural_collapse(num_classes=2, psi=psi_kinds.Linear())
    for evaluator in (exact_losses, losses_float64):
        with pytest.raises(ValueError, match="only InfoNCE"):
            evaluator(model, limit=True)


def test_precision_follows_the_digits():
    model = MODELS["interior_b5"]
    assert evaluate(model, digits=60)["HUCL"].startswith("0.827773884478495408446898")
    assert len(evaluate(model, digits=60)["HUCL"]) == 62


def test_places_have_the_digits_that_are_given():
    """The gap of the least HUCL is ``(1 + W((C - 1)/e)) / beta`` for large beta."""
    model = neural_collapse(num_classes=3, k=2, eta=eta_kinds.Exponential(Fraction(10**25)))
    found = evaluate(model)["bounds"]
    with mp.workdps(30):
        expected = mp.nstr((1 + mp.lambertw(2 / mp.e)) / mp.mpf(10) ** 25, 12)
    assert found["hucl_delta_star"] == found["hucl_delta_ball"] == expected


def test_a_number_of_digits_has_its_ends():
    model = neural_collapse(num_classes=2, psi=psi_kinds.Linear())  # SCL = -2
    for digits in (1, 1000):
        found = evaluate(model, digits=digits)["SCL"]
        assert found == "-2." + "0" * (digits - 1)
    for digits in (0, 1001):
        with pytest.raises(ValueError, match=f"between 1 and 1000, got {digits}"):
            evaluate(model, digits=digits)


@pytest.mark.parametrize(
    "psi", [{"type": "infonce", "tau": "1/100"}, {"type": "logistic_sum", "a": 100}]
)
def test_tiny_losses_have_all_their_digits(psi):
    """SCL = log(1 + e^-200) at neural collapse, far below the working precision."""
    found = evaluate(model_with(neural_collapse(num_classes=2), psi=psi), digits=40)
    with mp.workdps(200):
        assert found["SCL"] == mp.nstr(mp.log1p(mp.exp(-200)), 40)


def test_nothing_is_promised_of_a_tilt_that_rises_and_falls():
    model = neural_collapse(num_classes=2, k=2)
    for betas, promised in (
        (["1", "2"], ["HUCL", ">=", "UCL", "proved"]),
        (["-1", "-2"], ["UCL", ">=", "HUCL", "proved"]),
        (["-1", "2"], None),
    ):
        found = evaluate(model_with(model, eta={"type": "exp_weighted", "betas": betas}))
        theorem_1 = [row for row in found["inequalities"] if "bounds" not in row[2]]
        assert promised in theorem_1 if promised else theorem_1 == []


def model_with(model, **changes):
    case = model_to_json(model) | changes
    return model_from_json(case)


def test_some_kinds_are_legal():
    rng = random.Random(0)
    assert all(some_psi(rng).legal and some_eta(rng, 2).legal for _ in range(200))
