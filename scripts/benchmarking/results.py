"""The results of a benchmark: their origin, and how they are written and shown."""

import dataclasses
import datetime
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.json_files import json_bytes
from scripts.runs.exit_status import run_job
from scripts.runs.provenance import commit

Results = dict[str, Any]

MACHINE = platform.processor() or platform.machine()
"""How results name the machine, if nothing else is given."""


def run_benchmark(
    name: str,
    out: Path,
    measure: Callable[[], Results],
    report: Callable[[Results], str],
    figure: Callable[[Results], bytes] | None = None,
) -> int:
    """Measures, writes NAME.json, NAME.md and perhaps NAME.png, and prints the report.

    Returns the exit status of the command.
    """

    def job() -> None:
        out.mkdir(parents=True, exist_ok=True)
        results = measure()
        text = report(results)
        contents = {out / f"{name}.json": json_bytes(results), out / f"{name}.md": text.encode()}
        if figure is not None:
            contents[out / f"{name}.png"] = figure(results)
        atomic_write(contents)
        print(text)

    return run_job(job, out, if_interrupted="nothing was written")


def origin(settings: Any) -> Results:
    """Date, commit, machine, versions and settings, with which results begin.

    The settings are a dataclass whose `machine` names the machine.
    """
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit() or "unknown",
        "machine": settings.machine,
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "settings": {**dataclasses.asdict(settings), "out": None},
    }


def origin_line(results: Mapping[str, Any], *, device: str | None = None) -> str:
    """The origin of results as a line of a report, with the device if that is given."""
    machine = results["machine"] if device is None else f"{results['machine']}, {device}"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return f"{machine}; {versions}; commit {results['commit']}, {results['date']}."


def quartiles(seconds: Sequence[float], *, digits: int = 4, mark: str = "") -> str:
    """Milliseconds as "median [quartiles]", with a mark after the median.

    Example:
        >>> quartiles([0.001, 0.002, 0.003], mark="*")
        '2* [1.5, 2.5]'
    """
    low, middle, high = (f"{1e3 * x:.{digits}g}" for x in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return f"{middle}{mark} [{low}, {high}]"


def medians(contenders: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Median seconds of contenders, by name."""
    return {c["name"]: float(np.median(c["seconds"])) for c in contenders}


def memory_cells(contender: Mapping[str, Any]) -> list[str]:
    """Two cells of a table: temporaries and peak of a contender in MiB, empty where unknown."""
    sizes = (contender["temporaries"], contender["peak"])
    return ["" if size is None else f"{size / 2**20:.1f}" for size in sizes]


def others_sentence(share: float | None) -> str:
    """A sentence on what other processes took of the machine; empty where that is unknown."""
    return "" if share is None else f" Other processes: {100 * share:.0f} % of the machine."
