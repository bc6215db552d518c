"""What was trained, in words."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from scripts.experiments.used import as_used, idle_fields
from scripts.run_report.reading import FinishedRun

NAMED = 20
"""So many classes are named at most."""


def what_was_trained(run: FinishedRun) -> dict[str, str]:
    """The data, and the options that change something, with what was used where they say none."""
    idle, used = idle_fields(run.experiment), as_used(run.experiment)
    options = {
        field.name: _words(getattr(used, field.name))
        for field in dataclasses.fields(used)
        if field.name not in idle and field.name != "own" and getattr(used, field.name) is not None
    }
    return _data(run) | options


def configuration(runs: Sequence[FinishedRun], *, shared: bool) -> list[tuple[str, ...]]:
    """What all runs share, each with its value, or what differs, with the value of every run."""
    found = [what_was_trained(run) for run in runs]
    names = dict.fromkeys(name for of_run in found for name in of_run)
    rows = [(name, *(of_run.get(name, "") for of_run in found)) for name in names]
    return [row[:2] if shared else row for row in rows if (len(set(row[1:])) == 1) == shared]


def _data(run: FinishedRun) -> dict[str, str]:
    """The images, and how many are trained and tested on."""
    defaults, own = run.experiment.defaults, run.experiment.own
    last = run.results[0]
    found = {
        "labelled training images" if defaults.unlabelled else "training images": sum(run.sizes),
        "test images": run.num_test,
        "classes": defaults.num_classes,
        "shape of an image": " by ".join(map(str, defaults.image_shape)),
        "steps an epoch": last["step"] // last["epoch"],
    }
    if own is not None:
        names = ", ".join(own.class_names[:NAMED])
        found["names of classes"] = names + (", .." if len(own.class_names) > NAMED else "")
        found["SHA-256 of the data"] = own.digest
    if defaults.statistics is not None and not run.experiment.reference_conventions:
        found["mean of channels"] = _words(defaults.statistics.mean)
        found["standard deviation of channels"] = _words(defaults.statistics.std)
    return {name: str(value) for name, value in found.items()}


def _words(value: Any) -> str:
    """A value as one reads it.

    >>> _words(True), _words(0.001), _words((0.25, 0.5)), _words("adam")
    ('yes', '0.001', '0.25, 0.5', 'adam')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(_words, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
