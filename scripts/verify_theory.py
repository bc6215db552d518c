"""Checks the theorems of arXiv 2311.05139, and what lies beyond them, by exact computation.

    python -m scripts.verify_theory                          the table of claims
    python -m scripts.verify_theory --report DIR             and an HTML report with figures
    python -m scripts.verify_theory --case FILE.json         one model, or a list of models, as JSON

The exit status is 1 if a claim is violated or undecided, or if a control does not fail as it must,
and 2 for bad input.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from theory.checking import Effort
from theory.claims import CLAIMS
from theory.evaluation import evaluate
from theory.model.model_files import parse_models


def main(
    case: Annotated[Path | None, tyro.conf.arg(metavar="FILE.json")] = None,
    digits: int = 25,
    report: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    full: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> int:
    """Verifies the theory, claim by claim.

    Args:
        case: evaluate the model or models of this file instead, and print JSON.
        digits: significant digits of the numbers that `--case` prints.
        report: write `report.html` and `results.json` to this folder.
        quick: few models, some twenty seconds.
        full: thousands of models.

    Returns:
        The exit status.
    """
    if quick and full:
        print("error: --quick and --full exclude each other", file=sys.stderr)
        return 2
    if case is not None and (quick or full or report is not None):
        print("error: --case measures no claims: no --quick, --full or --report", file=sys.stderr)
        return 2
    if case is not None:
        return evaluate_file(case, digits)
    if report is not None and (problem := _not_a_place(report)) is not None:
        print(f"error: --report: {problem}", file=sys.stderr)
        return 2
    effort = Effort.QUICK if quick else Effort.FULL if full else Effort.DEFAULT
    return verify(effort, report)


def verify(effort: Effort, report: Path | None) -> int:
    """Measures all claims and controls, prints the table and writes the report.

    Args:
        effort: how many models.
        report: a folder, or None for no report.

    Returns:
        0 if every claim holds and every control fails, else 1.
    """
    from scripts.theory_report.findings import run, text_table

    total = sum(1 + len(claim.controls) for claim in CLAIMS)
    with tqdm(total=total, desc="claims and controls", file=sys.stderr) as bar:
        findings = run(CLAIMS, effort, progress=bar.update)
    print(text_table(findings))
    good = all(finding.as_it_must for finding in findings)
    print("every claim holds and every control fails" if good else "NOT as it must be")
    if report is not None:
        try:
            _write(report, findings, effort)
        except OSError as error:
            print(f"error: the report was not written: {error}", file=sys.stderr)
            return 2
    return 0 if good else 1


def _not_a_place(folder: Path) -> str | None:
    """What keeps a report out of a folder, known before the minutes of measuring."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return str(error)
    return None if os.access(folder, os.W_OK) else f"{folder} cannot be written to"


def _write(report: Path, findings, effort: Effort) -> None:
    os.environ.setdefault("MPLBACKEND", "agg")
    from scripts.theory_report.html import write_report
    from scripts.theory_report.sections import SECTIONS

    write_report(report, findings, SECTIONS, effort=effort)
    print(f"wrote {report / 'report.html'}", file=sys.stderr)


def evaluate_file(path: Path, digits: int) -> int:
    """Prints everything the theory says of the models of a file.

    Args:
        path: a JSON file; see `theory.model.model_files`.
        digits: significant digits.

    Returns:
        0, or 2 after an error, which goes to standard error and leaves standard output empty.
    """
    try:
        models = parse_models(path.read_text(encoding="utf-8-sig"), name=path.stem)
        single = not isinstance(models, list)
        found = [evaluate(model, digits=digits) for model in ([models] if single else models)]
    except (OSError, ValueError, ArithmeticError) as error:
        print(f"error: {path}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found[0] if single else found, indent=1))
    return 0


def command() -> int:
    """The entry point of the installed command."""
    return tyro.cli(main)


if __name__ == "__main__":
    sys.exit(command())
