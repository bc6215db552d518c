"""Words with formulas: every one of the theory is set as MathML and can be read on a terminal."""

import re
from collections import Counter

import pytest
from references.unset_formulas import unset_formulas

from scripts.theory_report.findings import Finding
from scripts.theory_report.page import Report
from scripts.theory_report.sections import PAGES, SECTIONS
from scripts.theory_report.wording import plain, typeset
from theory.checking import Effort, Measurement, Verdict
from theory.claims import CLAIMS
from theory.open_questions import OPEN

CLAIMED = {
    claim.name: (
        *(claim.statement, claim.hypotheses),
        *(text for control in claim.controls for text in (control.name, control.dropped)),
    )
    for claim in CLAIMS
}
BESIDE = {
    "open questions": [text for one in OPEN for text in (one.question, one.known)],
    "sections": [text for one in SECTIONS for text in (one.title, one.text)],
}


@pytest.mark.parametrize(
    "texts", [pytest.param(texts, id=name) for name, texts in (CLAIMED | BESIDE).items()]
)
def test_every_formula_of_the_theory_is_set(texts):
    for text in texts:
        assert not unset_formulas(typeset(text))
        assert not re.search(r"[\\$]", plain(text))


def test_names_of_claims_have_no_formulas():
    assert not [claim.name for claim in CLAIMS if unset_formulas(claim.name)]


def test_no_formula_of_a_whole_report_is_left_as_text(tmp_path):
    """The pages with all claims, of which nothing was measured, and without figures and tables."""
    nothing = Measurement(Counter([Verdict.PROVED]), 1)
    findings = [
        Finding(claim, control, nothing, 0.0)
        for claim in CLAIMS
        for control in (None, *claim.controls)
    ]
    Report(PAGES, ()).write(tmp_path, findings, effort=Effort.QUICK, origin={})
    page = (tmp_path / "report.html").read_text()
    assert not unset_formulas(page)
    assert not re.search(r"[\\$]", (tmp_path / "results.json").read_text().replace(r"\"", ""))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"$\beta_c \le \delta^\ast$", "beta_c <= delta^*"),
        (r"$\lvert \mu_y \rvert^2$, $k = \infty$", "|mu_y|^2, k = oo"),
        (r"$k$ in $\lbrace 1, 2 \rbrace$", "k in {1, 2}"),
        (r"$e^{-\delta_0/\tau} < 10^{-9}$", "e^{-delta_0/tau} < 10^-9"),
        (r"$\operatorname{Var}_H(x) \to \sqrt{14}/10$", "Var_H(x) -> sqrt(14)/10"),
        (r"$\mathrm{UCL(NC)} \ne \psi_k(0)$", "UCL(NC) != psi_k(0)"),
        ("no formula", "no formula"),
    ],
)
def test_formulas_on_a_terminal(text, shown):
    assert plain(text) == shown


@pytest.mark.parametrize("convert", [plain, typeset])
@pytest.mark.parametrize(
    ("text", "named"),
    [("a $ b", "'a $ b'"), ("$x$ and $y", "'$x$ and $y'"), (r"$\nosuch$", r"\nosuch in ")],
)
def test_what_is_no_formula_is_named(convert, text, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        convert(text)


def test_punctuation_stays_with_its_formula():
    formula = '<span class="math inline"><math><mrow><mi>x</mi></mrow></math></span>'
    with_sign = formula.replace("<math>", '<span class="together"><math>').replace(
        "</math>", "</math>{}</span>"
    )
    assert (
        typeset("for $x$, and $x$.") == f"for {with_sign.format(',')} and {with_sign.format('.')}"
    )


def test_what_is_not_a_formula_is_text():
    assert typeset("a <b> & `c_d`") == "a &lt;b&gt; &amp; <code>c_d</code>"
