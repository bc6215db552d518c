"""Every claim about the HUCL optimum holds, and every control of it fails, at quick effort."""

import pytest

from theory.claim import Claim, Control, Effort
from theory.optimum_claims import CLAIMS, FIGURES, TABLES
from theory.verdicts import Verdict

SLOW = {"optima of free features", "training reaches neural collapse", "where HUCL training ends"}
CONTROLS = [(claim, control) for claim in CLAIMS for control in claim.controls]


def _marked(claim: Claim, *values: object):
    marks = [pytest.mark.slow] if claim.name in SLOW else []
    return pytest.param(*values, marks=marks, id=claim.name)


@pytest.mark.parametrize("claim", [_marked(claim, claim) for claim in CLAIMS])
def test_claim_holds(claim: Claim):
    assert claim.holds(claim.measure(Effort.QUICK))


@pytest.mark.parametrize(
    ("claim", "control"), [_marked(claim, claim, control) for claim, control in CONTROLS]
)
def test_control_fails(claim: Claim, control: Control):
    found = control.measure(Effort.QUICK)
    assert control.fails_as_it_must(found)
    assert not claim.holds(found)
    assert found.verdicts[Verdict.UNDECIDED] == 0


def test_claim_names_are_unique_and_every_claim_has_a_control():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    assert all(claim.controls for claim in CLAIMS)


@pytest.mark.parametrize("table", TABLES[:2], ids=lambda table: table[0])
def test_rows_fit_their_header(table):
    *_, header, rows = table
    assert {len(row) for row in rows(Effort.QUICK)} == {len(header)}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES[2:], ids=lambda table: table[0])
def test_rows_of_slow_tables_fit_their_header(table):
    *_, header, rows = table
    assert {len(row) for row in rows(Effort.QUICK)} == {len(header)}


@pytest.mark.slow
@pytest.mark.parametrize(("title", "text", "slow", "draw"), FIGURES)
def test_figures_show_something(title, text, slow, draw):
    figure = draw(Effort.QUICK)
    assert title
    assert text
    assert all(axes.lines for axes in figure.axes)


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_claim_holds_at_default_effort(claim: Claim):
    assert claim.holds(claim.measure(Effort.DEFAULT))
