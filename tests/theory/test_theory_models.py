"""Finite models: what is refused and why, JSON both ways, generators, and the command line."""

import copy
import json
import random
import re
import time
from fractions import Fraction
from pathlib import Path

import pytest

from scripts import verify_theory
from scripts.theory_report import heartbeat
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
    "k of ten thousands": ({"k": 10**30}, "k must be at most 10000, got about 1E+30"),
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
    "rounded prior": (
        {"prior": ["0.3333333333333333"] * 3},
        "prior must sum to 1, but is off by -1/10000000000000000; write rounded decimals as "
        'exact numbers, such as "1/3", or give --normalize',
    ),
    "rounded class law": (
        {"class_pmf": [["0.1666666"] * 6] * 3},
        "class_pmf[0] must sum to 1, but is off by -1/2500000;",
    ),
    "too many digits": (
        {"prior": ["0." + "3" * 100_000] * 3},
        "prior[0] must have at most 4000 characters, got 100002: '0.3333",
    ),
    "many digits": ({"prior": ["0." + "3" * 3000] * 3}, "off by about -1E-3000; write"),
    "many digits, negative": (
        {"prior": ["1", "1", "-1." + "0" * 3000 + "1"]},
        "prior has a negative probability about -1",
    ),
    "long text": ({"prior": ["x" * 1000] * 3}, "prior[0] must be a finite number, got 'xxx"),
    "long list": ({"features": "x" * 10_000}, "features must be a list, got 'xxx"),
    "long psi": ({"psi": {"type": "x" * 10_000}}, "unknown psi 'xxx"),
    "long key": ({"x" * 10_000: 1}, "unknown keys xxx"),
    "many keys": (
        {f"x{i}": 1 for i in range(1000)},
        "unknown keys x0, x1, x10, x100, x101, ...; k",
    ),
    "long alpha": (
        {"psi": {"type": "infonce", "alpha": "-1e4999"}},
        "got alpha=about -1E+4999, q=1, tau=1",
    ),
    "long power": ({"eta": {"type": "relu_pow", "c": 1, "p": "-1e4999"}}, "got about -1E+4999"),
    "long size": ({"N": 10**3000}, "N is about 1"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_wrong_models_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match="interior_b5: ") as caught:
        model_from_json(changed(**changes))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", ": not JSON: Expecting property name"),
        ("[]", "the list of cases is empty"),
        ("3", "a model must be a JSON object, got 3"),
        ('{"k": 1}', "missing eta, prior, psi"),
        ('{"k": NaN}', "numbers must be finite, got NaN"),
        ('{"notes": [-Infinity]}', "numbers must be finite, got -Infinity"),
        ('{"k": 1, "k": 2}', "the key 'k' is given twice in one object"),
        ('{"psi": {"type": "infonce", "type": "x"}}', "the key 'type' is given twice"),
        ('{"k": ' + "1" * 5000 + "}", "at most 4000 characters, got 5000: 111"),
        ('{"k": 1e' + "9" * 30 + "}", "is no number within reach"),
        ("[" * 100_000, "nested too deeply"),
        ("\xff", "no text in UTF-8"),
    ],
)
def test_command_line_errors_go_to_standard_error(tmp_path, capsys, text, message):
    file = tmp_path / "bad.json"
    file.write_bytes(text.encode("latin-1"))
    assert main(["--case", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(file) in captured.err
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_laws_of_rounded_decimals_are_normalized_if_asked_for(tmp_path, capsys):
    third, sixth = 0.3333333333333333, 0.16666667
    rounded = changed(prior=[third] * 3, class_pmf=[[sixth] * 6] * 3)
    exact = changed(prior=["1/3"] * 3, class_pmf=[["1/6"] * 6] * 3)
    assert model_from_json(rounded, normalize=True) == model_from_json(exact)
    file = tmp_path / "rounded.json"
    file.write_text(json.dumps(rounded))
    assert main(["--case", str(file)]) == 2
    assert 'such as "1/3", or give --normalize' in capsys.readouterr().err
    assert main(["--case", str(file), "--normalize"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hypotheses"]["balanced"]
    file.write_text(json.dumps(exact))
    assert main(["--case", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_joint_laws_of_rounded_decimals_are_normalized_if_asked_for():
    ninth = 0.1111111111111111
    law = [["1/3", "1/3", "1/3", 0, 0, 0]] * 3
    table = [[ninth] * 3 + [0] * 3] * 3 + [[0] * 6] * 3
    rounded = changed(class_pmf=law, joint=[table] * 3)
    with pytest.raises(ValueError, match=r"joint\[0\] must sum to 1, .* or give --normalize"):
        model_from_json(rounded)
    assert model_from_json(rounded, normalize=True).joint[0][0][0] == Fraction(1, 9)


def test_what_is_not_nearly_a_law_is_not_normalized():
    with pytest.raises(ValueError, match=r"prior must sum to 1, got 9/10$"):
        model_from_json(changed(prior=["0.3"] * 3), normalize=True)


@pytest.mark.parametrize("option", [["--normalize"], ["--digits", "5"]])
def test_options_of_a_case_are_refused_without_one(capsys, option):
    assert main(["--quick", *option]) == 2
    shown = capsys.readouterr().err
    assert f"error: {option[0]} is for the " in shown
    assert "of --case" in shown


def test_the_model_of_the_page_has_the_losses_that_it_says(tmp_path, capsys):
    page = (Path(__file__).parents[2] / "docs" / "theory.md").read_text()
    example, after = page.split("```json\n")[1].split("```", 1)
    file = tmp_path / "model.json"
    file.write_text(example)
    assert main(["--case", str(file), "--digits", "6"]) == 0
    found = json.loads(capsys.readouterr().out)
    said = after[: after.index("\n\n*")]
    for name in ("SCL", "HSCL", "UCL", "HUCL"):
        assert re.search(rf"\b{name}\s+{found[name]}\b", said)
    assert f"{found['bounds']['hucl_floor_any_norm']} (`hucl_floor_any_norm`)" in said


def test_what_takes_long_says_so_now_and_then(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
    monkeypatch.setattr(verify_theory, "evaluate", lambda model, digits: time.sleep(0.1))
    file = tmp_path / "models.json"
    file.write_text(json.dumps([changed(), changed("random_3")]))
    assert main(["--case", str(file)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"0 of 2 models after 0 s, now interior_b5 with k = 2", lines[0])
    assert re.match(r"1 of 2 models after 0 s, now random_3 with k = \d", lines[-1])


def test_command_line_refuses_a_missing_file_and_silly_digits(tmp_path, capsys):
    missing = tmp_path / "none.json"
    assert main(["--case", str(missing)]) == 2
    assert capsys.readouterr().err == f"error: {missing}: No such file or directory\n"
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
