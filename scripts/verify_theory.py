"""Checks the theorems of arXiv 2311.05139, and what lies beyond them, by exact computation.

    python -m scripts.verify_theory                          the table of claims
    python -m scripts.verify_theory --report DIR             and the theory with it as one page
    python -m scripts.verify_theory --case FILE.json         one model, or a list of models, as JSON
    python -m scripts.verify_theory --case FILE.json --normalize    the same, of rounded decimals

The exit status is 1 if a claim does not hold, or if a control does not contradict its claim, and 2
for bad input.
"""

import dataclasses
import importlib.metadata
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command, say_error
from hcl_jax.system.counting import counted
from hcl_jax.system.help_screen import Page
from hcl_jax.system.json_files import json_text
from hcl_jax.system.progress import UNEVEN, progress_bar
from scripts.theory_report.findings import text_table
from scripts.theory_report.heartbeat import heartbeat
from scripts.theory_report.measuring import processes, run
from scripts.theory_report.spreading import LostProcessError
from theory.checking import Effort
from theory.claims import MODULES
from theory.evaluation import evaluate
from theory.model.latent_classes import LatentClassModel
from theory.model.model_files import parse_models

if TYPE_CHECKING:
    from scripts.theory_report.page import Report

ALL_IS_WELL = "every claim holds and every control fails"
FAILED = "FAILED: a claim or a control did not behave as required"


PAGE = Page(
    "python -m scripts.verify_theory",
    "[options]",
    "Verifies the theory claim by claim, or evaluates the models of a file.",
    {
        "How many models": ("quick", "full"),
        "What is written": ("report",),
        "Models of a file": ("case", "digits", "normalize"),
    },
    "python -m scripts.verify_theory --quick",
)


@dataclasses.dataclass(frozen=True)
class VerifyTheory:
    """Verify the theory claim by claim, or evaluate the models of a file.

    Attributes:
        case: evaluate the model or models of this file instead, as shown in docs/theory.md.
        digits: significant digits of the numbers that `--case` prints.
        normalize: divide laws of `--case` by their sum, where rounded decimals do not sum to 1.
        report: write `report.html` and `results.json` to this folder.
        quick: few models, a quarter of the time.
        full: thousands of models.
    """

    case: Path | None = None
    digits: int = 25
    normalize: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    report: Path | None = None
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    full: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False

    @property
    def effort(self) -> Effort:
        """How many models a measurement tries."""
        return Effort.QUICK if self.quick else Effort.FULL if self.full else Effort.DEFAULT


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(VerifyTheory, PAGE, arguments)
    problem = _conflict(settings)
    if problem is None and settings.report is not None:
        problem = _not_a_place(settings.report)
    if problem is not None:
        say_error(problem)
        return 2
    if settings.case is not None:
        return evaluate_file(settings.case, settings.digits, normalize=settings.normalize)
    from scripts.runs.exit_status import RefusedError, refusing_unknown_platforms

    try:
        with refusing_unknown_platforms():
            return verify(settings.effort, settings.report)
    except LostProcessError as error:
        say_error(str(error))
        return 1
    except RefusedError as error:
        say_error(str(error))
        return RefusedError.status


def _conflict(settings: VerifyTheory) -> str | None:
    """What excludes each other on the command line."""
    if settings.quick and settings.full:
        return "--quick and --full exclude each other"
    measuring = settings.quick or settings.full or settings.report is not None
    if settings.case is not None and measuring:
        return "--case measures no claims: no --quick, --full or --report"
    if settings.case is None:
        if settings.normalize:
            return "--normalize is for the models of --case"
        if settings.digits != VerifyTheory.digits:
            return "--digits is for the numbers of --case"
    return None


def verify(effort: Effort, report: Path | None) -> int:
    """Measures all claims and controls, prints the table and, given a folder, writes the report."""
    if effort is not Effort.FULL:
        _compile_quickly()
    page = None if report is None else _report()
    total = sum(1 + len(claim.controls) for module in MODULES for claim in module.CLAIMS)
    count = processes()
    with progress_bar(total=total, desc="claims and controls", bar_format=UNEVEN) as bar:
        findings = run(MODULES, effort, processes=count, progress=bar.update)
    print(text_table(findings))
    good = all(finding.as_required for finding in findings)
    print(ALL_IS_WELL if good else FAILED)
    if report is not None and page is not None:
        try:
            page.write(report, findings, effort=effort, origin=_origin(), processes=count)
        except OSError as error:
            say_error(f"the report was not written: {error}")
            return 2
        print(f"wrote {report / 'report.html'}", file=sys.stderr)
    return 0 if good else 1


def _compile_quickly() -> None:
    """Has JAX optimise little: compiling takes more of the time than running what is compiled."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in flags:
        flags += " --xla_backend_optimization_level=0"
        if importlib.metadata.version("jaxlib").startswith("0.10."):  # the last that knows it
            flags += " --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = flags.strip()


def _not_a_place(folder: Path) -> str | None:
    """What keeps a report out of a folder, known before the minutes of measuring."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"--report: {folder}: {error.strerror or error}"
    return None if os.access(folder, os.W_OK) else f"--report: {folder} cannot be written to"


def _report() -> "Report":
    """The pages of the report, whose claims have their places; what is wrong is known at once."""
    os.environ.setdefault("MPLBACKEND", "agg")  # figures are drawn without a display
    from scripts.theory_report.page import Report
    from scripts.theory_report.sections import PAGES, SECTIONS

    report = Report(PAGES, SECTIONS)
    report.check([claim.reference for module in MODULES for claim in module.CLAIMS])
    return report


def _origin() -> dict[str, Any]:
    """When, of what and on what the report is made."""
    from scripts.runs.provenance import environment

    origin = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", **environment()}
    origin["versions"]["python-flint"] = importlib.metadata.version("python-flint")
    return origin


def evaluate_file(path: Path, digits: int, *, normalize: bool = False) -> int:
    """Prints everything the theory says of the models of a JSON file, see `model_files`.

    An error goes to standard error, leaves standard output empty, and gives exit status 2. What
    takes long is reported on standard error now and then.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        models = parse_models(text, name=path.stem, normalize=normalize)
        single = not isinstance(models, list)
        found = evaluate_all([models] if single else models, digits)
    except OSError as error:
        say_error(f"{path}: {error.strerror or error}")
        return 2
    except UnicodeDecodeError:
        say_error(f"{path}: not JSON: it is no text in UTF-8")
        return 2
    except (ValueError, ArithmeticError) as error:
        say_error(f"{path}: {error}")
        return 2
    print(json_text(found[0] if single else found, indent=1))
    return 0


def evaluate_all(models: Sequence[LatentClassModel], digits: int) -> list[dict[str, Any]]:
    """What the theory says of models, one after the other, with signs of life."""
    found: list[dict[str, Any]] = []
    start = time.monotonic()

    def describe() -> str:
        model = models[min(len(found), len(models) - 1)]
        return (
            f"{len(found)} of {counted(len(models), 'model')} after "
            f"{time.monotonic() - start:.0f} s, now {model.name:.60} with k = {model.k}"
        )

    with heartbeat(describe):
        for model in models:
            found.append(evaluate(model, digits=digits))
    return found


if __name__ == "__main__":
    sys.exit(run_command(main))
