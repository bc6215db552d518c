"""The report of `scripts.verify_theory`: one HTML file that needs nothing else, and a JSON file."""

import base64
import html
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hcl_jax.system.atomic_files import atomic_write, json_bytes
from scripts.theory_report.findings import Finding, grouped
from theory.checking import Effort, Evidence

Table = tuple[Sequence[str], Sequence[Sequence[object]]]

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
td, th { border: 1px solid #ccc; padding: 3px 7px; text-align: left; vertical-align: top }
th { background: #f0f0f0 }
.ok { color: #060 } .bad { color: #b00; font-weight: bold }
.small { color: #666; font-size: 12px }
"""

MEANING = (
    (
        Evidence.PROVED,
        "There is a proof, in docs/theory.md or docs/hucl_optimum.md. The models below are a check "
        "on the proof, on its hypotheses and on the code; they prove nothing themselves.",
    ),
    (
        Evidence.CERTIFIED,
        "For the parameters listed, and only for those, ball arithmetic with rigorous error bounds "
        "decides the statement. It says nothing of other parameters.",
    ),
    (
        Evidence.OBSERVED,
        "Numbers agree with the statement as far as they were computed; there is no proof here.",
    ),
)

WORDS = (
    ("f, t_i, s, v_i", "f is the representation; t_i = f(x).f(x_i^-), s = f(x).f(x+), v = t - s"),
    ("C, k, d", "the numbers of classes, of negatives for each anchor, and of dimensions"),
    ("mu_c", "the mean of the representation in class c"),
    ("SCL, UCL", "E psi_k(v_1, .., v_k); negatives from other classes (SCL), or from all (UCL)"),
    ("HSCL, HUCL", "the same with the negatives hardened: reweighted by eta(t_1, .., t_k)"),
    ("beta", "the hardness of eta = exp(beta sum t_i); beta = 0 is SCL or UCL"),
    ("InfoNCE", "psi_k = log(alpha + (q/k) sum exp(v_i / tau)), tau the temperature"),
    ("NC", "neural collapse: f(x) is its class mean, a unit vector, with mutual products -1/(C-1)"),
    ("delta", "a gap: the similarity within a class minus that between classes; C/(C-1) at NC"),
    ("ETF", "simplex equiangular tight frame, the class means at NC up to scale"),
    ("L_k(delta), the HUCL profile", "HUCL of a simplex ETF of gap delta; its minimum, the floor"),
    ("beta_c", "the threshold: the hardness up to which NC minimises HUCL in the unit ball"),
    ("L_oo, k = oo", "the limit of infinitely many negatives"),
)


class Section(NamedTuple):
    """A part of the report after the claims.

    Attributes:
        title: its heading.
        text: one paragraph.
        figure: makes a PNG, or None.
        table: makes a header and rows, or None.
        slow: whether a quick report leaves the figure and the table out.
    """

    title: str
    text: str
    figure: Callable[[Effort], bytes] | None = None
    table: Callable[[Effort], Table] | None = None
    slow: bool = False


def write_report(
    folder: Path, findings: Sequence[Finding], sections: Iterable[Section], *, effort: Effort
) -> None:
    """Writes `report.html` and `results.json`.

    Args:
        folder: where; made if it does not exist.
        findings: what was found.
        sections: further parts, with figures.
        effort: for the sections and the heading.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = {"effort": str(effort), "findings": [finding.to_json() for finding in findings]}
    body = [_summary(findings, effort), _claims(findings), _counterexamples(findings)]
    body += [_section(section, effort) for section in sections]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>The theory, checked</title><style>{STYLE}</style></head><body>"
        f"{''.join(body)}</body></html>"
    )
    atomic_write(
        {folder / "report.html": page.encode(), folder / "results.json": json_bytes(results)}
    )


def _summary(findings: Sequence[Finding], effort: Effort) -> str:
    claims, controls = _count(findings, control=False), _count(findings, control=True)
    comparisons = sum(sum(f.measurement.verdicts.values()) for f in findings if not f.control)
    seconds = sum(finding.seconds for finding in findings)
    meaning = "".join(f"<li><b>{kind}</b>: {text}</li>" for kind, text in MEANING)
    words = "".join(f"<li><b>{_text(word)}</b>: {_text(text)}</li>" for word, text in WORDS)
    return (
        "<h1>The theory of hard-negative contrastive learning, checked</h1>"
        f"<p>{claims[0]} of {claims[1]} claims hold and {controls[0]} of {controls[1]} controls "
        f"fail as they must; {comparisons} comparisons, effort <i>{effort}</i>, "
        f"{seconds:.0f} s.</p>"
        "<p>A comparison <i>left &ge; right</i> of two numbers is <i>proved</i> or <i>violated</i> "
        "if their error balls are disjoint, <i>equal</i> if they certainly differ by less than "
        "1e-50, and otherwise <i>undecided</i>, which counts as a failure. Where the evidence is "
        "<i>observed</i>, floating point is involved and <i>equal</i> means equal to the tolerance "
        "of the claim (1e-12 relative for losses, 1e-9 for minimisation, and for training a "
        "relative distance to neural collapse of 0.01 or a loss within 2 % of the way); a "
        "statistical test that does not reject <i>agrees</i>. The slack is the least left minus "
        "right among comparisons that are not equal. A control drops one hypothesis and must be "
        "violated; where a strict inequality or an equality is asked, so are equal or different "
        "numbers.</p>"
        f"<ul>{meaning}</ul>"
        f"<h2>Words</h2><ul>{words}</ul>"
    )


def _count(findings: Sequence[Finding], *, control: bool) -> tuple[int, int]:
    chosen = [f for f in findings if (f.control is not None) == control]
    return sum(f.as_it_must for f in chosen), len(chosen)


def _claims(findings: Sequence[Finding]) -> str:
    header = (
        "",
        "claim",
        "hypotheses",
        "evidence",
        "models",
        "verdicts",
        "least slack",
        "seed",
        "s",
    )
    rows = []
    for main, controls in grouped(findings):
        claim, found = main.claim, main.measurement
        what = f"<b>{_text(claim.name)}</b><br>{_text(claim.statement)}"
        where = f'<br><span class="small">{_text(claim.reference)}</span>'
        good = main.as_it_must and all(control.as_it_must for control in controls)
        row = (_mark(good), what + where, _text(claim.hypotheses), _text(claim.evidence))
        numbers = (found.models, _verdicts(main), _number(found.least_slack))
        seed = "none" if found.seed is None else found.seed
        rows.append((*row, *numbers, seed, f"{main.seconds:.1f}"))
    return "<h2>Claims</h2>" + _table((header, rows))


def _counterexamples(findings: Sequence[Finding]) -> str:
    header = ("", "claim", "control", "hypothesis dropped", "verdicts", "worst slack", "numbers")
    rows = [
        (
            _mark(finding.as_it_must),
            _text(finding.claim.name),
            _text(finding.control.name),
            _text(finding.control.dropped),
            _verdicts(finding),
            _number(finding.measurement.least_slack),
            _details(finding),
        )
        for finding in findings
        if finding.control is not None
    ]
    intro = "<p>Each line drops one hypothesis of a claim; a violation is what must be found.</p>"
    return "<h2>Controls and counterexamples</h2>" + intro + _table((header, rows))


def _section(section: Section, effort: Effort) -> str:
    parts = [f"<h2>{_text(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{_text(section.text)}</p>")
    if section.slow and effort is Effort.QUICK:
        return "".join((*parts, "<p><i>Left out of a quick report.</i></p>"))
    if section.figure is not None:
        data = base64.b64encode(section.figure(effort)).decode("ascii")
        parts.append(f'<img alt="{_text(section.title)}" src="data:image/png;base64,{data}">')
    if section.table is not None:
        header, rows = section.table(effort)
        parts.append(_table((header, [[_text(_number(x)) for x in row] for row in rows])))
    return "".join(parts)


def _table(table: Table) -> str:
    header, rows = table
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _mark(good: bool) -> str:
    return '<span class="ok">ok</span>' if good else '<span class="bad">BAD</span>'


def _verdicts(finding: Finding) -> str:
    return "<br>".join(f"{n} {verdict}" for verdict, n in finding.verdict_counts().items())


def _details(finding: Finding) -> str:
    return "<br>".join(
        f"{_text(key)} = {_text(_number(value))}"
        for key, value in finding.measurement.details.items()
    )


def _number(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _text(value: object) -> str:
    return html.escape(str(value))
