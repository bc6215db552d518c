"""Trains a list of experiments one after the other, and resumes where it stopped.

    python -m scripts.sweep "digits-*" --devices 1
    python -m scripts.sweep "cifar100-*scl?" "cifar100-*ucl?" --data-dir /data --seeds 0 1 2

Each gets its run directory, named as by `scripts.train`; finished ones are not run again. Then one
table and one figure for each data set and kind of pairs stand beside the paper's values, and a page
for each data set has the charts.
"""

import dataclasses
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import tyro

from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from hcl_jax.system.processes import is_first
from scripts.experiments.catalogue import catalogue, changed_name, usual_learning_rate
from scripts.experiments.experiment import Experiment
from scripts.experiments.paper import paper_values
from scripts.runs.exit_status import NonFiniteError, RefusedError, run_job
from scripts.runs.kept_programs import keep_compiled_programs
from scripts.runs.loop import run
from scripts.runs.progress import steps_bar
from scripts.runs.run_directory import write_summary
from scripts.runs.run_files import read_finished_metrics
from scripts.runs.runners import refuse_what_does_not_fit
from scripts.runs.runtime import Runtime
from scripts.runs.tables import geometry_table

PAGE = Page(
    "python -m scripts.sweep",
    "NAME [NAME ..] [options]",
    "Trains named experiments one after the other, resumes where it stopped, and writes a table\n"
    "and a figure for each data set. Names may have * for any text; all of them are shown by\n"
    "python -m scripts.train --list",
    {
        "What is trained": ("seeds", "epochs"),
        "Where": ("out", "data_dir", "devices", "resident_gib"),
        "When it stops": ("checkpoint_seconds", "keep", "continues", "stop_signals"),
    },
    'python -m scripts.sweep "triangle-*scl*" --devices 1',
)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Which experiments, how they run, and where they are written.

    Attributes:
        names: names or patterns of names, see `python -m scripts.train --list`.
        runtime: devices, data and checkpoints.
        seeds: seeds of every experiment, instead of its own.
        epochs: epochs of every experiment, instead of its own.
        out: the directory of run directories.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    runtime: tyro.conf.OmitArgPrefixes[Runtime] = dataclasses.field(default_factory=Runtime)
    seeds: tuple[int, ...] | None = None
    epochs: int | None = None
    out: Path = Path("runs/sweep")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(Sweep, PAGE, arguments)
    keep_compiled_programs()
    return run_job(lambda: sweep(settings), settings.out)


def sweep(settings: Sweep) -> None:
    """Trains the experiments; those that met a number that is not finite are named at the end."""
    settings.runtime.begin()
    experiments = chosen_experiments(settings)
    refuse_what_does_not_fit(experiments.values(), settings.runtime)
    results, failed = [], []
    with steps_bar(list(experiments.values()), settings.runtime) as progress:
        for name, experiment in experiments.items():
            try:
                results += run(experiment, settings.out / name, progress, settings.runtime)
            except NonFiniteError as error:
                failed.append(name)
                progress.write(str(error), file=sys.stderr)
    if is_first():
        done = {name: e for name, e in experiments.items() if name not in failed}
        write_results(settings.out, done, results)
    if failed:
        raise NonFiniteError(f"stopped at a number that is not finite: {', '.join(failed)}")


def chosen_experiments(settings: Sweep) -> dict[str, Experiment]:
    """The experiments of a sweep by the names of their directories.

    RefusedError says that a pattern fits none of the catalogue, or that a change does not fit.
    """
    if not settings.names:
        raise RefusedError("give names of experiments, or patterns of names")
    chosen: dict[str, Experiment] = {}
    for pattern in settings.names:
        fitting = {name: e for name, e in catalogue().items() if fnmatch(name, pattern)}
        if not fitting:
            raise RefusedError(
                f"no experiment fits {pattern!r}; `python -m scripts.train --list` lists all"
            )
        chosen |= fitting
    changes = {
        name: value
        for name, value in (("seeds", settings.seeds), ("epochs", settings.epochs))
        if value is not None
    }
    try:
        changed = {name: dataclasses.replace(e, **changes) for name, e in chosen.items()}
    except ValueError as error:
        raise RefusedError(str(error)) from error
    return {changed_name(name, chosen[name], e): e for name, e in changed.items()}


def write_results(
    out: Path, experiments: dict[str, Experiment], results: list[dict[str, Any]]
) -> None:
    """Writes summary.json, tables.md, figures and reports, and prints the tables.

    The experiments are by the names of their run directories in `out`; the results are the last
    evaluations of all seeds.
    """
    from scripts.run_report.page import write_report
    from scripts.runs import figures

    write_summary(out, results)
    sections = []
    for group, members in _groups(experiments).items():
        metrics = {name: read_finished_metrics(out / name, e) for name, e in members.items()}
        last = [r for name, e in members.items() for r in metrics[name] if r["epoch"] == e.epochs]
        paper = {e.method: row for e in members.values() if (row := paper_values(e)) is not None}
        sections.append(f"## {group}\n\n{geometry_table(last, paper=paper)}\n")
        curves = {e.method: metrics[name] for name, e in members.items()}
        figure = figures.geometry_figure(group, curves, paper=paper)
        figures.save(figure, out, group.replace(", ", "-").replace(" ", "_"))
    tables = "\n".join(sections)
    atomic_write({out / "tables.md": tables.encode()})
    print(tables)
    for data, names in _by_data(experiments).items():
        write_report(out / f"report-{data}.html", [out / name for name in names])
    print(f"tables, figures, reports and runs are in {out}")


def _by_data(experiments: dict[str, Experiment]) -> dict[str, list[str]]:
    """The names of the experiments on each data set."""
    found: dict[str, list[str]] = {}
    for name, experiment in experiments.items():
        found.setdefault(experiment.data_label, []).append(name)
    return found


def _groups(experiments: dict[str, Experiment]) -> dict[str, dict[str, Experiment]]:
    """Experiments that differ in the method alone, by what they share."""
    groups: dict[str, dict[str, Experiment]] = {}
    for name, experiment in experiments.items():
        words = [experiment.data, experiment.normalization]
        words += [experiment.network] if experiment.network else []
        words += ["supervised" if experiment.is_supervised else "unsupervised"]
        words += ["views"] if experiment.positives == "views" else []
        words += ["near nc"] if experiment.initialization == "near_nc" else []
        words += ["reference"] if experiment.reference_conventions else []
        words += [f"batch {experiment.batch_size}"] if experiment.batch_size else []
        rate = experiment.learning_rate
        words += [f"lr {rate:g}"] if rate != usual_learning_rate(experiment.data) else []
        groups.setdefault(", ".join(words), {})[name] = experiment
    return groups


if __name__ == "__main__":
    sys.exit(run_command(main))
