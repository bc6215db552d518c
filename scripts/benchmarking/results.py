"""The results of a benchmark: what they say of their origin, and how they are written and shown."""

import dataclasses
import datetime
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hcl_jax.system.atomic_files import atomic_write, json_bytes
from scripts.runs.provenance import commit

Results = dict[str, Any]


def run_benchmark(
    name: str,
    out: Path,
    measure: Callable[[], Results],
    report: Callable[[Results], str],
    picture: Callable[[Results], bytes] | None = None,
) -> None:
    """Measures, writes NAME.json, NAME.md and perhaps NAME.png, and prints the report.

    Args:
        name: of the files.
        out: their directory.
        measure: makes the results.
        report: makes Markdown of them.
        picture: makes a PNG of them.
    """
    out.mkdir(parents=True, exist_ok=True)
    results = measure()
    text = report(results)
    contents = {
        out / f"{name}.json": json_bytes(results),
        out / f"{name}.md": text.encode(),
    }
    if picture is not None:
        contents[out / f"{name}.png"] = picture(results)
    atomic_write(contents)
    print(text)


def origin(chosen: Any) -> Results:
    """What results begin with.

    Args:
        chosen: a dataclass, what is measured; its `machine` names the machine.

    Returns:
        Date, commit, machine, versions and settings, ready for JSON.
    """
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit() or "unknown",
        "machine": chosen.machine,
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "settings": {**dataclasses.asdict(chosen), "out": None},
    }


def origin_line(results: Mapping[str, Any], *, device: str | None = None) -> str:
    """The origin of results as a line of a report.

    Args:
        results: that begin with `origin`.
        device: what they were measured on, if not told by the rest of the report.

    Returns:
        Text.
    """
    machine = results["machine"] if device is None else f"{results['machine']}, {device}"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return f"{machine}; {versions}; commit {results['commit']}, {results['date']}."


def quartiles(seconds: Sequence[float], *, digits: int = 4, mark: str = "") -> str:
    """Milliseconds as "median [quartiles]".

    Args:
        seconds: single times.
        digits: that are significant.
        mark: to be put after the median.

    Returns:
        Text.

    Example:
        >>> quartiles([0.001, 0.002, 0.003], mark="*")
        '2* [1.5, 2.5]'
    """
    low, middle, high = (f"{1e3 * x:.{digits}g}" for x in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return f"{middle}{mark} [{low}, {high}]"


def medians(contenders: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Median seconds of contenders, by name."""
    return {c["name"]: float(np.median(c["seconds"])) for c in contenders}


def sizes(contender: Mapping[str, Any]) -> str:
    """Two cells of a table: temporaries and peak of a contender in MiB, empty where unknown."""
    found = (contender["temporaries"], contender["peak"])
    return " | ".join("" if size is None else f"{size / 2**20:.1f}" for size in found)


def others(share: float | None) -> str:
    """A sentence on what other processes took of the machine; empty where that is unknown."""
    return "" if share is None else f" Other processes: {100 * share:.0f} % of the machine."
