"""The report of `scripts.verify_theory`: one HTML file that needs nothing else, and a JSON file."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.json_files import json_bytes
from scripts.theory_report.findings import Finding, grouped
from scripts.theory_report.section import Section, Table
from theory.checking import Effort, Evidence, Verdict
from theory.open_questions import OPEN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_BALLS = (Verdict.PROVED, Verdict.EQUAL, Verdict.VIOLATED, Verdict.UNDECIDED)
OBSERVED = (Verdict.AGREES, Verdict.DISAGREES)
"""The verdicts of the two columns."""

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
img { max-width: 100% }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px }
td, th { border: 1px solid #ccc; padding: 3px 7px; text-align: left; vertical-align: top }
th { background: #f0f0f0 }
.ok { color: #060 } .bad { color: #b00; font-weight: bold }
.small { color: #666; font-size: 12px }
"""

MEANING = (
    (
        Evidence.PROVED,
        "There is a proof, in docs/theory.md, docs/hucl_optimum.md or docs/escape.md. The models "
        "below are a check on the proof, on its hypotheses and on the code; they prove nothing "
        "themselves.",
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


def write_report(
    folder: Path,
    findings: Sequence[Finding],
    sections: Iterable[Section],
    *,
    effort: Effort,
    origin: Mapping[str, Any],
) -> None:
    """Writes `report.html` and `results.json` to a folder, which is made if it does not exist.

    Both say where the results come from: `origin`, such as the commit and the versions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = {
        "effort": str(effort),
        "origin": dict(origin),
        "findings": [finding.to_json() for finding in findings],
        "open": [question._asdict() for question in OPEN],
    }
    body = [
        _summary(findings, effort),
        _origin(origin),
        _claims(findings),
        _counterexamples(findings),
        _open(),
    ]
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
    """The head of the page: counts, and what the words mean."""
    claims, controls = _count(findings, control=False), _count(findings, control=True)
    comparisons = sum(sum(f.measurement.verdicts.values()) for f in findings if not f.control)
    seconds = sum(finding.seconds for finding in findings)
    meaning = "".join(f"<li><b>{kind}</b>: {text}</li>" for kind, text in MEANING)
    words = "".join(f"<li><b>{_text(word)}</b>: {_text(text)}</li>" for word, text in WORDS)
    return (
        "<h1>The theory of hard-negative contrastive learning, checked</h1>"
        f"<p>{claims[0]} of {claims[1]} claims hold and {controls[0]} of {controls[1]} controls "
        f"fail, as required; {comparisons} checks of claims, effort <i>{effort}</i>, "
        f"{seconds:.0f} s.</p>"
        "<p>A comparison <i>left &ge; right</i> of two numbers is <i>proved</i> or <i>violated</i> "
        "if their error balls are disjoint, <i>equal</i> if they certainly differ by less than "
        "1e-50, and otherwise <i>undecided</i>, which counts as a failure. The slack is a "
        "certified lower bound of left minus right over the comparisons that are not equal. What "
        "floating point or a statistical test shows has a column of its own: it <i>agrees</i> with "
        "the statement to the tolerance of the claim (1e-12 relative for losses, 1e-9 for "
        "minimisation, and for training a relative distance to neural collapse of 0.01 or a loss "
        "within 2 % of the way), or <i>disagrees</i>. It proves nothing: a claim that is called "
        "proved or certified does not hold by observation alone. A control drops one hypothesis "
        "and must be violated, or disagree; where a strict inequality or an equality is asked, "
        "equal or different numbers are violations too.</p>"
        f"<ul>{meaning}</ul>"
        f"<h2>Words</h2><ul>{words}</ul>"
    )


def _origin(origin: Mapping[str, Any]) -> str:
    """One line of where the results come from."""
    parts = {**origin, **origin.get("versions", {})}
    shown = (f"{name} {value}" for name, value in parts.items() if isinstance(value, (str, int)))
    return f'<p class="small">{_text(", ".join(shown))}</p>'


def _count(findings: Sequence[Finding], *, control: bool) -> tuple[int, int]:
    """How many claims, or controls, are as required, and how many there are."""
    chosen = [f for f in findings if (f.control is not None) == control]
    return sum(f.as_required for f in chosen), len(chosen)


def _claims(findings: Sequence[Finding]) -> str:
    """The table of claims."""
    header = ("", "claim", "hypotheses", "evidence", "models", "in balls", "observed")
    header += ("least slack", "seed", "s", "numbers")
    rows = []
    for main, controls in grouped(findings):
        claim, found = main.claim, main.measurement
        what = f"<b>{_text(claim.name)}</b><br>{_text(claim.statement)}"
        where = f'<br><span class="small">{_text(claim.reference)}</span>'
        good = main.as_required and all(control.as_required for control in controls)
        row = (_mark(good), what + where, _text(claim.hypotheses), _text(claim.evidence))
        numbers = (found.models, *_verdicts(main), _number(found.least_slack))
        seed = "none" if found.seed is None else found.seed
        rows.append((*row, *numbers, seed, f"{main.seconds:.1f}", _details(main)))
    return "<h2>Claims</h2>" + _table(Table(header, rows))


def _counterexamples(findings: Sequence[Finding]) -> str:
    """The table of controls."""
    header = ("", "claim", "control", "hypothesis dropped", "in balls", "observed", "least slack")
    header += ("numbers",)
    rows = [
        (
            _mark(finding.as_required),
            _text(finding.claim.name),
            _text(finding.control.name),
            _text(finding.control.dropped),
            *_verdicts(finding),
            _number(finding.measurement.least_slack),
            _details(finding),
        )
        for finding in findings
        if finding.control is not None
    ]
    intro = "<p>Each line drops one hypothesis of a claim; it must contradict the claim.</p>"
    return "<h2>Controls and counterexamples</h2>" + intro + _table(Table(header, rows))


def _open() -> str:
    """The table of open questions."""
    rows = [[_text(cell) for cell in question] for question in OPEN]
    return "<h2>Open</h2>" + _table(Table(("question", "what is known", "where"), rows))


def _section(section: Section, effort: Effort) -> str:
    """One section with its figure and table."""
    parts = [f"<h2>{_text(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{_text(section.text)}</p>")
    if section.slow and effort is Effort.QUICK:
        return "".join((*parts, "<p><i>Left out of a quick report.</i></p>"))
    if section.figure is not None:
        data = base64.b64encode(_svg(section.figure(effort))).decode("ascii")
        parts.append(f'<img alt="{_text(section.title)}" src="data:image/svg+xml;base64,{data}">')
    if section.table is not None:
        header, rows = section.table(effort)
        cells = [[_text(_number(cell)) for cell in row] for row in rows]
        parts.append(_table(Table(header, cells)))
    return "".join(parts)


def _svg(figure: "Figure") -> bytes:
    """A figure as the bytes of an SVG file, the same on every run."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hcl-jax"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()


def _table(table: Table) -> str:
    """A table as HTML, of cells that are HTML."""
    header, rows = table
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _mark(good: bool) -> str:
    """The mark at the beginning of a row."""
    return '<span class="ok">ok</span>' if good else '<span class="bad">BAD</span>'


def _verdicts(finding: Finding) -> tuple[str, str]:
    """The cells of what was compared in balls, and of what was observed."""
    found = finding.measurement.verdicts
    cells = [
        "<br>".join(f"{found[verdict]} {verdict}" for verdict in column if found[verdict])
        for column in (IN_BALLS, OBSERVED)
    ]
    return cells[0], cells[1]


def _details(finding: Finding) -> str:
    """The further numbers of a measurement, a line each."""
    return "<br>".join(
        f"{_text(key)} = {_text(_number(value))}"
        for key, value in finding.measurement.details.items()
    )


def _number(value: object) -> str:
    """A cell: numbers to six digits, and "none" for None."""
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _text(value: object) -> str:
    """A value as HTML text."""
    return html.escape(str(value))
