"""The main job: train the paper's objectives, print its table, draw its figures.

    python -m scripts.reproduce [--quick] [--out DIR]

Trains SCL, HSCL, UCL and HUCL on grouped synthetic classes and on handwritten digits, repeats the
synthetic runs on the unit sphere and without normalisation, and embeds three classes in the plane.
Writes a run directory for each run, summary.json, tables.md, figures, and reports to be opened.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.command_line import Page, parsed, run_command
from scripts.experiments.catalogue import small_experiment
from scripts.experiments.datasets import DataName
from scripts.experiments.experiment import Experiment
from scripts.experiments.paper import METHODS
from scripts.paths import UserPath
from scripts.runs.exit_status import run_job
from scripts.runs.loop import run
from scripts.runs.progress import steps_bar
from scripts.runs.provenance import environment
from scripts.runs.run_directory import write_json, write_summary
from scripts.runs.run_files import read_finished_metrics
from scripts.runs.runners import refuse_what_does_not_fit
from scripts.runs.runtime import ONE_DEVICE
from scripts.runs.tables import geometry_table, normalization_table

QUICK_METHODS = tuple(METHODS[i] for i in (0, 3, 5, 9))  # SCL, HSCL 10, UCL, HUCL 30

TITLES = {"grouped": "Grouped synthetic classes", "digits": "Handwritten digits"}


PAGE = Page(
    "python -m scripts.reproduce",
    "[options]",
    "Trains the paper's objectives on synthetic classes and handwritten digits, prints its table\n"
    "beside the results, and draws its figures: minutes on two cores. A second run of the same\n"
    "command continues the first.",
    {"Options": ("quick", "out")},
    "python -m scripts.reproduce --quick --out runs/quick",
)


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Train the paper's objectives, print its table beside the results, and draw its figures.

    Attributes:
        quick: a small version in well under a minute: four methods, one seed, fewer epochs.
        out: where everything is written; a second run of the same command continues the first.
    """

    quick: bool = False
    out: UserPath = Path("runs/reproduce")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The experiments of the main job, by the figure they are for."""

    grouped: tuple[Experiment, ...]
    digits: tuple[Experiment, ...]
    normalizations: tuple[Experiment, ...]
    triangle: tuple[Experiment, ...]

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """All of them, in the order in which they run."""
        return self.grouped + self.digits + self.normalizations + self.triangle


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(Reproduce, PAGE, arguments)
    return run_job(lambda: reproduce(make_plan(quick=settings.quick), settings.out), settings.out)


def make_plan(*, quick: bool) -> Plan:
    """The experiments of the main job, or of its small version."""
    if quick:
        return Plan(
            grouped=_each_method("grouped", quick, epochs=30),
            digits=_each_method("digits", quick, epochs=20),
            normalizations=(),
            triangle=_each_method("triangle", quick, epochs=50),
        )
    seeds = (0, 1, 2)
    return Plan(
        grouped=_each_method("grouped", quick, seeds=seeds),
        digits=_each_method("digits", quick, seeds=seeds),
        normalizations=_each_method("grouped", quick, normalization="unit_sphere")
        + _each_method("grouped", quick, normalization="none"),
        triangle=_each_method("triangle", quick)
        + _each_method("triangle", quick, positives="views"),
    )


def _each_method(data: DataName, quick: bool, **changes: Any) -> tuple[Experiment, ...]:
    methods = QUICK_METHODS if quick else METHODS
    return tuple(small_experiment(data, method, **changes) for method in methods)


def reproduce(plan: Plan, out: Path) -> None:
    """Trains the experiments of a plan, writes tables and figures, and prints the tables."""
    start = time.perf_counter()
    results = []
    refuse_what_does_not_fit(plan.experiments, ONE_DEVICE)
    with steps_bar(plan.experiments) as progress:
        for experiment in plan.experiments:
            results += run(experiment, out / experiment.name, progress)
    write_figures(plan, out, results)
    print(write_tables(out, results))
    write_reports(plan, out)
    print(f"{time.perf_counter() - start:.0f} s; tables, figures, reports and runs are in {out}")


def write_figures(plan: Plan, out: Path, results: list[dict[str, Any]]) -> None:
    """Draws every figure the plan has runs for."""
    from scripts.runs import figures

    for data, title in TITLES.items():
        for supervised, word in ((True, "supervised"), (False, "unsupervised")):
            metrics = {
                experiment.method: read_finished_metrics(out / experiment.name, experiment)
                for experiment in getattr(plan, data)
                if experiment.is_supervised == supervised
            }
            figure = figures.geometry_figure(f"{title}: {word}, unit ball", metrics)
            figures.save(figure, out, f"{data}-{word}")
    if plan.normalizations:
        figure = figures.normalization_figure(_grouped_with_seed_0(results))
        figures.save(figure, out, "normalizations")
    rows: dict[str, list[tuple[Experiment, Path]]] = {}
    for experiment in plan.triangle:
        family = "supervised" if experiment.is_supervised else "unsupervised"
        positives = "same class" if experiment.positives == "class" else "noisy views"
        row = rows.setdefault(f"{family},\npositives: {positives}", [])
        row.append((experiment, out / experiment.name))
    figures.save(figures.triangle_figure(rows), out, "triangle")


def write_reports(plan: Plan, out: Path) -> None:
    """Writes a page on the runs of every part of the plan, as `scripts.report` does."""
    from scripts.run_report.page import write_report

    for field in dataclasses.fields(plan):
        paths = [out / experiment.name for experiment in getattr(plan, field.name)]
        if paths:
            write_report(out / f"report-{field.name}.html", paths)


def write_tables(out: Path, results: list[dict[str, Any]]) -> str:
    """Writes summary.json, environment.json and tables.md, and returns the tables."""
    write_summary(out, results)
    write_json(out / "environment.json", environment())
    sections = []
    for data, title in TITLES.items():
        on_the_ball = [r for r in results if (r["data"], r["normalization"]) == (data, "unit_ball")]
        sections.append(f"## {title}, unit ball\n\n{geometry_table(on_the_ball)}\n")
    grouped = _grouped_with_seed_0(results)
    if len({r["normalization"] for r in grouped}) > 1:
        table = normalization_table(grouped)
        sections.append(f"## {TITLES['grouped']}, three normalisations\n\n{table}\n")
    report = "\n".join(sections)
    atomic_write({out / "tables.md": report.encode()})
    return report


def _grouped_with_seed_0(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results that were run under every normalisation."""
    return [r for r in results if (r["data"], r["seed"]) == ("grouped", 0)]


if __name__ == "__main__":
    sys.exit(run_command(main))
