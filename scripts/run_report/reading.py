"""Reading finished runs that a report puts side by side."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from scripts.experiments.experiment import Experiment
from scripts.runs.exit_status import RefusedError
from scripts.runs.run_files import (
    RunDirectoryError,
    experiment_of,
    finished_results,
    read_class_means,
    read_config,
    read_embeddings,
    read_finished_metrics,
)


class FinishedRun(NamedTuple):
    """What a finished run has written.

    Attributes:
        name: what the run is called in the report.
        experiment: what was trained.
        environment: where it began.
        records: the evaluations of every seed.
        means: class means of every seed at the last of the evaluations, each with its epoch.
        sizes: how many images of each class it was measured on.
        num_test: how many images its accuracies are of.
    """

    name: str
    experiment: Experiment
    environment: dict[str, Any]
    records: list[dict[str, Any]]
    means: list[tuple[int, Float[np.ndarray, "seed classes dim"]]]
    sizes: list[int]
    num_test: int

    @property
    def epochs(self) -> list[int]:
        """The epochs after which it was measured."""
        return list(dict.fromkeys(record["epoch"] for record in self.records))

    @property
    def results(self) -> list[dict[str, Any]]:
        """The last evaluation of every seed."""
        return [record for record in self.records if record["epoch"] == self.experiment.epochs]


def read_runs(paths: Sequence[Path]) -> list[FinishedRun]:
    """Reads runs of one data set.

    Raises:
        RunDirectoryError: for a directory without a finished run, and for damaged files.
        RefusedError: for runs that do not belong into one report.
    """
    twice = [str(p) for p, n in collections.Counter(map(Path.absolute, paths)).items() if n > 1]
    if twice:
        raise RefusedError(f"a run is given twice: {', '.join(twice)}")
    runs = [_read(path) for path in paths]
    first = runs[0].experiment if runs else None
    for path, run in zip(paths, runs, strict=True):
        if first and not _same_data(first, run.experiment):
            raise RefusedError(
                f"runs on different data do not go into one report: {paths[0]} is on "
                f"{_data(first)}, {path} on {_data(run.experiment)}"
            )
    methods = [run.experiment.method for run in runs]
    if len(set(methods)) == len(methods):
        return [run._replace(name=run.experiment.method) for run in runs]
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return runs
    return [run._replace(name=str(path)) for path, run in zip(paths, runs, strict=True)]


def _same_data(a: Experiment, b: Experiment) -> bool:
    """Whether two experiments are on one data set.

    Data of one's own are the same if their content is, wherever they lay, or if the same place was
    read with other options, such as another size of images, and had the same classes. What changed
    between two runs that read it alike is not the same.
    """
    if a.own is None or b.own is None:
        return a.data == b.data
    read_otherwise = a.data == b.data and a.source != b.source
    return a.own.digest == b.own.digest or (
        read_otherwise and a.own.class_names == b.own.class_names
    )


def _data(experiment: Experiment) -> str:
    """The data, with what tells those of one's own from others of the same name."""
    own = experiment.own
    return experiment.data if own is None else f"{experiment.data} (SHA-256 {own.digest[:8]}..)"


def _read(path: Path) -> FinishedRun:
    """Reads one run, named by its directory."""
    experiment = experiment_of(path)
    config = read_config(path)
    assert config is not None
    if finished_results(path, experiment) is None:
        raise RunDirectoryError(
            f"{path} holds a run that has not finished; the command that began it resumes it"
        )
    records = read_finished_metrics(path, experiment)
    epochs = list(dict.fromkeys(record["epoch"] for record in records))
    arrays = read_embeddings(path, experiment)
    labels = arrays["train_labels"]
    means = read_class_means(path, experiment, len(epochs))
    return FinishedRun(
        path.absolute().name,
        experiment,
        config.environment,
        records,
        list(zip(epochs[len(epochs) - len(means) :], means, strict=True)),
        np.bincount(labels[labels >= 0], minlength=experiment.defaults.num_classes).tolist(),
        len(arrays["test_labels"]),
    )
