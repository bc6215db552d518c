"""Writes the report of finished runs: one HTML page, with charts, that needs no network.

    python -m scripts.report runs/train/grouped-hscl5
    python -m scripts.report runs/train/grouped-scl runs/train/grouped-hscl5 --out scl-hscl.html

Configuration, metrics over epochs with the spread of seeds and the bound of the theory, the
spectrum and the class means over epochs, and the table beside the paper's. Runs of one report are
on the same data. `reproduce`, `train` and `sweep` write reports of their runs themselves.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.runs.exit_status import RefusedError, run_job
from scripts.runs.run_files import REPORT

PAGE = Page(
    "python -m scripts.report",
    "RUN [RUN ..] [--out PATH]",
    "Writes the report of finished runs on the same data: one HTML page, with charts, that needs\n"
    "no network. `reproduce`, `train` and `sweep` write reports of their runs themselves.",
    {"Options": ("out",)},
    "python -m scripts.report runs/train/grouped-scl runs/train/grouped-hscl5 --out report.html",
)


@dataclasses.dataclass(frozen=True)
class Report:
    """Which runs, and the file.

    Attributes:
        runs: run directories.
        out: the page; by default `report.html`, in the directory of a single run.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(Report, PAGE, arguments)
    out = settings.out or (settings.runs[0] / REPORT if len(settings.runs) == 1 else Path(REPORT))
    return run_job(lambda: report(settings.runs, out), out, if_interrupted="nothing was written")


def report(runs: Sequence[Path], out: Path) -> None:
    """Writes the report of runs to a file."""
    from scripts.run_report.page import write_report

    if not runs:
        raise RefusedError("give run directories, such as runs/train/grouped-hscl5")
    write_report(out, runs)
    print(f"the report is {out}")


if __name__ == "__main__":
    sys.exit(run_command(main))
