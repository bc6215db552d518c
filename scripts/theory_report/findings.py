"""What was found of claims, how long it took, and whether it is as required."""

from collections.abc import Iterable, Sequence
from itertools import chain
from textwrap import wrap
from typing import Any, NamedTuple

from scripts.theory_report.wording import plain
from theory.checking import Claim, Control, Evidence, Measurement, Verdict
from theory.open_questions import OPEN


class Finding(NamedTuple):
    """A claim, or a control of it, with what was found and how long it took."""

    claim: Claim
    control: Control | None
    measurement: Measurement
    seconds: float

    @property
    def as_required(self) -> bool:
        """Whether the claim holds, or the control fails."""
        if self.control is None:
            return self.claim.holds(self.measurement)
        return self.control.fails(self.measurement)

    def verdict_counts(self) -> dict[str, int]:
        """How often each verdict was found, without those that were not."""
        return {str(v): n for v, n in self.measurement.verdicts.items() if n}

    def to_json(self) -> dict[str, Any]:
        """Everything, for `results.json`, as text."""
        found = self.measurement
        return {
            "claim": self.claim.name,
            "control": None if self.control is None else plain(self.control.name),
            "dropped": None if self.control is None else plain(self.control.dropped),
            "statement": plain(self.claim.statement),
            "reference": self.claim.reference,
            "hypotheses": plain(self.claim.hypotheses),
            "evidence": str(self.claim.evidence),
            "as_required": self.as_required,
            "verdicts": self.verdict_counts(),
            "models": found.models,
            "least_slack": found.least_slack,
            "seed": found.seed,
            "details": {
                plain(name): plain(value) if isinstance(value, str) else value
                for name, value in found.details.items()
            },
            "seconds": round(self.seconds, 3),
        }


def grouped(findings: Iterable[Finding]) -> list[tuple[Finding, list[Finding]]]:
    """Each claim's finding with those of its controls."""
    groups: list[tuple[Finding, list[Finding]]] = []
    for finding in findings:
        if finding.control is None:
            groups.append((finding, []))
        else:
            groups[-1][1].append(finding)
    return groups


LETTERS = {Evidence.PROVED: "P", Evidence.CERTIFIED: "C", Evidence.OBSERVED: "O"}
WIDTH = 100
"""The width of the table."""
NAME = 50
"""The width of the names of claims."""
LEGEND = (
    "proved, equal: comparisons of balls; slack: a lower bound of left - right in these",
    "agree: observed in floating point or by a statistical test, which proves nothing",
    "fail: controls that fail, as required",
)
FAILURES = (Verdict.VIOLATED, Verdict.UNDECIDED, Verdict.DISAGREES)


def text_table(findings: Iterable[Finding]) -> str:
    """The table of claims, for a terminal of a hundred columns, with what its words mean."""
    columns = (
        f"{'models':>6} {'proved':>6} {'equal':>5} {'agree':>5} {'slack':>8} {'fail':>4} {'s':>3}"
    )
    lines = [f"{'':5} {'claim':{NAME}} {columns}"]
    for main, controls in grouped(findings):
        lines += [_line(main, controls), *_complaints(main, controls)]
    meaning = wrap("; ".join(f"{letter} {word}" for word, letter in LETTERS.items()), WIDTH)
    questions = (
        wrap(f"open: {plain(one.question)}", WIDTH, subsequent_indent=" " * len("open: "))
        for one in OPEN
    )
    return "\n".join([*lines, "", *meaning, *LEGEND, *chain.from_iterable(questions)])


def _line(main: Finding, controls: Sequence[Finding]) -> str:
    """The row of one claim."""
    fail = sum(control.as_required for control in controls)
    found = main.measurement
    good = main.as_required and fail == len(controls)
    slack = "" if found.least_slack is None else f"{found.least_slack:.1e}"
    proved, equal, agree = (
        found.verdicts[verdict] for verdict in (Verdict.PROVED, Verdict.EQUAL, Verdict.AGREES)
    )
    return (
        f"{'ok' if good else 'BAD':3} {LETTERS[main.claim.evidence]} {main.claim.name:{NAME}} "
        f"{found.models:6} {proved:6} {equal:5} {agree:5} {slack:>8} "
        f"{f'{fail}/{len(controls)}':>4} {main.seconds:3.0f}"
    )


def _complaints(main: Finding, controls: Sequence[Finding]) -> list[str]:
    """What is wrong with a claim or its controls, a line each, and what the claim says."""
    verdicts = main.measurement.verdicts
    bad = [f"{verdicts[verdict]} {verdict}" for verdict in FAILURES if verdicts[verdict]]
    if not bad and not main.as_required:
        bad = ["nothing was found that bears the claim out"]
    bad += [
        f"control does not fail: {plain(control.control.name)}"
        for control in controls
        if control.control is not None and not control.as_required
    ]
    said = wrap(plain(main.claim.statement), WIDTH - 6) if bad else []
    return [f"      {line}" for line in (*bad, *said)]
