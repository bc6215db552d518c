"""The main job: train the paper's objectives, print its table, draw its figures.

    python -m scripts.reproduce [--quick] [--out DIR]

Trains SCL, HSCL, UCL and HUCL on grouped synthetic classes and on handwritten digits, repeats the
synthetic runs on the unit sphere and without normalisation, and embeds three classes in the plane.
Writes a run directory for each run, summary.json, tables.md and the figures.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from hcl_jax.system.atomic_files import atomic_write
from scripts.experiments.catalogue import METHODS
from scripts.experiments.experiment import Experiment
from scripts.runs.exit_status import reported
from scripts.runs.loop import progress_bar, run
from scripts.runs.provenance import environment
from scripts.runs.run_directory import read_metrics, write_json

QUICK_METHODS = tuple(METHODS[i] for i in (0, 3, 5, 9))  # SCL, HSCL 10, UCL, HUCL 30


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
    def experiments(self) -> tuple[Experiment, ...]:
        """All of them, in the order in which they run."""
        return self.grouped + self.digits + self.normalizations + self.triangle


def plan(quick: bool) -> Plan:
    """What is run.

    Args:
        quick: whether the small version is wanted.

    Returns:
        The experiments.

    Example:
        >>> len(plan(quick=False).grouped)
        10
    """
    methods = QUICK_METHODS if quick else METHODS
    seeds = (0,) if quick else (0, 1, 2)

    def each_method(**settings) -> tuple[Experiment, ...]:
        return tuple(Experiment(objective=o, beta=b, **settings) for o, b in methods)

    return Plan(
        grouped=each_method(data="grouped", epochs=30 if quick else 50, seeds=seeds),
        digits=each_method(
            data="digits", epochs=20 if quick else 60, learning_rate=3e-3, seeds=seeds
        ),
        normalizations=()
        if quick
        else each_method(data="grouped", normalization="unit_sphere", epochs=50)
        + each_method(data="grouped", normalization="none", epochs=50),
        triangle=each_method(data="triangle", epochs=50 if quick else 100)
        + (() if quick else each_method(data="triangle", positives="views", epochs=100)),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = tyro.cli(Reproduce, args=arguments, description=__doc__)
    return reported(settings.out, lambda: _reproduce(plan(settings.quick), settings.out))


def _reproduce(plan: Plan, out: Path) -> None:
    start = time.perf_counter()
    results = []
    with progress_bar(plan.experiments) as progress:
        for experiment in plan.experiments:
            results += run(experiment, out / experiment.name, progress)
    write_pictures(plan, out, results)
    print(write_report(out, results))
    print(f"{time.perf_counter() - start:.0f} s; tables, figures and runs are in {out}")


def write_pictures(plan: Plan, out: Path, results: list[dict[str, Any]]) -> None:
    """Draws every figure the plan has runs for."""
    from scripts.runs import figures

    titles = {"grouped": "Grouped synthetic classes", "digits": "Handwritten digits"}
    for data, title in titles.items():
        experiments = getattr(plan, data)
        for family, word in (("SCL", "supervised"), ("UCL", "unsupervised")):
            metrics = {
                experiment.method: read_metrics(out / experiment.name)
                for experiment in experiments
                if family in experiment.objective
            }
            figure = figures.geometry_figure(f"{title}: {word}, unit ball", metrics)
            figures.save(figure, out, f"{data}-{word}")
    if plan.normalizations:
        grouped = [r for r in results if r["data"] == "grouped" and r["seed"] == 0]
        figures.save(figures.normalization_figure(grouped), out, "normalizations")
    rows: dict[str, list[tuple[Experiment, Path]]] = {}
    for experiment in plan.triangle:
        family = "supervised" if "SCL" in experiment.objective else "unsupervised"
        positives = "same class" if experiment.positives == "class" else "noisy views"
        row = rows.setdefault(f"{family},\npositives: {positives}", [])
        row.append((experiment, out / experiment.name))
    figures.save(figures.triangle_figure(rows), out, "triangle")


def write_report(out: Path, results: list[dict[str, Any]]) -> str:
    """Writes summary.json and tables.md, and returns the tables."""
    from scripts.runs.tables import geometry_table, normalization_table

    summary = [{k: v for k, v in result.items() if k != "spectrum"} for result in results]
    write_json(out / "summary.json", summary)
    write_json(out / "environment.json", environment())
    sections = []
    for data, title in (("grouped", "Grouped synthetic classes"), ("digits", "Handwritten digits")):
        chosen = [r for r in results if r["data"] == data and r["normalization"] == "unit_ball"]
        sections.append(f"## {title}, unit ball\n\n{geometry_table(chosen)}\n")
    grouped = [r for r in results if r["data"] == "grouped" and r["seed"] == 0]
    if len({r["normalization"] for r in grouped}) > 1:
        table = normalization_table(grouped)
        sections.append(f"## Grouped synthetic classes, three normalisations\n\n{table}\n")
    report = "\n".join(sections)
    atomic_write({out / "tables.md": report.encode()})
    return report


if __name__ == "__main__":
    sys.exit(main())
