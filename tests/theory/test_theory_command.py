"""`scripts.verify_theory` as a command: what it prints, where, and its exit status."""

import json
from collections import Counter
from pathlib import Path

import pytest

from scripts import verify_theory
from scripts.theory_report.findings import Finding, text_table
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict
from theory.claims import CLAIMS

PROVED, VIOLATED, UNDECIDED = Verdict.PROVED, Verdict.VIOLATED, Verdict.UNDECIDED


def measured(*verdicts):
    return lambda effort: Measurement(Counter(verdicts), 12_345, -1.2345e-30)


def claim_with(verdicts, control):
    control = Control("the control", "a hypothesis", measured(control))
    return Claim(
        name="a claim",
        statement="",
        reference="",
        hypotheses="",
        evidence=Evidence.PROVED,
        measure=measured(*verdicts),
        controls=(control,),
    )


def test_all_is_well(monkeypatch, capsys):
    monkeypatch.setattr(verify_theory, "CLAIMS", (claim_with([PROVED], VIOLATED),))
    assert verify_theory.main(quick=True) == 0
    shown = capsys.readouterr()
    assert "ok  P a claim" in shown.out
    assert "every claim holds and every control fails" in shown.out
    assert "claims and controls: 100%" in shown.err


@pytest.mark.parametrize(
    ("verdicts", "control", "complaint"),
    [
        ([PROVED, VIOLATED], VIOLATED, "1 violated"),
        ([PROVED, UNDECIDED], VIOLATED, "1 undecided"),
        ([PROVED], PROVED, "control does not fail: the control"),
        ([PROVED], UNDECIDED, "control does not fail: the control"),
        ([], VIOLATED, "BAD P a claim"),
    ],
)
def test_what_is_not_as_it_must_be_ends_with_status_1(
    monkeypatch, capsys, verdicts, control, complaint
):
    good = claim_with([PROVED], VIOLATED)
    monkeypatch.setattr(verify_theory, "CLAIMS", (claim_with(verdicts, control), good))
    assert verify_theory.main(quick=True) == 1
    shown = capsys.readouterr().out
    assert complaint in shown
    assert "NOT as it must be" in shown


def test_table_fits_into_a_hundred_columns():
    findings = [
        finding
        for claim in CLAIMS
        for finding in (
            Finding(claim, None, measured(*[PROVED] * 99_999)(Effort.FULL), 999.0),
            *(Finding(claim, c, measured(VIOLATED)(Effort.FULL), 1.0) for c in claim.controls),
        )
    ]
    lines = text_table(findings).splitlines()
    assert max(map(len, lines[: len(CLAIMS) + 1])) <= 100
    assert {line[4] for line in lines[1 : len(CLAIMS) + 1]} == {"P", "C", "O"}


@pytest.mark.parametrize("options", [{"quick": True}, {"full": True}, {"report": Path("x")}])
def test_one_model_and_the_claims_exclude_each_other(options, capsys):
    assert verify_theory.main(case=Path("model.json"), **options) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "--case measures no claims" in shown.err


def test_too_many_tuples_are_an_error(tmp_path, capsys):
    points = 12
    model = {
        "k": 20,
        "psi": {"type": "infonce"},
        "eta": {"type": "exp", "beta": 1},
        "prior": ["1/2", "1/2"],
        "class_pmf": [["1/12"] * points] * 2,
        "features": [[f"1/{i + 1}"] for i in range(points)],
    }
    file = tmp_path / "large.json"
    file.write_text(json.dumps(model))
    assert verify_theory.main(case=file) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "large: k = 20 negatives among 12 different similarities" in shown.err
