"""The pictures: metrics against epoch, the spectrum, the triangle, the normalisations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib import patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hcl_jax.geometry import DIRECTION_TOLERANCE, simplex_etf
from hcl_jax.system.atomic_files import atomic_open
from scripts.experiments.experiment import Experiment
from scripts.experiments.paper import PaperValues
from scripts.runs.metrics import METRICS
from scripts.runs.run_files import read_embeddings
from scripts.runs.tables import method_of

Record = Mapping[str, Any]

PANELS = ("zero_sum", "unit_norm", "equal_inner_product", "within_class")
CLASS_COLORS = ("#0072b2", "#d55e00", "#009e73")


def geometry_figure(
    title: str,
    metrics: Mapping[str, Sequence[Record]],
    *,
    paper: Mapping[str, PaperValues] | None = None,
) -> Figure:
    """The paper's six panels for several methods, from the records of their runs.

    Four metrics against epoch, the final spectrum, and test accuracy against epoch; lines are means
    over seeds, bands their range, and triangles at the right the paper's final values.
    """
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(2, 3).ravel()
    for name, axis in zip(PANELS, axes[:4], strict=True):
        _lines(axis, metrics, name, METRICS[name].label)
    _spectra(axes[4], metrics)
    _lines(axes[5], metrics, "top1", "top-1 test accuracy, %", scale=100)
    axes[5].set_ylim(min(axes[5].get_ylim()[0], 90), 101)
    for method, values in (paper or {}).items():
        _mark_paper(axes, _color(method), values)
    axes[0].legend(fontsize="small")
    return figure


def triangle_figure(rows: Mapping[str, Sequence[tuple[Experiment, Path]]]) -> Figure:
    """Test embeddings of three classes in the plane: does the triangle form?

    A grid of unit discs, with a row for each kind of objective and its runs in order of hardness.
    Dots are embeddings, crosses class means, and the grey triangle the simplex ETF turned to fit.
    """
    columns = max(len(runs) for runs in rows.values())
    figure = Figure(figsize=(2.4 * columns, 2.6 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis_row, (label, runs) in zip(axes, rows.items(), strict=True):
        for axis, (experiment, path) in zip(axis_row, runs, strict=True):
            _disc(axis, experiment, path)
        axis_row[0].set_ylabel(label)
    figure.suptitle("Three Gaussian classes embedded in the plane (seed 0)")
    return figure


def normalization_figure(results: Sequence[Record]) -> Figure:
    """Equal-inner-product error and directions of every method under each normalisation."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    figure.suptitle("Normalisation matters (grouped synthetic data)")
    left, right = figure.subplots(1, 2)
    methods = list(dict.fromkeys(method_of(result) for result in results))
    names = list(dict.fromkeys(result["normalization"] for result in results))
    for i, name in enumerate(names):
        offset = (i - (len(names) - 1) / 2) * 0.8 / len(names)
        chosen = [
            [r for r in results if (method_of(r), r["normalization"]) == (method, name)]
            for method in methods
        ]
        for axis, metric in ((left, "equal_inner_product"), (right, "directions")):
            heights = [np.mean(np.array([r[metric] for r in rows], float)) for rows in chosen]
            places = np.arange(len(methods)) + offset
            axis.bar(places, heights, width=0.8 / len(names), label=name, color=f"C{i}")
    for axis, label in ((left, "equal inner-product error"), (right, "directions")):
        axis.set_xticks(range(len(methods)), methods, rotation=45, ha="right")
        axis.set_ylabel(label)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, title="normalisation", loc="outside right upper")
    return figure


def save(figure: Figure, directory: Path, name: str) -> None:
    """Writes a figure as PNG and PDF; the same figure gives the same bytes."""
    with atomic_open(directory / f"{name}.png", directory / f"{name}.pdf") as (png, pdf):
        figure.savefig(png, format="png", dpi=130)
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})


def _mark_paper(axes: Sequence[Axes], color: Any, values: PaperValues) -> None:
    """Triangles at the right edge; what the paper only bounds is marked at the bound."""
    of_panels = (values.zero_sum, values.unit_norm, values.equal_inner_product, None, None)
    for axis, value in zip(axes, (*of_panels, values.top1), strict=True):
        if value is not None:
            axis.plot(
                1.0,
                float(value.lstrip("<=")),
                marker="<",
                color=color,
                transform=axis.get_yaxis_transform(),
                clip_on=False,
            )


def _color(method: str) -> Any:
    """Plain objectives black, hard ones from light to dark with growing hardness."""
    if not method.startswith("H"):
        return "black"
    betas = (2, 5, 10, 30)
    beta = max(float(method.split()[-1]), 1.0)
    place = np.interp(np.log(beta), np.log(betas), np.linspace(0.85, 0.1, len(betas)))
    return mpl.colormaps["plasma"](place)


def _curve(
    records: Sequence[Record], name: str
) -> tuple[Int[np.ndarray, " epoch"], Float[np.ndarray, "seed epoch"]]:
    """Epochs, and the metric as an array (seed, epoch)."""
    seeds = list(dict.fromkeys(record["seed"] for record in records))
    epochs = [record["epoch"] for record in records if record["seed"] == seeds[0]]
    values = [[r[name] for r in records if r["seed"] == seed] for seed in seeds]
    return np.asarray(epochs), np.asarray(values, dtype=float)


def _lines(
    axis: Axes,
    metrics: Mapping[str, Sequence[Record]],
    name: str,
    label: str,
    scale: float = 1.0,
) -> None:
    for method, records in metrics.items():
        epochs, values = _curve(records, name)
        values = scale * values
        color = _color(method)
        axis.plot(epochs, values.mean(axis=0), color=color, label=method)
        axis.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15)
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title(label)
    axis.grid(alpha=0.3)
    if name != "top1":
        top = axis.dataLim.ymax
        axis.set_ylim(0, 1.05 * top if np.isfinite(top) and top else 1.0)  # no curve on the edge


def _spectra(axis: Axes, metrics: Mapping[str, Sequence[Record]]) -> None:
    smallest = DIRECTION_TOLERANCE
    for method, records in metrics.items():
        last = max(record["epoch"] for record in records)
        spectra = np.array([r["spectrum"] for r in records if r["epoch"] == last], float)
        parts = np.exp(np.log(np.maximum(spectra / spectra[:, :1], 1e-12)).mean(axis=0))
        smallest = min(smallest, parts.min())
        axis.plot(np.arange(1, len(parts) + 1), parts, color=_color(method))
    axis.axhline(DIRECTION_TOLERANCE, color="grey", linestyle=":", linewidth=1)
    axis.set_title(r"spectrum, $\sigma_i / \sigma_1$ (dotted: least that counts)")
    axis.set_xlabel("direction")
    axis.set_yscale("log")
    axis.set_ylim(max(smallest / 3, 1e-7), 2)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)


def _disc(axis: Axes, experiment: Experiment, path: Path) -> None:
    arrays = read_embeddings(path, experiment)
    embeddings, labels = arrays["test_embeddings"][0], arrays["test_labels"]
    means = arrays["class_means"][0]
    axis.add_artist(patches.Circle((0, 0), 1, fill=False, color="lightgrey"))
    frame = np.asarray(simplex_etf(3, 2))
    left, _, right = np.linalg.svd(frame.T @ means)
    corners = frame @ left @ right
    axis.add_artist(patches.Polygon(corners, fill=False, color="grey", linestyle=":"))
    for label, color in enumerate(CLASS_COLORS):
        points = embeddings[labels == label]
        axis.scatter(*points.T, s=6, color=color, alpha=0.5, linewidths=0)
        axis.plot(*means[label], marker="x", color=color, markersize=9, markeredgewidth=2)
    axis.set_title(experiment.method, fontsize="medium")
    axis.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[], yticks=[])
