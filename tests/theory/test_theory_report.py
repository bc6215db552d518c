"""The report on the theory: pages with formulas and proofs, places, and what a claim adds."""

import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from references.unset_formulas import unset_formulas

from scripts.theory_report import documents, drawing, sections
from scripts.theory_report.documents import UnknownPlaceError, find, read_document
from scripts.theory_report.drawing import draw
from scripts.theory_report.findings import Finding
from scripts.theory_report.formulas import mathml
from scripts.theory_report.page import Report
from scripts.theory_report.section import Section, Table, blank_figure
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict
from theory.claims import CLAIMS
from theory.open_questions import OPEN

PAGE = """# A page

An introduction with $x_1 < 2$, see [below](#1-a-statement), [a page](b.md), ![picture](p.svg).

## 1. A statement

> **Theorem 7.** For *all* <b>x</b> it holds that $f'(x) \\ge -1$.

*Proof.* First.

Then $$\\sum_c \\mu_c = 0.$$ ∎

After the proof, with a [link](https://example.org).

| a | b |
|---|---|
| 1 | $\\beta$ |

## The rest (proved): more

Nothing.
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(PAGE)
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    return read_document("docs/a.md", beside=["docs/a.md"])


def test_parts_have_anchors_and_labels(page):
    found = [(part.anchor, part.level, part.labels) for part in page.parts]
    assert found == [
        ("a", 1, ("a page",)),
        ("a-1-a-statement", 2, ("a statement", "theorem 7", "section 1")),
        ("a-the-rest-proved-more", 2, ("the rest",)),
    ]


def test_proofs_are_folded_and_what_follows_is_not(page):
    body = page.parts[1].body
    proof = body[body.index("<details") : body.index("</details>")]
    assert "First." in proof
    assert "∎" in proof
    assert "After the proof" not in proof
    assert body.count("<details") == body.count("</details>") == 1


def test_text_is_text_and_links_lead_into_the_report(page):
    whole = "".join(part.body for part in page.parts)
    assert "&lt;b&gt;x&lt;/b&gt;" in whole
    assert '<a href="#a-1-a-statement">below</a>' in whole
    assert '<a href="https://example.org">' in whole
    assert "a page" in whole
    assert "b.md" not in whole
    assert "p.svg" not in whole
    assert '<div class="wide"><table>' in whole


@pytest.mark.parametrize(
    ("reference", "anchor"),
    [
        ("docs/a.md, Theorem 7 (iv)", "a-1-a-statement"),
        ("docs/a.md, section 1", "a-1-a-statement"),
        ("docs/a.md, the rest of it", "a-the-rest-proved-more"),
    ],
)
def test_places(page, reference, anchor):
    assert find([page], reference).anchor == anchor


@pytest.mark.parametrize(
    "reference", ["", "docs/a.md", "docs/b.md, Theorem 7", "docs/a.md, Theorem 77", "section 1"]
)
def test_places_that_are_not_there(page, reference):
    with pytest.raises(UnknownPlaceError, match=re.escape(repr(reference))):
        find([page], reference)


@pytest.mark.parametrize(
    ("formula", "shown"),
    [
        (r"a < b", [r'<mi>a</mi><mo form="infix">&lt;</mo>', "<mi>b</mi>"]),
        (r"(-\delta, a - b)", ['<mo form="prefix">−</mo><mi>δ</mi>', "<mi>b</mi>"]),  # noqa: RUF001
        (r"L_k'", ['<msub><mi>L</mi><mi>k</mi></msub><mo lspace="0" rspace="0">′</mo>']),  # noqa: RUF001
        (r"\lvert x \rvert", ['<mo stretchy="false" lspace="0" rspace="0">|</mo><mi>x</mi>']),
        (r"\lvert z \rvert - a", ['<mo form="infix">−</mo>']),  # noqa: RUF001
        (r"\frac{C-1}{C}", ["<mfrac>"]),
    ],
)
def test_formulas(formula, shown):
    found = mathml(formula)
    for part in found.split("<wbr>"):
        ElementTree.fromstring(part)
    assert all(one in found for one in shown)
    assert mathml(formula, display=True).count("<math") == 1


@pytest.mark.parametrize("formula", [r"\frac{a}{b", "a_b_c", r"\unknown x", "a & b", "}", "^"])
def test_what_is_no_formula_is_named(formula):
    with pytest.raises(ValueError, match=re.escape(repr(formula))):
        mathml(formula)


def test_every_claim_section_and_open_question_has_its_place_in_the_pages():
    report = Report(sections.PAGES, sections.SECTIONS)
    report.check([claim.reference for claim in CLAIMS])
    report.check([question.reference for question in OPEN])
    whole = "".join(part.body for document in report.documents for part in document.parts)
    assert "$" not in whole.replace("$OUT", "")
    links = set(re.findall(r'href="#([^"]*)"', whole))
    assert links <= {part.anchor for document in report.documents for part in document.parts}
    proofs = sum(part.body.count("<details") for d in report.documents for part in d.parts)
    assert proofs >= 15
    assert whole.count("∎") >= proofs


class Shown(HTMLParser):
    """What a page fetches, its ids, and whether it has scripts."""

    def __init__(self):
        super().__init__()
        self.fetched, self.ids, self.tags = [], Counter(), Counter()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags[tag] += 1
        self.ids.update([attributes["id"]] if "id" in attributes else [])
        fetches = tag in ("img", "script", "link", "iframe", "object", "image", "use")
        link = attributes.get("src") or (attributes.get("xlink:href") or attributes.get("href"))
        self.fetched += [link] if fetches and link and not link.startswith("#") else []


def line(effort):
    figure, [axes] = blank_figure("x", "y")
    axes.plot([0, 1], [0, 1])
    return figure


def test_the_page_needs_nothing_else(tmp_path):
    place = "docs/theory.md, Theorem 2"
    control = Control("x & y", "<i>", lambda effort: Measurement(Counter(), 1))
    claim = Claim(
        name="1 < 2",
        statement="a <b> c",
        reference=place,
        hypotheses="none & all",
        evidence=Evidence.CERTIFIED,
        measure=lambda effort: Measurement(Counter([Verdict.PROVED]), 1, 0.25, 7, {"<k>": 1 / 3}),
        controls=(control,),
    )
    parts = (
        Section("Drawn", "A < B.", place, figure=line),
        Section("Again", "A < B.", place, figure=line),
        Section("Listed", "", place, table=lambda effort: Table(["a"], [["<td>"]])),
        Section("Slow", "", place, table=lambda effort: Table([], []), slow=True),
    )
    findings = [
        Finding(claim, None, claim.measure(Effort.QUICK), 1.0),
        Finding(claim, control, Measurement(Counter([Verdict.VIOLATED]), 1, -1.0), 1.0),
    ]
    report = Report(sections.PAGES, parts)
    origin = {"date": "2026", "commit": None, "versions": {"jax": "1"}, "settings": {}}
    report.write(tmp_path / "new", findings, effort=Effort.QUICK, origin=origin)
    page = (tmp_path / "new" / "report.html").read_text()
    found = Shown()
    found.feed(page)
    assert found.fetched == []
    assert found.tags["script"] == 0
    assert found.tags["svg"] == 2
    assert found.tags["math"] > 500
    assert max(found.ids.values()) == 1
    assert {a.removeprefix("#") for a in re.findall(r'href="(#[^"]*)"', page)} <= set(found.ids)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "&lt;td&gt;" in page
    assert "<b>1 &lt; 2</b>" in page
    assert "0.333333" in page
    assert "1 violated" in page
    assert page.count("Left out of a quick report") == 1
    assert 'aria-label="Drawn. A &lt; B."' in page


def test_sections_of_a_file_are_drawn_in_one_process(monkeypatch):
    def elsewhere(effort):
        return Table(["b"], [])

    elsewhere.__module__ = "elsewhere"
    here = [Section(str(n), "", "", table=lambda effort: Table(["a"], [])) for n in range(3)]
    parts = (*here[:2], Section("far", "", "", table=elsewhere), here[2])
    jobs, ended = [], []

    def in_one(groups, do, sent, **options):
        jobs.extend(groups)
        return [do(group) for group in groups]

    monkeypatch.setattr(drawing, "spread", in_one)
    drawn = draw(parts, Effort.QUICK, processes=2, progress=ended.append)
    assert jobs == [[0, 1], [2], [3]]
    assert [str(one["title"]) for one in drawn] == ["0", "1", "far", "2"]
    assert sum(ended) == 4


@pytest.mark.slow
def test_the_sections_of_the_report_are_drawn_in_several_processes():
    slow = [number for number, one in enumerate(sections.SECTIONS) if one.slow]
    ended = []
    drawn = draw(sections.SECTIONS, Effort.QUICK, processes=2, progress=ended.append)
    assert sum(ended) == len(drawn) == len(sections.SECTIONS)
    assert [n for n, one in enumerate(drawn) if one["left_out"]] == slow
    for one, section in zip(drawn, sections.SECTIONS, strict=True):
        if one["left_out"]:
            continue
        if section.table is None:
            assert "clip-path=" in one["figure"], "nothing is drawn inside the axes"
            continue
        header, rows = one["table"]
        assert rows
        assert {len(row) for row in rows} == {len(header)}
        assert not unset_formulas("; ".join(cell for row in (header, *rows) for cell in row))
