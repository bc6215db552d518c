"""Figures of a representation, as SVG for light and dark pages, and as PNG."""

import io
import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hcl_jax.geometry import DIRECTION_TOLERANCE
from hcl_jax.measure.findings import BINS, METRICS, Findings
from hcl_jax.system.pages import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

COLORS = ("#3b82c4", "#d9722e", "#2a9d72", "#b0589e", "#b58900", "#6c71c4")
COMPARED = (
    "zero_sum",
    "unit_norm",
    "equal_inner_product",
    "within_class",
    "directions",
    "nc1",
    "uniformity",
    "nearest_mean",
)
"""What is drawn against files."""

NAMED = 16
"""So many classes are named beside a matrix of them; more are numbered."""

TITLE = 36
"""Letters of a line of a title."""

SPAN = 0.1
"""The least span of an axis of values, as a part of the largest of them."""


def figures_of(found: Findings) -> dict[str, "Figure"]:
    """The figures of one representation by name."""
    return {
        "spectrum": _spectrum([found], [found.name]),
        "gram": _gram(found),
        "angles": _angles(found),
    }


def figures_of_several(
    found: Sequence[Findings], names: Sequence[str], *, epochs: bool
) -> dict[str, "Figure"]:
    """The figures of several representations beside one another."""
    compared = _compared(found, epochs_of(names), epochs=epochs)
    return {"compared": compared, "spectra": _spectrum(found, names)}


def epochs_of(names: Sequence[str]) -> list[int] | None:
    """The numbers of files that differ in one number alone, and None of others.

    >>> epochs_of(["run2/epoch1.npy", "run2/epoch10.npy"])
    [1, 10]
    """
    split = [re.split(r"(\d+)", name) for name in names]
    if len({tuple(parts[::2]) for parts in split}) > 1:
        return None
    columns = zip(*(parts[1::2] for parts in split), strict=True)
    differing = [list(map(int, column)) for column in columns if len(set(column)) > 1]
    if len(differing) != 1 or len(set(differing[0])) < len(names):
        return None
    return differing[0]


def png(figure: "Figure") -> bytes:
    """A figure as PNG, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, facecolor="white")
    return buffer.getvalue()


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _whole_numbers(most: int = 9) -> "MaxNLocator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, integer=True)


def _finish(axis: "Axes", title: str, x: str, y: str) -> None:
    axis.set_title(title, color=INK, fontsize="medium")
    axis.set_xlabel(x, color=INK)
    axis.set_ylabel(y, color=INK)
    axis.tick_params(colors=INK)
    axis.patch.set_alpha(0)
    for spine in axis.spines.values():
        spine.set_color(INK)


def _legend(axis: "Axes") -> None:
    axis.legend(fontsize="small", labelcolor=INK, framealpha=0)


def _spectrum(found: Sequence[Findings], names: Sequence[str]) -> "Figure":
    figure = _figure(4.6, 3.2)
    axis = figure.subplots()
    room, smallest = 1, DIRECTION_TOLERANCE
    for number, (one, name) in enumerate(zip(found, names, strict=True)):
        room = max(room, min(len(one.names) - 1, one.shape[1]))
        values = one.spectrum[: min(len(one.names) - 1, one.shape[1])]
        shares = values / (values[0] if values[0] > 0 else 1.0)
        smallest = min(smallest, float(shares.min()))
        axis.plot(
            np.arange(1, len(values) + 1),
            np.maximum(shares, 1e-12),
            marker="o" if len(values) < 40 else None,
            markersize=3,
            color=COLORS[number % len(COLORS)],
            label=_shortened(name, 27),
        )
    axis.axhline(DIRECTION_TOLERANCE, color=INK, linestyle=":", linewidth=1)
    axis.set_yscale("log")
    axis.set_ylim(max(smallest / 3, 1e-7), 2)
    axis.set_xlim(0.5, room + 0.5)
    axis.xaxis.set_major_locator(_whole_numbers())
    title = "Spectrum of the class means (dotted: least that counts)"
    _finish(axis, title, "direction", "part of the largest")
    if len(found) > 1:
        _legend(axis)
    return figure


def _gram(found: Findings) -> "Figure":
    count = len(found.names)
    named = count <= NAMED
    figure = _figure(4.6, 3.4 if named else 2.9)
    left, right = figure.subplots(1, 2, sharey=True)
    frame = np.full((count, count), -1 / (count - 1))
    np.fill_diagonal(frame, 1)
    for axis, matrix, title in (
        (left, found.cosines, "these class means"),
        (right, frame, "simplex ETF"),
    ):
        image = axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
        words = "" if named else "class"
        _finish(axis, title, words, words if axis is left else "")
        if named:
            names = [_shortened(name, 12) for name in found.names]
            axis.set_xticks(range(count), names, rotation=90, fontsize="small")
            axis.set_yticks(range(count), names, fontsize="small")
        else:
            axis.xaxis.set_major_locator(_whole_numbers(5))
    bar = figure.colorbar(image, ax=(left, right), location="bottom", shrink=0.7, aspect=40)
    bar.set_label("cosine", color=INK)
    bar.ax.tick_params(colors=INK)
    bar.outline.set_edgecolor(INK)  # type: ignore[operator]
    return figure


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 2]}.."


def _angles(found: Findings) -> "Figure":
    figure = _figure(4.6, 3.2)
    axis = figure.subplots()
    edges = np.linspace(0, 180, BINS + 1)
    parts = (
        ("rows of one class", found.angles.within),
        ("rows of two classes", found.angles.between),
        ("class means", found.angles.means),
    )
    for (label, heights), color in zip(parts, COLORS, strict=False):
        axis.stairs(
            heights, edges, color=color, fill=label != "class means", alpha=0.6, label=label
        )
    count = len(found.names)
    axis.axvline(np.degrees(np.arccos(-1 / (count - 1))), color=INK, linestyle=":", linewidth=1)
    axis.set_xticks(range(0, 181, 30))
    _finish(axis, "Angles (dotted: simplex ETF)", "degrees", "part of the pairs")
    figure.legend(
        loc="outside lower center", ncols=3, fontsize="small", labelcolor=INK, framealpha=0
    )
    return figure


def _compared(
    found: Sequence[Findings], numbers: Sequence[int] | None, *, epochs: bool
) -> "Figure":
    panels = {METRICS[name]: [one.metrics[name] for one in found] for name in COMPARED}
    losses = [one.loss for one in found if one.loss is not None]
    if losses:
        name = losses[0].asked.name.upper()
        panels[name] = [loss.loss for loss in losses]
        panels[f"{name} above the least"] = [loss.gap for loss in losses]
    rows = len(panels) // 2
    figure = _figure(4.6, 1.9 * rows)
    axes = figure.subplots(rows, 2).ravel()
    counted = not epochs or numbers is None
    places = np.arange(1, len(found) + 1) if counted else np.array(numbers)
    for axis, (words, values) in zip(axes, panels.items(), strict=True):
        if epochs:
            axis.plot(places, values, marker="o", markersize=3, color=COLORS[0])
            _widen(axis, 2.0 if words == METRICS["directions"] else 0.0)
        else:
            axis.bar(places, values, color=COLORS[0])
        _finish(axis, textwrap.fill(words, TITLE), "", "")
        axis.title.set_fontsize(7)
        axis.tick_params(labelsize=7)
        axis.xaxis.set_major_locator(_whole_numbers())
        if words == METRICS["directions"]:
            axis.yaxis.set_major_locator(_whole_numbers(5))
    for axis in axes[-2:]:
        axis.set_xlabel("file, in order" if counted else "epoch", color=INK, fontsize=8)
    return figure


def _widen(axis: "Axes", least: float) -> None:
    """Gives the axis of values a span that does not blow up a curve that hardly changes."""
    low, high = axis.get_ylim()
    lacking = max(least, SPAN * max(abs(low), abs(high))) - (high - low)
    if lacking > 0:
        axis.set_ylim(low - lacking / 2, high + lacking / 2)
