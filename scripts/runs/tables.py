"""Tables of results, beside the paper's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from scripts.experiments.experiment import Experiment
from scripts.experiments.paper import PAPER, PaperValues
from scripts.runs import markdown
from scripts.runs.metrics import COLUMNS, METRICS

UNKNOWN = PaperValues("", "", "", "", "")


def method_of(result: Mapping[str, Any]) -> str:
    """The objective and its hardness, as `Experiment.method` has them."""
    return Experiment(
        objective=result["objective"], beta=result["beta"], hardening=result["hardening"]
    ).method


def geometry_table(
    results: Iterable[Mapping[str, Any]], *, paper: Mapping[str, PaperValues] = PAPER
) -> str:
    """A Markdown table of one data set and normalisation, beside the paper's values by method.

    Numbers are means over seeds, with the half range between seeds where there are several. Without
    values of the paper there are no columns for them.
    """
    return "\n".join(markdown.table(*geometry_rows(_by_method(results).items(), paper)))


def geometry_rows(
    runs: Iterable[tuple[str, Sequence[Mapping[str, Any]]]], paper: Mapping[str, PaperValues]
) -> tuple[list[str], list[list[str]]]:
    """The header and the cells of `geometry_table`, of names with their results."""
    header = ["method", *COLUMNS.values()]
    if paper:
        header += ["CIFAR-100 in the paper: zero-sum", "equal-ip", "directions of 99", "top-1 %"]
    lines = []
    for method, rows in runs:
        cells = [method, *(_cell(name, rows) for name in COLUMNS)]
        if paper:
            theirs = paper.get(method, UNKNOWN)
            cells += [theirs.zero_sum, theirs.equal_inner_product]
            cells += [theirs.directions, theirs.top1]
        lines.append(cells)
    return header, lines


def normalization_table(results: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table of one data set under the three normalisations."""
    results = list(results)
    names = list(dict.fromkeys(result["normalization"] for result in results))
    header = ["method"]
    for name in names:
        header += [f"{name}: equal-ip", "unit-norm", "directions"]
    lines = []
    for method, rows in _by_method(results).items():
        cells = [method]
        for name in names:
            chosen = [row for row in rows if row["normalization"] == name]
            cells += [
                _spread([row["equal_inner_product"] for row in chosen], 3),
                _spread([row["unit_norm"] for row in chosen], 3),
                _directions(chosen),
            ]
        lines.append(cells)
    return "\n".join(markdown.table(header, lines))


def _by_method(results: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(method_of(result), []).append(result)
    return groups


def _cell(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A metric over seeds."""
    if name == "directions":
        return _directions(rows)
    digits, scale = (1, 100) if METRICS[name].share else (3, 1)
    return _spread([row[name] for row in rows], digits, scale=scale)


def _directions(rows: Sequence[Mapping[str, Any]]) -> str:
    """Their number in words, with a decimal where seeds differ: 4 and 3 are not "4 ± 0"."""
    found = [row["directions"] for row in rows]
    return f"{_spread(found, 0 if len(set(found)) == 1 else 1)} of {rows[0]['dim']}"


def _spread(values: Sequence[float | None], digits: int, *, scale: float = 1.0) -> str:
    """Mean and half range; None, which JSON has for a number that is not finite, becomes NaN."""
    array = scale * np.asarray(values, dtype=float)
    middle = f"{array.mean():.{digits}f}"
    half_range = (array.max() - array.min()) / 2
    return f"{middle} ± {half_range:.{digits}f}" if len(array) > 1 else middle
