"""`scripts.verify_theory` as a command: what it prints, where, and its exit status."""

import dataclasses
import json
from collections import Counter
from types import SimpleNamespace

import pytest

from scripts import verify_theory
from scripts.theory_report import sections
from scripts.theory_report.documents import UnknownPlaceError
from scripts.theory_report.findings import Finding, text_table
from scripts.theory_report.wording import plain
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict
from theory.claims import CLAIMS
from theory.open_questions import OPEN

PROVED, VIOLATED, UNDECIDED = Verdict.PROVED, Verdict.VIOLATED, Verdict.UNDECIDED
EQUAL, AGREES, DISAGREES = Verdict.EQUAL, Verdict.AGREES, Verdict.DISAGREES


def measured(*verdicts):
    return lambda effort: Measurement(Counter(verdicts), 12_345, -1.2345e-30)


def claim_with(verdicts, control):
    control = Control("the control", "a hypothesis", measured(control))
    return Claim(
        name="a claim",
        statement="",
        reference="docs/theory.md, Theorem 1",
        hypotheses="",
        evidence=Evidence.PROVED,
        measure=measured(*verdicts),
        controls=(control,),
    )


def file_of(*claims):
    return SimpleNamespace(__name__="claims", CLAIMS=claims)


def test_all_is_well(monkeypatch, capsys):
    monkeypatch.setattr(verify_theory, "MODULES", (file_of(claim_with([PROVED], VIOLATED)),))
    assert verify_theory.main(["--quick"]) == 0
    shown = capsys.readouterr()
    assert "ok  P a claim" in shown.out
    assert "every claim holds and every control fails" in shown.out
    assert "claims and controls: 2 of 2, 00:0" in shown.err


@pytest.mark.parametrize(
    ("verdicts", "control", "complaint"),
    [
        ([PROVED, VIOLATED], VIOLATED, "1 violated"),
        ([PROVED, UNDECIDED], VIOLATED, "1 undecided"),
        ([PROVED], PROVED, "control does not fail: the control"),
        ([PROVED], UNDECIDED, "control does not fail: the control"),
        ([PROVED, DISAGREES], VIOLATED, "1 disagrees"),
        ([AGREES], VIOLATED, "nothing was found that bears the claim out"),
        ([], VIOLATED, "BAD P a claim"),
    ],
)
def test_what_does_not_behave_as_required_ends_with_status_1(
    monkeypatch, capsys, verdicts, control, complaint
):
    good = claim_with([PROVED], VIOLATED)
    both = file_of(claim_with(verdicts, control), good)
    monkeypatch.setattr(verify_theory, "MODULES", (both,))
    assert verify_theory.main(["--quick"]) == 1
    shown = capsys.readouterr().out
    assert complaint in shown
    assert "FAILED: a claim or a control did not behave as required" in shown


def columns_of(claim):
    header, row = text_table([Finding(claim, None, claim.measure(Effort.QUICK), 1.0)]).split("\n")[
        :2
    ]
    names = ("proved", "equal", "agree", "slack")
    ends = [header.index(name) + len(name) for name in names]
    return {name: row[:end].split()[-1] for name, end in zip(names, ends, strict=True)}


def test_what_fails_is_said_in_words(monkeypatch, capsys):
    bad = dataclasses.replace(claim_with([VIOLATED], VIOLATED), statement=r"$\lvert x \rvert < 1$")
    monkeypatch.setattr(verify_theory, "MODULES", (file_of(bad),))
    assert verify_theory.main(["--quick"]) == 1
    assert "      |x| < 1\n" in capsys.readouterr().out


def test_what_is_observed_has_a_column_of_its_own():
    claim = claim_with([PROVED] * 3 + [EQUAL] * 5 + [AGREES] * 7, VIOLATED)
    assert columns_of(claim) == {"proved": "3", "equal": "5", "agree": "7", "slack": "-1.2e-30"}


def test_a_claim_in_the_tuple_arrives_in_the_command_and_in_the_report(
    monkeypatch, tmp_path, capsys
):
    claim = dataclasses.replace(
        claim_with([PROVED, AGREES], DISAGREES), statement=r"$\beta_c \le 1$"
    )
    monkeypatch.setattr(verify_theory, "MODULES", (file_of(claim),))
    monkeypatch.setattr(sections, "SECTIONS", ())
    assert verify_theory.main(["--quick", "--report", str(tmp_path)]) == 0
    assert "ok  P a claim" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "<td>1 proved</td><td>1 agrees</td>" in page
    assert "<td>the control</td><td>a hypothesis</td><td>1 disagrees</td>" in page
    main, control = json.loads((tmp_path / "results.json").read_text())["findings"]
    assert main["claim"] == control["claim"] == "a claim"
    assert main["verdicts"] == {"proved": 1, "agrees": 1}
    assert main["statement"] == "beta_c <= 1"
    assert "<msub><mi>β</mi><mi>c</mi></msub>" in page
    assert main["as_required"]
    assert control["as_required"]


def test_a_claim_without_its_place_is_known_before_anything_is_measured(monkeypatch, tmp_path):
    lost = dataclasses.replace(
        claim_with([PROVED], VIOLATED), reference="docs/theory.md, Theorem 9"
    )
    monkeypatch.setattr(verify_theory, "MODULES", (file_of(lost),))
    monkeypatch.setattr(verify_theory, "run", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(UnknownPlaceError, match="Theorem 9"):
        verify_theory.main(["--quick", "--report", str(tmp_path)])


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
    assert max(map(len, lines)) <= 100
    written = " ".join(" ".join(lines).split())
    assert all(f"open: {plain(one.question)}" in written for one in OPEN)
    assert {line[4] for line in lines[1 : len(CLAIMS) + 1]} == {"P", "C", "O"}


def test_a_file_that_is_no_text_is_named(tmp_path, capsys):
    path = tmp_path / "model.npz"
    path.write_bytes(b"PK\x03\xff")
    assert verify_theory.main(["--case", str(path)]) == 2
    assert capsys.readouterr().err == f"error: {path}: not JSON: it is no text in UTF-8\n"


def test_a_report_in_a_file_is_refused_before_anything_is_measured(tmp_path, capsys):
    path = tmp_path / "file"
    path.touch()
    assert verify_theory.main(["--report", str(path)]) == 2
    assert capsys.readouterr().err == f"error: --report: {path}: File exists\n"


@pytest.mark.parametrize("options", [["--quick"], ["--full"], ["--report", "x"]])
def test_one_model_and_the_claims_exclude_each_other(options, capsys):
    assert verify_theory.main(["--case", "model.json", *options]) == 2
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
    assert verify_theory.main(["--case", str(file)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "large: k = 20 negatives among 12 different similarities" in shown.err
