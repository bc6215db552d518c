"""Every claim holds and every control fails; what a measurement may say, and how it is counted."""

import importlib
import math
import pkgutil
from collections import Counter

import pytest
from flint import arb, ctx
from references.unset_formulas import unset_formulas

from scripts.theory_report.wording import typeset
from theory import claims
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, Verdict, in_balls
from theory.claims import CLAIMS

SLOW = {
    "optima of free features",
    "training reaches neural collapse",
    "where HUCL training ends",
    "HUCL training in one more dimension",
    "SCL ends where the programme says",
    "a little hardness merges minority classes",
    "hard negatives lead a network out of collapse",
    "a network merges classes far beyond the threshold",
}


def _marked(claim: Claim):
    marks = [pytest.mark.slow] if claim.name in SLOW else []
    return pytest.param(claim, marks=marks, id=claim.name)


def shown_details(found):
    """The words of a measurement as the report sets them; names in Python lose their dashes."""
    names = (name if "$" in name else name.replace("_", " ") for name in found.details)
    words = (value for value in found.details.values() if isinstance(value, str))
    return "; ".join(map(typeset, (*names, *words)))


@pytest.mark.parametrize("claim", [_marked(claim) for claim in CLAIMS])
def test_claim_holds_and_its_controls_fail(claim: Claim):
    found = claim.measure(Effort.QUICK)
    assert claim.holds(found), found
    assert found.models > 0
    assert not unset_formulas(shown_details(found))
    assert claim.controls, "a claim without a control"
    for control in claim.controls:
        measured = control.measure(Effort.QUICK)
        assert control.fails(measured), (control.name, measured)
        assert not unset_formulas(shown_details(measured))
        assert not claim.holds(measured)
        assert measured.verdicts[Verdict.UNDECIDED] == 0


@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_claim_holds_at_default_effort(claim: Claim):
    assert claim.holds(claim.measure(Effort.DEFAULT))


def test_names_of_claims_and_of_the_controls_of_one_are_unique():
    names = [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names)
    for claim in CLAIMS:
        assert len({control.name for control in claim.controls}) == len(claim.controls)


def test_every_module_of_claims_is_in_the_tuple():
    names = [module.name for module in pkgutil.iter_modules(claims.__path__)]
    modules = [importlib.import_module(f"theory.claims.{name}") for name in names]
    assert {claim.name for module in modules for claim in module.CLAIMS} == {
        claim.name for claim in CLAIMS
    }


def test_tally_knows_six_verdicts():
    tally = Tally()
    assert tally.at_least(arb(2), arb(1)) is Verdict.PROVED
    assert tally.at_least(arb(1), arb(2)) is Verdict.VIOLATED
    assert tally.at_least(arb(1, 0.5), arb(1)) is Verdict.UNDECIDED
    assert tally.above(arb(1), arb(1)) is Verdict.VIOLATED
    assert tally.equal(arb(1), arb(1)) is Verdict.EQUAL
    assert tally.equal(arb(1), arb(2)) is Verdict.VIOLATED
    assert tally.observe(True) is Verdict.AGREES
    assert tally.observe(False) is Verdict.DISAGREES
    assert tally.verdicts.total() == 8
    assert set(tally.verdicts) == set(Verdict)


def test_floating_point_that_agrees_is_not_equal():
    tally = Tally()
    assert tally.equal(arb(0.1 + 0.2), arb("0.3")) is Verdict.VIOLATED
    assert tally.observe(abs(0.1 + 0.2 - 0.3) < 1e-15) is Verdict.AGREES
    assert tally.verdicts[Verdict.EQUAL] == 0


def test_slack_is_the_lower_end_of_the_ball():
    tally = Tally()
    tally.at_least(arb(3, 0.25), arb(1))
    assert tally.least_slack is not None
    assert 1.7499 < tally.least_slack <= 1.75
    with ctx.workprec(200):
        tenth = arb(1) / 10
        tally.at_least(tenth, arb(0))
        assert tally.least_slack == math.nextafter(0.1, 0)  # the float 0.1 is above one tenth
        assert arb(tally.least_slack) < tenth < arb(0.1)
    tally.at_least(arb(1), arb(1))
    assert tally.least_slack == math.nextafter(0.1, 0)
    tally.at_least(arb("nan"), arb(0))
    assert tally.least_slack == -math.inf


def test_precision_is_that_of_the_measurement():
    measure = in_balls(bits=77)(lambda effort: Tally().measurement(bits=ctx.prec))
    before = ctx.prec
    assert measure(Effort.QUICK).details == {"bits": 77}
    assert ctx.prec == before


def claim_with(evidence: Evidence) -> Claim:
    nothing = Measurement(Counter(), models=0)
    return Claim(
        name="a claim",
        statement="",
        reference="",
        hypotheses="",
        evidence=evidence,
        measure=lambda effort: nothing,
        controls=(),
    )


@pytest.mark.parametrize("evidence", Evidence)
@pytest.mark.parametrize(
    ("verdicts", "observed", "rigorous"),
    [
        ([], False, False),
        ([Verdict.AGREES], True, False),
        ([Verdict.PROVED], True, True),
        ([Verdict.EQUAL], True, True),
        ([Verdict.PROVED, Verdict.AGREES], True, True),
        ([Verdict.PROVED, Verdict.VIOLATED], False, False),
        ([Verdict.PROVED, Verdict.UNDECIDED], False, False),
        ([Verdict.PROVED, Verdict.AGREES, Verdict.DISAGREES], False, False),
    ],
)
def test_proved_and_certified_claims_do_not_rest_on_observation(
    evidence, verdicts, observed, rigorous
):
    found = Measurement(Counter(verdicts), models=1)
    expected = observed if evidence is Evidence.OBSERVED else rigorous
    assert claim_with(evidence).holds(found) == expected


@pytest.mark.parametrize("verdict", Verdict)
def test_controls_fail_by_a_violation_or_a_disagreement(verdict):
    control = Control("a control", "a hypothesis", claim_with(Evidence.PROVED).measure)
    against = verdict in (Verdict.VIOLATED, Verdict.DISAGREES)
    assert control.fails(Measurement(Counter([verdict]), models=1)) == against
