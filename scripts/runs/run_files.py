"""Reading what a run has written; what is wrong with a file is said in one line that names it."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from hcl_jax.geometry import Geometry
from hcl_jax.system import json_files
from hcl_jax.system.json_files import JsonError, json_text, parse_json
from scripts.experiments.experiment import CHOICES, Experiment, is_data
from scripts.experiments.own_data import OwnData
from scripts.runs.exit_status import CommandError

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CLASS_MEANS = "class_means.npy"
EMBEDDINGS = "embeddings.npz"
RESULTS = "results.json"
REPORT = "report.html"

ARRAYS_OF_SEEDS = ("train_embeddings", "test_embeddings", "class_means")
ARRAYS = (*ARRAYS_OF_SEEDS, "train_labels", "test_labels")
"""What is in embeddings.npz; labels are those of all seeds."""

CLASS_NAMES = "class_names"
"""The names of classes 0, 1, .., which are there where the data set has names."""

NAMES = ("objective", "hardening", "normalization", "initialization", "positives")
COUNTS = ("seed", "epoch", "step", "dim")
NUMBERS = (
    *("beta", "temperature", "loss", "top1", "top5", "nearest_mean"),
    *(name for name in Geometry._fields if name != "spectrum"),
)
"""What every evaluation has, besides the spectrum; a number that was not finite is null."""


class RunDirectoryError(CommandError):
    """A run directory that cannot be used: it holds another run, or a file that is not whole."""


class Config(NamedTuple):
    """What is read of config.json: an experiment, and the environment in which it began."""

    experiment: dict[str, Any]
    environment: dict[str, Any]


def read_json(path: Path) -> Any:
    """Reads JSON; RunDirectoryError says that it is none."""
    try:
        return json_files.read_json(path)
    except JsonError as error:
        raise RunDirectoryError(str(error)) from error


def read_config(path: Path) -> Config | None:
    """What a run directory holds, or None if nothing was begun there.

    Raises:
        RunDirectoryError: if config.json is damaged.
    """
    config = path / CONFIG
    if not config.exists():
        return None
    match read_json(config):
        case {"experiment": dict(experiment), "environment": dict(environment)}:
            return Config(experiment, environment)
    raise RunDirectoryError(f"{config} does not describe an experiment and its environment")


def experiment_of(path: Path) -> Experiment:
    """The experiment of a run directory.

    Raises:
        RunDirectoryError: if there is none, one of another version, or one that cannot be.
    """
    config = read_config(path)
    if config is None:
        raise RunDirectoryError(f"{path} is not a run directory: it has no {CONFIG}")
    known = {field.name for field in dataclasses.fields(Experiment)}
    if set(config.experiment) != known:
        differ = sorted(set(config.experiment) ^ known)
        raise RunDirectoryError(f"{path / CONFIG} is of another version: fields {differ} differ")
    try:
        fields: dict[str, Any] = {**config.experiment, "seeds": tuple(config.experiment["seeds"])}
        if fields["own"] is not None:
            own: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in fields["own"].items()
            }
            fields["own"] = OwnData(**own)
        return Experiment(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise RunDirectoryError(f"{path / CONFIG} describes no experiment: {error}") from error


def check_same_experiment(path: Path, experiment: Experiment, *, longer: bool = False) -> bool:
    """Whether the directory holds a shorter run of this experiment; else it holds this, or none.

    Raises:
        RunDirectoryError: if the directory holds a run of another experiment, or a shorter one
            unless `longer` says that it is to be continued.
    """
    config = read_config(path)
    if config is None:
        return False
    found, asked = config.experiment, as_json(experiment)
    differing = [name for name in sorted({*found, *asked}) if found.get(name) != asked.get(name)]
    if differing == ["data"] and found.get("own") is not None:
        return False  # the same images and labels in another place
    if not differing:
        return False
    shorter = type(found.get("epochs")) is int and found["epochs"] < experiment.epochs
    can_continue = differing == ["epochs"] and shorter and not experiment.length_matters
    if longer and can_continue:
        return True
    differences = "; ".join(
        f"{name}: the directory has {found.get(name)!r}, asked was {asked.get(name)!r}"
        for name in differing
    )
    hint = "choose another directory with --out"
    if can_continue:
        hint = "--continue trains it for longer"
    elif longer and experiment.length_matters:
        hint = f"{why_not_continued(experiment)}; {hint}"
    elif longer and not shorter:
        hint = f"--continue trains for longer only; {hint}"
    raise RunDirectoryError(f"{path} holds a run of another experiment ({differences}); {hint}")


def why_not_continued(experiment: Experiment) -> str:
    """Why an experiment whose length matters is not made longer."""
    return (
        f"the learning rate of the {experiment.schedule} schedule depends on the number of epochs"
    )


def as_json(experiment: Experiment) -> dict[str, Any]:
    """The fields of an experiment as JSON has them."""
    return json.loads(json_text(dataclasses.asdict(experiment)))


def finished_results(
    path: Path, experiment: Experiment, *, longer: bool = False
) -> list[dict[str, Any]] | None:
    """The results of a finished run of this experiment, or None if it has not finished.

    Raises:
        RunDirectoryError: as `check_same_experiment`, or if the results are damaged.
    """
    file = path / RESULTS
    if not file.exists() or check_same_experiment(path, experiment, longer=longer):
        return None
    results = read_json(file)
    if not isinstance(results, list):
        raise RunDirectoryError(f"{file} is not a list of evaluations")
    for number, result in enumerate(results, start=1):
        _check_record(result, f"{file}, entry {number},")
    found = [(result["seed"], result["epoch"]) for result in results]
    if found != [(seed, experiment.epochs) for seed in experiment.seeds]:
        raise RunDirectoryError(
            f"{file} does not have the last evaluation of every seed; without the file, the run "
            f"finishes again"
        )
    return results


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All evaluations of a run; a last line cut off by a crash is left out.

    Raises:
        RunDirectoryError: if another line is no evaluation.
    """
    file = path / METRICS
    if file.exists() and not file.is_file():
        raise RunDirectoryError(f"{file} is not a regular file")
    return parsed_records(file.read_bytes(), file)


def read_finished_metrics(path: Path, experiment: Experiment) -> list[dict[str, Any]]:
    """All evaluations of a finished run, as many of every seed.

    Raises:
        RunDirectoryError: as `read_metrics`, or if an evaluation is missing.
    """
    records = read_metrics(path)
    found = [(record["epoch"], record["seed"]) for record in records]
    epochs = dict.fromkeys(epoch for epoch, _ in found)
    complete = [(epoch, seed) for epoch in epochs for seed in experiment.seeds]
    if found != complete or experiment.epochs not in epochs:
        raise RunDirectoryError(
            f"{path / METRICS} does not have evaluations of every seed up to epoch "
            f"{experiment.epochs}"
        )
    return records


def parsed_records(written: bytes, file: Path) -> list[dict[str, Any]]:
    """The evaluations in the content of metrics.jsonl; RunDirectoryError names a wrong line."""
    *lines, _ = written.split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        where = f"{file}, line {number},"
        try:
            record = parse_json(line, where)
        except JsonError as error:
            raise RunDirectoryError(str(error)) from error
        records.append(_check_record(record, where))
    return records


def read_embeddings(path: Path, experiment: Experiment) -> dict[str, np.ndarray]:
    """The arrays of embeddings.npz, with the seeds along the leading axis of all but the labels
    and the names of classes.

    Raises:
        RunDirectoryError: if an array is missing or of another shape, or the file is damaged.
    """
    file = path / EMBEDDINGS
    if file.exists() and not file.is_file():
        raise RunDirectoryError(f"{file} is not a regular file")
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except FileNotFoundError as error:
        raise RunDirectoryError(f"there is no {file}, which a finished run has") from error
    except Exception as error:  # NumPy, zipfile, zlib and the disk each raise their own
        raise RunDirectoryError(f"{file} is damaged: {error}") from error
    arrays = {name: found[name] for name in found if isinstance(found[name], np.ndarray)}
    names = arrays.get(CLASS_NAMES, np.zeros(experiment.defaults.num_classes, np.str_))
    are_named = names.dtype.kind == "U" and names.shape == (experiment.defaults.num_classes,)
    shapes = {name: array.shape for name, array in arrays.items() if array.dtype.kind in "fiu"}
    match [shapes.get(name) for name in ARRAYS]:
        case [(s, n, d), (t, m, e), (u, _, f), (i,), (j,)] if (s, d) == (t, e) == (u, f) == (
            len(experiment.seeds),
            experiment.embedding_dim,
        ) and (n, m, set(found) - {CLASS_NAMES}, are_named) == (i, j, set(ARRAYS), True):
            return arrays
    raise RunDirectoryError(
        f"{file} is damaged: it does not hold the arrays of a run, but {shapes}"
    )


def read_class_means(
    path: Path, experiment: Experiment, evaluations: int
) -> list[Float[np.ndarray, "seed classes dim"]]:
    """The class means at the last evaluations; at none where there is no file.

    Those before are missing where a run resumed without them (`RunDirectory.resume`).

    Raises:
        RunDirectoryError: if they are of another shape or of more evaluations, or the file is
            damaged.
    """
    file, found = path / CLASS_MEANS, []
    if not file.exists():
        return found
    if not file.is_file():
        raise RunDirectoryError(f"{file} is not a regular file")
    try:
        with file.open("rb") as opened:
            while opened.peek(1):
                found.append(np.load(opened, allow_pickle=False))
    except Exception as error:  # NumPy and the disk each raise their own
        raise RunDirectoryError(f"{file} is damaged: {error}") from error
    shape = (len(experiment.seeds), experiment.defaults.num_classes, experiment.embedding_dim)
    for means in found:
        if means.dtype.kind != "f" or means.shape != shape or not np.isfinite(means).all():
            raise RunDirectoryError(
                f"{file} is damaged: it does not hold class means of shape {shape}"
            )
    if len(found) > evaluations:
        raise RunDirectoryError(
            f"{file} has class means of {len(found)} evaluations, and there are {evaluations}"
        )
    return found


def _check_record(record: Any, where: str) -> dict[str, Any]:
    """The record, if it is an evaluation of a seed."""
    if not isinstance(record, dict):
        raise RunDirectoryError(f"{where} is no evaluation")
    wrong = [name for name in COUNTS if type(record.get(name)) is not int]
    wrong += [name for name in NUMBERS if name not in record or not _is_number(record[name])]
    wrong += [] if is_data(record.get("data")) else ["data"]
    wrong += [name for name in NAMES if record.get(name) not in tuple(CHOICES[name])]
    spectrum = record.get("spectrum")
    if not isinstance(spectrum, list) or not spectrum or not all(map(_is_number, spectrum)):
        wrong.append("spectrum")
    if wrong:
        raise RunDirectoryError(f"{where} is no evaluation: see {', '.join(wrong)}")
    return record


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
