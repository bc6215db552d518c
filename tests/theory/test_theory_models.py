"""Finite models: what is refused and why, JSON both ways, generators, and the command line."""

import copy
import json
import random
from fractions import Fraction
from pathlib import Path

import pytest

from scripts.verify_theory import main
from theory.model.model_files import model_from_json, model_to_json, parse_models, read_models
from theory.model.random_models import neural_collapse, random_model, sphere_features
from theory.model.simplex import exact_simplex

CASES = json.loads((Path(__file__).parents[1] / "references" / "theory_cases.json").read_text())[
    "cases"
]
BY_NAME = {case["id"]: case for case in CASES}
JOINT = BY_NAME["joint_cyclic_asym"]


def changed(name="interior_b5", **changes):
    return copy.deepcopy(BY_NAME[name]) | changes


WRONG = {
    "prior that does not sum to 1": (
        {"prior": ["1/3", "1/3", "1/4"]},
        "prior must sum to 1, got 11/12",
    ),
    "negative prior": ({"prior": ["1", "1/2", "-1/2"]}, "negative probability -1/2"),
    "one class": (
        {"prior": ["1"], "class_pmf": [["1/2", "1/2", "0", "0", "0", "0"]], "C": 1},
        "leave room for another class",
    ),
    "class law": (
        {"class_pmf": [["1", "1", "0", "0", "0", "0"]] * 3},
        "class law 0 must sum to 1, got 2",
    ),
    "law of another length": (
        {"class_pmf": [["1/2", "1/2"]] * 3},
        "class law 0 must number 6",
    ),
    "too few laws": ({"class_pmf": [["1/6"] * 6] * 2}, "class laws must number 3"),
    "k = 0": ({"k": 0}, "k must be an integer of at least 1, got 0"),
    "k = 3/2": ({"k": "3/2"}, "k must be an integer"),
    "k of ten thousands": ({"k": 10**30}, "k must be at most 10000, got 1000"),
    "k true": ({"k": True}, "k must be a number"),
    "infinite feature": ({"features": [["inf"] * 3] * 6}, "must be a finite number, got 'inf'"),
    "division by zero": ({"features": [["1/0"] * 3] * 6}, "must be a finite number, got '1/0'"),
    "ragged features": ({"features": [["1"] * 3] * 5 + [["1"]]}, "one dimension"),
    "unknown psi": (
        {"psi": {"type": "hinge"}},
        "unknown psi 'hinge'; known are infonce, triplet_sum",
    ),
    "unknown eta": ({"eta": {"type": "gauss"}}, "unknown eta 'gauss'; known are exp,"),
    "psi without type": ({"psi": {"margin": 1}}, "psi must be an object with a 'type'"),
    "unknown parameter": (
        {"eta": {"type": "exp", "bta": 1}},
        "eta 'exp' has no parameter bta; it takes beta",
    ),
    "missing parameter": ({"eta": {"type": "exp"}}, "eta 'exp' needs beta, got nothing"),
    "power": ({"eta": {"type": "relu_pow", "c": 1, "p": 0}}, "p must be positive, got 0"),
    "alpha": ({"psi": {"type": "infonce", "alpha": -1}}, "infonce needs alpha >= 0"),
    "betas": (
        {"eta": {"type": "exp_weighted", "betas": ["1"]}},
        "the betas of eta must number 2, one for each of the negatives (k), got 1",
    ),
    "unknown key": ({"feature": []}, "unknown keys feature; known are id"),
    "wrong size": ({"N": 7}, "N is 7 but the arrays say 6"),
    "text for a list": ({"prior": "1/3"}, "prior must be a list"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_wrong_models_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match="interior_b5: ") as caught:
        model_from_json(changed(**changes))
    assert message in str(caught.value)


def test_wrong_marginal_names_the_point():
    case = copy.deepcopy(JOINT)
    case["joint"][0][0] = ["1/3", "0", "0", "0", "0", "0"]
    with pytest.raises(
        ValueError, match=r"joint law 0: the marginal of x\+ .* at point 0 it is 2/3"
    ):
        model_from_json(case)


def test_numbers_may_be_strings_or_numbers():
    text = json.dumps(changed(eta={"type": "exp", "beta": 0.1}, prior=["1/3"] * 3))
    model = parse_models(text, name="x")
    assert not isinstance(model, list)
    assert model.eta.beta == Fraction(1, 10)  # type: ignore[attr-defined]
    weighted = changed(
        psi={"type": "logistic_sum", "a": 1, "w": [1, "1/2"]},
        eta={"type": "exp_weighted", "beta": [1, 2.5]},
    )
    assert model_from_json(weighted).psi.place_weights(2) == (1, Fraction(1, 2))


@pytest.mark.parametrize("seed", range(20))
def test_json_round_trip(seed):
    model = random_model(random.Random(seed))
    assert model_from_json(json.loads(json.dumps(model_to_json(model)))) == model


def test_illegal_models_are_reported_not_refused():
    softened = model_from_json(changed(eta={"type": "BAD_decreasing_exp", "beta": 1}))
    assert not softened.hypotheses.eta_legal
    longer = model_from_json(changed(features=[["2", "0", "0"]] * 6))
    assert not longer.hypotheses.unit_ball
    assert not model_from_json(changed(prior=["1/2", "1/4", "1/4"])).hypotheses.balanced


def test_generators_keep_their_promises():
    rng = random.Random(0)
    for _ in range(50):
        model = random_model(rng, balanced=True)
        assert model.hypotheses.balanced
        assert model.hypotheses.unit_ball
    assert all(sum(x * x for x in row) == 1 for row in sphere_features(rng, 3, 2, 3))
    frame = exact_simplex(7)
    assert all(sum(x * x for x in row) <= 1 for row in frame)
    model = neural_collapse(num_classes=7)
    assert abs(model.gram[0][1] + Fraction(1, 6)) < Fraction(1, 10**75)


def test_command_line_prints_one_object_for_one_model(tmp_path, capsys):
    file = tmp_path / "model.json"
    file.write_text(json.dumps(BY_NAME["random_3"]))
    assert main(["--case", str(file)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["id"] == "random_3"
    assert found["HUCL_joint"] == BY_NAME["random_3"]["expected"]["HUCL_joint"]
    assert ["HUCL_joint", ">=", "UCL_joint", "proved"] in found["inequalities"]
    assert found["bounds"] == {}


def test_command_line_prints_a_list_for_a_list(tmp_path, capsys):
    file = tmp_path / "models.json"
    file.write_text(json.dumps({"format": "x", "conventions": {}, "cases": CASES[:2]}))
    assert main(["--case", str(file), "--digits", "10"]) == 0
    assert [case["SCL"] for case in json.loads(capsys.readouterr().out)] == [
        "0.1269280110",
        "0.2339625251",
    ]


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"k": 1}', '{"k": NaN}'])
def test_command_line_errors_go_to_standard_error(tmp_path, capsys, text):
    file = tmp_path / "bad.json"
    file.write_text(text)
    assert main(["--case", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(file) in captured.err


def test_command_line_refuses_a_missing_file_and_silly_digits(tmp_path, capsys):
    assert main(["--case", str(tmp_path / "none.json")]) == 2
    file = tmp_path / "model.json"
    file.write_text(json.dumps(BY_NAME["all_zero"]))
    assert main(["--case", str(file), "--digits", "0"]) == 2
    assert main(["--quick", "--full"]) == 2
    assert capsys.readouterr().out == ""


def test_exponents_that_fill_the_memory_are_refused():
    text = json.dumps(changed()).replace('"beta": "5"', '"beta": 1e999999999')
    with pytest.raises(ValueError, match=r"eta\.beta must have an exponent of at most 5000"):
        parse_models(text, name="x")


def test_both_spellings_of_the_betas_are_refused():
    eta = {"type": "exp_weighted", "beta": [1, 2], "betas": [1, 2]}
    with pytest.raises(ValueError, match="has both beta and betas, which mean the same"):
        model_from_json(changed(eta=eta))


def test_byte_order_mark_is_read_over(tmp_path):
    file = tmp_path / "case.json"
    file.write_text(json.dumps(changed()), encoding="utf-8-sig")
    assert len(read_models(file)) == 1


def test_report_without_a_place_is_refused_before_measuring(tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    assert main(["--report", str(file), "--quick"]) == 2
    assert "error: --report: " in capsys.readouterr().err
