"""Measuring claims: what was found, how long it took, and whether it is as it must be."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict


class Finding(NamedTuple):
    """A claim, or a control of it, with what was found and how long it took."""

    claim: Claim
    control: Control | None
    measurement: Measurement
    seconds: float

    @property
    def as_it_must(self) -> bool:
        """Whether the claim holds, or the control fails."""
        if self.control is None:
            return self.claim.holds(self.measurement)
        return self.control.fails(self.measurement)

    def verdict_counts(self) -> dict[str, int]:
        """How often each verdict was found, without those that were not."""
        return {str(v): n for v, n in self.measurement.verdicts.items() if n}

    def to_json(self) -> dict[str, Any]:
        """Everything, for `results.json`."""
        found = self.measurement
        return {
            "claim": self.claim.name,
            "control": None if self.control is None else self.control.name,
            "dropped": None if self.control is None else self.control.dropped,
            "statement": self.claim.statement,
            "reference": self.claim.reference,
            "hypotheses": self.claim.hypotheses,
            "evidence": str(self.claim.evidence),
            "as_it_must": self.as_it_must,
            "verdicts": self.verdict_counts(),
            "models": found.models,
            "least_slack": found.least_slack,
            "seed": found.seed,
            "details": dict(found.details),
            "seconds": round(self.seconds, 3),
        }


def run(
    claims: Iterable[Claim], effort: Effort, *, progress: Callable[[], object] = lambda: None
) -> list[Finding]:
    """Measures claims and their controls.

    Args:
        claims: what to measure.
        effort: how many models.
        progress: called after each measurement.

    Returns:
        Each claim followed by its controls.
    """
    found = []
    for claim in claims:
        for control in (None, *claim.controls):
            start = time.perf_counter()
            measured = (claim if control is None else control).measure(effort)
            found.append(Finding(claim, control, measured, time.perf_counter() - start))
            progress()
    return found


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


def text_table(findings: Iterable[Finding]) -> str:
    """The table of claims, for a terminal of a hundred columns, with what its letters mean."""
    lines = [
        f"{'':5} {'claim':52} {'models':>6} {'proved/equal':>12} {'least slack':>11} {'fail':>4} "
        f"{'s':>4}"
    ]
    for main, controls in grouped(findings):
        lines += [_line(main, controls), *_complaints(main, controls)]
    meaning = "; ".join(f"{letter} {evidence}" for evidence, letter in LETTERS.items())
    return "\n".join([*lines, f"\n{meaning}", "fail: controls that fail, as they must"])


def _line(main: Finding, controls: Sequence[Finding]) -> str:
    fail = sum(control.as_it_must for control in controls)
    found = main.measurement
    good = main.as_it_must and fail == len(controls)
    slack = "" if found.least_slack is None else f"{found.least_slack:.2e}"
    counts = f"{found.verdicts[Verdict.PROVED]}/{found.verdicts[Verdict.EQUAL]}"
    if agreeing := found.verdicts[Verdict.AGREES]:
        counts = f"{agreeing} agree"
    return (
        f"{'ok' if good else 'BAD':3} {LETTERS[main.claim.evidence]} {main.claim.name:52} "
        f"{found.models:6} {counts:>12} {slack:>11} {f'{fail}/{len(controls)}':>4} "
        f"{main.seconds:4.0f}"
    )


def _complaints(main: Finding, controls: Sequence[Finding]) -> list[str]:
    bad = [
        f"      {main.measurement.verdicts[verdict]} {verdict}"
        for verdict in (Verdict.VIOLATED, Verdict.UNDECIDED)
        if main.measurement.verdicts[verdict]
    ]
    return bad + [
        f"      control does not fail: {control.control.name}"
        for control in controls
        if control.control is not None and not control.as_it_must
    ]
