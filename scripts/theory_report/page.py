"""The report of `scripts.verify_theory`: one HTML file that needs nothing else, and a JSON file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.json_files import json_bytes
from hcl_jax.system.pages import render
from hcl_jax.system.progress import UNEVEN, progress_bar
from scripts.theory_report.documents import Document, Part, find, read_document
from scripts.theory_report.drawing import cell_of, draw, number_of
from scripts.theory_report.findings import Finding, grouped
from scripts.theory_report.section import Section
from scripts.theory_report.wording import plain, typeset
from theory.checking import Effort, Evidence, Verdict
from theory.open_questions import OPEN

IN_BALLS = (Verdict.PROVED, Verdict.EQUAL, Verdict.VIOLATED, Verdict.UNDECIDED)
OBSERVED = (Verdict.AGREES, Verdict.DISAGREES)
"""The verdicts of the two columns."""

STATUS = {Evidence.PROVED: "proved", Evidence.CERTIFIED: "certified", Evidence.OBSERVED: "observed"}
"""One word for what "verified" means."""


class Place(NamedTuple):
    """A part of a page with what is measured of it.

    Attributes:
        part: the part.
        shown: figures and tables.
        claims: the claims whose reference leads here.
    """

    part: Part
    shown: list[dict[str, Any]]
    claims: list[dict[str, Any]]


class Report:
    """The pages, with the sections at their places; made before anything is measured.

    Raises UnknownPlaceError where a section leads nowhere, ValueError and OSError for bad pages.
    """

    def __init__(self, pages: Sequence[str], sections: Sequence[Section]) -> None:
        self.documents = [read_document(page, beside=pages) for page in pages]
        self._sections = [(find(self.documents, one.place).anchor, one) for one in sections]

    def check(self, references: Sequence[str]) -> None:
        """Raises UnknownPlaceError unless every reference leads to a part of a page."""
        for reference in references:
            find(self.documents, reference)

    def write(
        self,
        folder: Path,
        findings: Sequence[Finding],
        *,
        effort: Effort,
        origin: Mapping[str, Any],
        processes: int = 1,
    ) -> None:
        """Writes `report.html` and `results.json` to a folder, made if it does not exist.

        Both say where the results come from: `origin`, such as the commit and the versions.
        """
        folder.mkdir(parents=True, exist_ok=True)
        results = {
            "effort": str(effort),
            "origin": dict(origin),
            "findings": [finding.to_json() for finding in findings],
            "open": [
                {name: plain(text) for name, text in question._asdict().items()}
                for question in OPEN
            ],
        }
        cards = [_card(n, main, controls) for n, (main, controls) in enumerate(grouped(findings))]
        for card in cards:
            card["part"] = find(self.documents, card["claim"].reference)
        anchors, sections = zip(*self._sections, strict=True) if self._sections else ((), ())
        of_sections = {"total": len(sections), "desc": "figures and tables", "leave": False}
        with progress_bar(**of_sections, bar_format=UNEVEN) as bar:
            drawn = draw(sections, effort, processes=processes, progress=bar.update)
        shown = list(zip(anchors, drawn, strict=True))
        page = render(
            "scripts.theory_report",
            "report.html.j2",
            title="The theory of hard-negative contrastive learning, checked",
            counts=_counts(findings),
            effort=str(effort),
            origin=_origin(origin),
            kinds={word: [c for c in cards if c["status"] == word] for word in STATUS.values()},
            open=[
                (q, typeset(q.question), typeset(q.known), find(self.documents, q.reference))
                for q in OPEN
            ],
            documents=[_places(document, shown, cards) for document in self.documents],
        )
        atomic_write({folder / "report.html": page, folder / "results.json": json_bytes(results)})


def _places(
    document: Document,
    shown: Sequence[tuple[str, dict[str, Any]]],
    cards: Sequence[dict[str, Any]],
) -> list[Place]:
    """The parts of a page with what belongs to each."""
    return [
        Place(
            part,
            [one for anchor, one in shown if anchor == part.anchor],
            [card for card in cards if card["part"] is part],
        )
        for part in document.parts
    ]


def _counts(findings: Sequence[Finding]) -> dict[str, Any]:
    """How many claims and controls are as required, of how many; checks; seconds."""
    claims = [finding for finding in findings if finding.control is None]
    controls = [finding for finding in findings if finding.control is not None]
    return {
        "claims": (sum(f.as_required for f in claims), len(claims)),
        "controls": (sum(f.as_required for f in controls), len(controls)),
        "checks": sum(sum(f.measurement.verdicts.values()) for f in claims),
        "seconds": f"{sum(finding.seconds for finding in findings):.0f}",
    }


def _origin(origin: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the results come from, as names and values."""
    parts = {**origin, **origin.get("versions", {})}
    return [(name, str(v)) for name, v in parts.items() if isinstance(v, str | int)]


def _card(number: int, main: Finding, controls: Sequence[Finding]) -> dict[str, Any]:
    """What the report says of one claim."""
    found = main.measurement
    numbers = [("models", found.models), ("least slack", found.least_slack), ("seed", found.seed)]
    numbers += [("seconds", f"{main.seconds:.1f}"), *found.details.items()]
    return {
        "anchor": f"claim-{number}",
        "claim": main.claim,
        "statement": typeset(main.claim.statement),
        "hypotheses": typeset(main.claim.hypotheses),
        "status": STATUS[main.claim.evidence],
        "good": main.as_required and all(control.as_required for control in controls),
        "balls": _verdicts(main, IN_BALLS),
        "observed": _verdicts(main, OBSERVED),
        "slack": number_of(found.least_slack),
        "failing": f"{sum(control.as_required for control in controls)} of {len(controls)}",
        "seconds": f"{main.seconds:.1f}",
        "numbers": [(_named(name), cell_of(value)) for name, value in numbers if value is not None],
        "controls": [_control_row(control) for control in controls],
    }


def _control_row(finding: Finding) -> tuple[str | Markup, ...]:
    """What was found of a control."""
    assert finding.control is not None
    details = [
        Markup("{}: {}").format(_named(name), cell_of(value))
        for name, value in finding.measurement.details.items()
    ]
    verdicts = [_verdicts(finding, of) for of in (IN_BALLS, OBSERVED)]
    return (
        "fails" if finding.as_required else "DOES NOT FAIL",
        typeset(finding.control.name),
        typeset(finding.control.dropped),
        ", ".join(filter(None, verdicts)),
        number_of(finding.measurement.least_slack),
        Markup("; ").join(details),
    )


def _verdicts(finding: Finding, of: Sequence[Verdict]) -> str:
    """How often each of some verdicts was found."""
    found = finding.measurement.verdicts
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in of if found[verdict])


def _named(detail: str) -> Markup:
    """The name of a detail, which may be a name in Python."""
    return typeset(detail if "$" in detail else detail.replace("_", " "))
