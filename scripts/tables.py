"""Tables of results, beside the paper's."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class PaperRow(NamedTuple):
    """Final values on CIFAR-100 (unit ball, random initialisation) from the authors' notebooks.

    Accuracies of SCL and HSCL are printed there; the rest was read off plots (accuracy within 0.3,
    metrics within 0.005). `directions` are those before the cliff of the spectrum, of 99.
    """

    zero_sum: str
    unit_norm: str
    equal_inner_product: str
    top1: str
    directions: str


PAPER: Mapping[str, PaperRow] = {
    "SCL": PaperRow("0.04", "<=0.005", "0.235", "10.4", "10"),
    "HSCL 2": PaperRow("0.022", "<=0.005", "0.041", "31.9", "46"),
    "HSCL 5": PaperRow("0.017", "<=0.005", "<0.008", "58.4", "98"),
    "HSCL 10": PaperRow("0.013", "<=0.005", "<0.005", "57.1", "99"),
    "HSCL 30": PaperRow("0.009", "<=0.006", "<0.005", "54.5", "99"),
    "UCL": PaperRow("0.033", "<=0.008", "0.240", "9.0", "8"),
    "HUCL 2": PaperRow("0.024", "<=0.008", "0.044", "30.4", "45"),
    "HUCL 5": PaperRow("0.015", "<=0.008", "0.013", "56.0", "97"),
    "HUCL 10": PaperRow("0.18", "0.009", "0.123", "56.2", "gradual"),
    "HUCL 30": PaperRow("0.805", "<=0.005", "0.655", "54.3", "gradual"),
}


def method_of(result: Mapping[str, Any]) -> str:
    """The objective and its hardness, as "HSCL 5"."""
    hard = result["objective"].startswith("H")
    return f"{result['objective']} {result['beta']:g}" if hard else result["objective"]


def geometry_table(results: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table of one data set and normalisation, beside the paper's CIFAR-100.

    Numbers are means over seeds, with the half range between seeds where there are several.
    """
    header = (
        "| method | zero-sum | unit-norm | equal-ip | within-class | directions | top-1 % "
        "| CIFAR-100 in the paper: zero-sum | equal-ip | directions of 99 | top-1 % |"
    )
    lines = [header, "|---" * 11 + "|"]
    for method, rows in _by_method(results).items():
        names = ("zero_sum", "unit_norm", "equal_inner_product", "within_class")
        ours = [_spread([row[name] for row in rows], 3) for name in names]
        found = _spread([row["directions"] for row in rows], 0)
        accuracy = _spread([100 * row["top1"] for row in rows], 1)
        paper = PAPER[method]
        cells = [
            method,
            *ours,
            f"{found} of {rows[0]['dim']}",
            accuracy,
            paper.zero_sum,
            paper.equal_inner_product,
            paper.directions,
            paper.top1,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def normalization_table(results: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table of one data set under the three normalisations."""
    results = list(results)
    names = list(dict.fromkeys(result["normalization"] for result in results))
    header = ["method"]
    for name in names:
        header += [f"{name}: equal-ip", "unit-norm", "directions"]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for method, rows in _by_method(results).items():
        cells = [method]
        for name in names:
            chosen = [row for row in rows if row["normalization"] == name]
            cells += [
                _spread([row["equal_inner_product"] for row in chosen], 3),
                _spread([row["unit_norm"] for row in chosen], 3),
                f"{_spread([row['directions'] for row in chosen], 0)} of {chosen[0]['dim']}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_method(results) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(method_of(result), []).append(result)
    return groups


def _spread(values: Sequence[float], digits: int) -> str:
    array = np.asarray(values, dtype=float)
    middle = f"{array.mean():.{digits}f}"
    half_range = (array.max() - array.min()) / 2
    return f"{middle} ± {half_range:.{digits}f}" if len(array) > 1 else middle
