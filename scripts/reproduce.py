"""The main job: train the paper's objectives, print its table, draw its figures.

    python -m scripts.reproduce [--quick] [--out DIR]

Trains SCL, HSCL, UCL and HUCL on grouped synthetic classes and on handwritten digits, repeats the
synthetic runs on the unit sphere and without normalisation, and embeds three classes in the plane.
Writes a run directory for each run, summary.json, tables.md, figures, and reports to be opened.
"""

import dataclasses
import functools
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.experiments.catalogue import small_experiment
from scripts.experiments.datasets import DataName
from scripts.experiments.experiment import Experiment
from scripts.experiments.paper import METHODS
from scripts.runs.exit_status import run_job
from scripts.runs.kept_programs import keep_compiled_programs
from scripts.runs.progress import steps_bar
from scripts.runs.provenance import environment
from scripts.runs.run_directory import write_json, write_summary
from scripts.runs.run_files import read_finished_metrics
from scripts.runs.runners import refuse_what_does_not_fit
from scripts.runs.runtime import ONE_DEVICE
from scripts.runs.side_by_side import side_by_side
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
    out: Path = Path("runs/reproduce")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The experiments of the main job, by the figure they are for."""

    grouped: tuple[Experiment, ...]
    digits: tuple[Experiment, ...]
    normalizations: tuple[Experiment, ...]
    triangle: tuple[Experiment, ...]

    @property
    def parts(self) -> dict[str, tuple[Experiment, ...]]:
        """The parts by name, in the order in which they run."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """All of them, in the order in which they run."""
        return tuple(itertools.chain.from_iterable(self.parts.values()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(Reproduce, PAGE, arguments)
    keep_compiled_programs()
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
    """Trains the experiments of a plan, writes tables and figures, and prints the tables.

    Figures and reports of a part are made while the next one trains.
    """
    start = time.perf_counter()
    results: list[dict[str, Any]] = []
    refuse_what_does_not_fit(plan.experiments, ONE_DEVICE)
    runs = [(experiment, out / experiment.name) for experiment in plan.experiments]
    with steps_bar(plan.experiments) as progress, side_by_side(runs, progress) as futures:
        coming = iter(futures)
        for part, experiments in plan.parts.items():
            for _ in experiments:
                results += next(coming).result()
            if experiments:
                DRAWN[part](plan, out, results)
                paths = [out / experiment.name for experiment in experiments]
                write_report(out / f"report-{part}.html", paths)
    print(write_tables(out, results))
    print(f"{time.perf_counter() - start:.0f} s; tables, figures, reports and runs are in {out}")


def write_report(file: Path, paths: list[Path]) -> None:
    """Writes a page on the runs of a part, as `scripts.report` does."""
    from scripts.run_report import page

    page.write_report(file, paths)


def draw_geometry(data: str, plan: Plan, out: Path, results: list[dict[str, Any]]) -> None:
    """Draws the metrics of the runs on a data set, for each kind of pairs."""
    from scripts.runs import figures

    for supervised, word in ((True, "supervised"), (False, "unsupervised")):
        metrics = {
            experiment.method: read_finished_metrics(out / experiment.name, experiment)
            for experiment in plan.parts[data]
            if experiment.is_supervised == supervised
        }
        figure = figures.geometry_figure(f"{TITLES[data]}: {word}, unit ball", metrics)
        figures.save(figure, out, f"{data}-{word}")


def draw_normalizations(plan: Plan, out: Path, results: list[dict[str, Any]]) -> None:
    """Draws what the runs under every normalisation ended with."""
    from scripts.runs import figures

    figure = figures.normalization_figure(_grouped_with_seed_0(results))
    figures.save(figure, out, "normalizations")


def draw_triangle(plan: Plan, out: Path, results: list[dict[str, Any]]) -> None:
    """Draws the embeddings of three classes in the plane."""
    from scripts.runs import figures

    rows: dict[str, list[tuple[Experiment, Path]]] = {}
    for experiment in plan.triangle:
        family = "supervised" if experiment.is_supervised else "unsupervised"
        positives = "same class" if experiment.positives == "class" else "noisy views"
        row = rows.setdefault(f"{family},\npositives: {positives}", [])
        row.append((experiment, out / experiment.name))
    figures.save(figures.triangle_figure(rows), out, "triangle")


DRAWN = {
    "grouped": functools.partial(draw_geometry, "grouped"),
    "digits": functools.partial(draw_geometry, "digits"),
    "normalizations": draw_normalizations,
    "triangle": draw_triangle,
}
"""What draws the figures of a part."""


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
