"""Measuring claims: what was found, how long it took, and whether it is as it must be."""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from theory.claim import Claim, Control, Effort, Measurement


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
        return self.control.fails_as_it_must(self.measurement)

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


def text_table(findings: Iterable[Finding]) -> str:
    """The table of claims, for a terminal."""
    lines = [f"{'':4} {'claim':52} {'models':>6} {'least slack':>11} {'controls':>8} {'s':>6}"]
    for main, controls in grouped(findings):
        fail = sum(control.as_it_must for control in controls)
        good = main.as_it_must and fail == len(controls)
        slack = main.measurement.least_slack
        shown = "" if slack is None else f"{slack:.2e}"
        counts = ", ".join(f"{n} {verdict}" for verdict, n in main.verdict_counts().items())
        lines.append(
            f"{'ok' if good else 'BAD':4} {main.claim.name:52} {main.measurement.models:6} "
            f"{shown:>11} {f'{fail}/{len(controls)}':>8} {main.seconds:6.1f}  {counts}"
        )
        lines += [
            f"     control does not fail: {control.control.name}"
            for control in controls
            if control.control is not None and not control.as_it_must
        ]
    return "\n".join(lines)
