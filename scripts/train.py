"""Trains an experiment, by name and with overrides.

    python -m scripts.train digits-hucl2 --seeds 0 1 2
    python -m scripts.train cifar100-hscl5 --data-dir /data
    python -m scripts.train hscl5 --data folder:flowers --image-size 64
    python -m scripts.train --list cifar100

Writes the run directory: metrics as JSON lines and for TensorBoard, checkpoints, embeddings, class
means, a figure and report.html. Its name is that of the experiment and of what was changed, but for
the epochs.
A run that was stopped resumes when the same command is given again, and with --continue and more
epochs it is trained for longer.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from hcl_jax.system.command_line import parsed, usage_error
from hcl_jax.system.command_output import run_command
from hcl_jax.system.counting import counted
from hcl_jax.system.help_screen import Page
from hcl_jax.system.processes import is_first
from scripts.experiments.catalogue import (
    METHODS_ALONE,
    UnknownExperimentError,
    changed_name,
    described,
    find_experiment,
)
from scripts.experiments.experiment import Experiment
from scripts.experiments.paper import paper_values
from scripts.runs.exit_status import RefusedError, naming, run_job
from scripts.runs.exported import outdated_export
from scripts.runs.kept_programs import keep_compiled_programs
from scripts.runs.listing import listing, overview
from scripts.runs.loop import run
from scripts.runs.progress import few_steps, steps_bar
from scripts.runs.run_files import REPORT, read_finished_metrics
from scripts.runs.runners import refuse_what_does_not_fit
from scripts.runs.runtime import Runtime

DEFAULT = "grouped-hscl5"
HELP = {"-h", "--help", "--help-all"}

PAGE = Page(
    "python -m scripts.train",
    "NAME [options] | METHOD --data DATA [options] | --list [PART]",
    "Trains an experiment by its name, or a method on data of your own, into a run directory.\n"
    f"METHOD is one of {', '.join(METHODS_ALONE)}.\n"
    "The same command resumes, and with --continue and more epochs trains on. --list shows names.",
    {
        "Data": ("data", "data_dir", "image_size", "evaluate_on"),
        "Objective": ("beta", "temperature", "normalization", "initialization", "positives"),
        "Network": ("network", "dim"),
        "Training": ("epochs", "batch_size", "per_class", "learning_rate", "seeds", "devices"),
        "Results": ("evaluations", "probes", "out", "continues"),
    },
    "python -m scripts.train digits-hucl2 --epochs 20 --seeds 0 1 2\n"
    "python -m scripts.train hscl5 --data folder:flowers --image-size 64 --epochs 20",
)


@dataclasses.dataclass(frozen=True)
class Train:
    """One experiment, how it runs, and where it is written.

    Attributes:
        experiment: what is trained.
        runtime: devices, data and checkpoints.
        out: the directory of run directories.
    """

    experiment: tyro.conf.OmitArgPrefixes[Experiment]
    runtime: tyro.conf.OmitArgPrefixes[Runtime] = dataclasses.field(default_factory=Runtime)
    out: Path = Path("runs/train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--list"]:
        if words[2:]:
            return usage_error(f"--list takes one part of a name, got {' '.join(words[1:])}")
        print(listing(words[1]) if words[1:] else overview())
        return 0
    with_data = any(word.partition("=")[0] == "--data" for word in words)
    try:
        name = _taken_out(words, with_data=with_data)
        start = Train(find_experiment(name, with_data=with_data))
    except UnknownExperimentError as error:
        return usage_error(str(error))
    settings = parsed(Train, PAGE, words, default=start)
    keep_compiled_programs()
    return run_job(lambda: train(name, start.experiment, settings), settings.out)


def _taken_out(words: list[str], *, with_data: bool) -> str:
    """The name of the experiment, which is taken out of the words of the command line.

    It comes first, or after the data that it is to be trained on, which are nothing without it.
    """
    behind = {"--data": 2}.get(words[0], int(words[0].startswith("--data="))) if words else 0
    if behind < len(words) and not words[behind].startswith("-"):
        return words.pop(behind)
    if with_data and not HELP & {*words}:
        raise UnknownExperimentError(
            f"--data needs a method before it, one of {', '.join(METHODS_ALONE)}, or an experiment"
        )
    return DEFAULT


def train(name: str, named: Experiment, settings: Train) -> None:
    """Trains a change of a named experiment into its run directory, and shows what came out."""
    runtime = settings.runtime
    runtime.begin()
    try:
        experiment = described(settings.experiment, runtime.data_dir)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    path = settings.out / changed_name(name, named, experiment)
    refuse_what_does_not_fit([experiment], runtime)
    few = few_steps(experiment, runtime)
    if few and is_first():
        print(few, file=sys.stderr)
    with steps_bar([experiment], runtime) as progress, naming(path):
        results = run(experiment, path, progress, runtime)
    if not is_first():
        return
    from scripts.run_report.page import write_report

    draw(experiment, path)
    write_report(path / REPORT, [path])
    for result in results:
        print(summary(experiment, result))
    paper = paper_values(experiment)
    if paper is not None:
        print(
            f"the paper: equal-ip {paper.equal_inner_product}, {paper.directions} of 99 "
            f"directions, top-1 {paper.top1} %"
        )
    print(f"the run is in {path}")
    outdated = outdated_export(path, experiment)
    if outdated:
        print(outdated)


def draw(experiment: Experiment, path: Path) -> None:
    """Draws the metrics of a run, beside the paper's final values where it gives them."""
    from scripts.runs import figures

    title = f"{experiment.method}, {experiment.data_label}, {experiment.normalization}"
    paper = paper_values(experiment)
    by_method = {} if paper is None else {experiment.method: paper}
    metrics = {experiment.method: read_finished_metrics(path, experiment)}
    figures.save(figures.geometry_figure(title, metrics, paper=by_method), path, "metrics")


def summary(experiment: Experiment, result: Mapping[str, Any]) -> str:
    """One line on what came out of one seed."""
    probes = "".join(
        f", {label} {100 * _number(result[name]):.1f} %"
        for name, label in (("knn", "kNN"), ("linear_probe", "linear probe"))
        if name in result
    )
    return (
        f"{experiment.method}, seed {result['seed']}: loss {_number(result['loss']):.4f}, "
        f"equal-ip {_number(result['equal_inner_product']):.4f}, "
        f"{result['directions']} of {counted(result['dim'], 'direction')}, "
        f"top-1 {100 * _number(result['top1']):.1f} %{probes}"
    )


def _number(value: float | None) -> float:
    """A number of an evaluation; null in JSON was not finite."""
    return math.nan if value is None else value


if __name__ == "__main__":
    sys.exit(run_command(main))
