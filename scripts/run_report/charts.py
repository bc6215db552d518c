"""Charts of runs in Vega-Lite, made with Altair; a chart over epochs has the parameter `epoch`.

Colours of letters and lines are those of the page. What stands in a row of data for a time has the
epochs `from` which and before which (`to`) it is shown.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np

from hcl_jax.geometry import DIRECTION_TOLERANCE
from hcl_jax.system.counting import counted
from scripts.run_report.predictions import Prediction
from scripts.run_report.reading import FinishedRun
from scripts.runs.metrics import METRICS

FRAMES = 50
"""A chart over epochs shows at most so many evaluations."""

STROKES = {"least": "dashed", "neural collapse": "dotted"}
DASHES = {"dashed": [6, 3], "dotted": [2, 3]}
"""How levels of the loss are drawn."""

AWAY_FROM_0 = ("loss", *(name for name, metric in METRICS.items() if metric.share))
"""The metrics that do not tend to 0."""

SPAN = 0.1
"""The least span of their axes, as a part of the largest value."""

SMALLEST_PART = 1e-6
"""Smaller parts of the largest singular value stand at the lower edge."""

COLOURS = (
    *("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d", "#d4a72c"),
    *("#ff9da6", "#7f7f7f", "#3b5bdb", "#a61e4d"),
)
"""The colours of runs, in their order; after the last the first again."""

INK = "currentColor"
FAINT = "#88888855"
LARGEST_EPOCH = 10**9
SQUARE = 340
"""Width and height of the view of class means, in pixels, which the page scales."""

WHOLE = alt.Axis(tickMinStep=1, format="d", labelExpr="datum.value % 1 == 0 ? datum.label : ''")


def curves(runs: Sequence[FinishedRun], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """A chart for each metric by its name: means over seeds, their range, levels of the loss."""
    return {
        name: _finished(_curve(runs, predictions if name == "loss" else (), name, metric.label))
        for name, metric in METRICS.items()
    }


def spectra(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """The spectrum of the class means, relative to the largest, at an epoch; means over seeds."""
    rows, smallest = [], DIRECTION_TOLERANCE / 2
    for run in runs:
        for epoch, start, end in _frames(run.epochs):
            found = [r["spectrum"] for r in run.records if r["epoch"] == epoch]
            values = np.mean(np.array(found, float), axis=0)
            shares = np.maximum(values / (np.nanmax(values) or 1), SMALLEST_PART)
            smallest = min(smallest, float(np.nanmin(shares)))
            indices = list(range(1, len(values) + 1))
            rows.append(_row(run, start, end, v=_short(shares), i=indices))
    share = _share(smallest)
    base = _at_epoch(rows).transform_flatten(["v", "i"])
    lines = base.mark_line(point={"size": 14}).encode(
        alt.X("i:Q", title="direction", axis=WHOLE, scale=alt.Scale(nice=False)),
        share,
        _colour(runs),
        tooltip=["run:N", alt.Tooltip("i:Q", title="direction"), alt.Tooltip("v:Q", format=".4g")],
    )
    rule = alt.Chart(alt.InlineData([{"v": DIRECTION_TOLERANCE}]))
    level = rule.mark_rule(strokeDash=[2, 3], color=INK).encode(share)
    return _finished(alt.layer(lines, level), at_epoch=True)


def _share(smallest: float) -> alt.Y:
    """The axis of parts of the largest singular value, in powers of ten."""
    lowest = math.floor(math.log10(smallest))
    return alt.Y(
        "v:Q",
        title="part of the largest",
        scale=alt.Scale(type="log", domain=[10.0**lowest, 1.2], nice=False, clamp=True),
        axis=alt.Axis(values=[10.0**power for power in range(lowest, 1)], format=".0e"),
    )


def class_means(run: FinishedRun) -> tuple[dict[str, Any], str]:
    """The class means of the first seed at an epoch, and what is shown of them.

    In three dimensions for four classes, turned by the parameter `turn`, otherwise in the plane:
    all there is where the embeddings have no more dimensions, or else the part in the principal
    directions of the last class means.
    """
    last = run.means[-1][1][0].astype(float)
    classes = len(last)
    dims = min(3 if classes == 4 else 2, last.shape[1])
    flat = last.shape[1] <= dims
    basis = np.eye(last.shape[1]) if flat else np.linalg.svd(last, full_matrices=False)[2][:dims].T
    own = run.experiment.own
    labels = list(range(classes)) if own is None else list(own.class_names)
    axes, rows, edges = "xyz"[: 3 if dims == 3 else 2], [], []
    by_epoch = dict(run.means)
    for epoch, start, end in _frames([epoch for epoch, _ in run.means]):
        points = np.zeros((classes, 3))
        points[:, :dims] = by_epoch[epoch][0] @ basis
        places = {axis: _short(points[:, i]) for i, axis in enumerate(axes)}
        rows.append(_row(run, start, end, label=labels, **places))
        if classes <= 4:
            ends = [(i, j) for i in range(classes) for j in range(i)]
            from_, to = ([pair[side] for pair in ends] for side in (0, 1))
            sides = {axis: _short(points[from_, k]) for k, axis in enumerate(axes)}
            others = {f"{axis}2": _short(points[to, k]) for k, axis in enumerate(axes)}
            edges.append(_row(run, start, end, **sides, **others))
    reach = max([1.0, *(float(np.abs(m[0] @ basis).max()) for _, m in run.means)]) * 1.08
    chart = _view(rows, edges, reach, spatial=dims == 3, labelled=classes <= 20)
    if flat:
        return chart, f"All of {counted(last.shape[1], 'dimension')} of the embeddings."
    share = float(np.sum((last @ basis) ** 2) / max(np.sum(last**2), 1e-30))
    return chart, (
        f"The part of the class means in the {dims} principal directions of the last ones, which "
        f"has {100 * share:.0f} % of their squared norm."
    )


def _view(
    rows: list[dict[str, Any]],
    edges: list[dict[str, Any]],
    reach: float,
    *,
    spatial: bool,
    labelled: bool,
) -> dict[str, Any]:
    """Points, what joins them, and the unit circle."""
    angles = np.linspace(0, 2 * math.pi, 73)
    circle = [{"px": math.cos(a), "py": math.sin(a), "order": i} for i, a in enumerate(angles)]
    x = alt.X("px:Q", title=None, scale=alt.Scale(domain=[-reach, reach]))
    y = alt.Y("py:Q", title=None, scale=alt.Scale(domain=[-reach, reach]))
    ring = alt.Chart(alt.InlineData(circle)).mark_line(color=FAINT).encode(x, y, order="order:Q")
    axes = "xyz" if spatial else "xy"
    fields: list[Any] = [*axes, "label"]
    points = _placed(_at_epoch(rows).transform_flatten(fields), ("",), spatial)
    legend = alt.Legend(title=None, orient="bottom", columns=4) if labelled else None
    colour = alt.Color("label:N", legend=legend, scale=alt.Scale(scheme="tableau20"))
    tooltip = [alt.Tooltip("label:N", title="class")]
    layers = [ring, points.mark_circle(size=70).encode(x, y, colour, tooltip=tooltip)]
    if edges:
        both: list[Any] = [f"{axis}{end}" for axis in axes for end in ("", "2")]
        joined = _placed(_at_epoch(edges).transform_flatten(both), ("", "2"), spatial)
        layers.append(joined.mark_rule(color=INK, opacity=0.5).encode(x, y, x2="px2", y2="py2"))
    if labelled:
        layers.append(points.mark_text(align="left", dx=8, color=INK).encode(x, y, text="label:N"))
    chart = alt.layer(*layers)
    if spatial:
        chart = chart.add_params(alt.param(name="turn", value=0.5))
    return _finished(chart, at_epoch=True, width=SQUARE, height=SQUARE)


def _placed(chart: alt.Chart, ends: Iterable[str], spatial: bool) -> alt.Chart:
    """Where points stand in the plane: turned about the upright axis, and seen from above."""
    for end in ends:
        x, y, z = f"datum.x{end}", f"datum.y{end}", f"datum.z{end}"
        if not spatial:
            chart = chart.transform_calculate(**{f"px{end}": x, f"py{end}": y})
            continue
        across, depth = f"{x}*cos(turn)+{y}*sin(turn)", f"{y}*cos(turn)-{x}*sin(turn)"
        chart = chart.transform_calculate(
            **{f"px{end}": across, f"py{end}": f"0.94*{z}+0.34*({depth})"}
        )
    return chart


def _curve(
    runs: Sequence[FinishedRun], predictions: Sequence[Prediction], name: str, label: str
) -> alt.LayerChart | alt.FacetChart:
    """One metric against epochs."""
    rows = []
    for run in runs:
        for epoch in run.epochs:
            found = [r[name] for r in run.records if r["epoch"] == epoch]
            values = np.array([v for v in found if v is not None], float)
            values = 100 * values if METRICS[name].share else values
            if len(values):
                low, mean, high = _short([values.min(), values.mean(), values.max()])
                rows.append({"run": run.name, "e": epoch, "low": low, "mean": mean, "high": high})
    levels = [
        {"run": run.name, "level": level, "what": what}
        for run, prediction in zip(runs, predictions, strict=False)
        for what, level in prediction.levels.items()
    ]
    epochs = [0, max(run.epochs[-1] for run in runs)]
    base = alt.Chart(alt.InlineData(rows)).encode(
        alt.X("e:Q", title="epoch", axis=WHOLE, scale=alt.Scale(nice=False, domain=epochs)),
        _colour(runs),
    )
    several = any(len(run.experiment.seeds) > 1 for run in runs)
    band = base.mark_area(opacity=0.2).encode(alt.Y("low:Q", title=label), y2="high:Q")
    tooltip = ["run:N", alt.Tooltip("e:Q", title="epoch")]
    tooltip += [alt.Tooltip(f"{part}:Q", format=".4g") for part in ("mean", "low", "high")]
    ends = [row[end] for row in rows for end in ("low", "high")]
    scale = _scale(name, ends + [level["level"] for level in levels])
    axis = WHOLE if name == "directions" else alt.Undefined
    height = alt.Y("mean:Q", title=label, scale=scale, axis=axis)
    line = base.mark_line(point={"size": 12}).encode(height, tooltip=tooltip)
    layers = [band, line] if several else [line]
    if levels:
        rule = alt.Chart(alt.InlineData(levels)).mark_rule(strokeWidth=1.5)
        dashes = [DASHES[stroke] for stroke in STROKES.values()]
        scale = alt.Scale(domain=list(STROKES), range=dashes)
        shown = alt.StrokeDash("what:N", scale=scale, legend=None)  # the page says it in words
        tooltip = ["run:N", "what:N", alt.Tooltip("level:Q", format=".5g")]
        layers.append(
            rule.encode(alt.Y("level:Q", title=label), _colour(runs), shown, tooltip=tooltip)
        )
    return alt.layer(*layers)


def _scale(name: str, values: Sequence[float]) -> alt.Scale:
    """The axis of a metric: from 0, or of a span that does not blow up what hardly changes."""
    if name == "directions":
        return alt.Scale(domain=[0, max(values) + 0.3], nice=False)
    if name not in AWAY_FROM_0 or not values:
        return alt.Scale(zero=True)
    low, high = min(values), max(values)
    lacking = max(0.0, SPAN * max(abs(low), abs(high)) - (high - low)) / 2
    if METRICS[name].share and high + lacking > 100:
        return alt.Scale(domain=[min(low, 100 - SPAN * 100), 100], nice=False)
    return alt.Scale(domain=[low - lacking, high + lacking], nice=True)


def _colour(runs: Sequence[FinishedRun]) -> alt.Color:
    """The colour of a run, the same in all charts."""
    domain = [run.name for run in runs]
    scale = alt.Scale(domain=domain, range=[colour_of(i) for i in range(len(runs))])
    return alt.Color("run:N", legend=None, scale=scale)


def colour_of(number: int) -> str:
    """The colour of a run."""
    return COLOURS[number % len(COLOURS)]


def _frames(epochs: Sequence[int]) -> list[tuple[int, int, int]]:
    """Evaluations that are shown, the last among them, from which epoch on and before which."""
    chosen = np.unique(
        np.linspace(len(epochs) - 1, 0, min(len(epochs), FRAMES)).round().astype(int)
    )
    shown = [epochs[i] for i in chosen]
    starts = [-LARGEST_EPOCH, *shown[1:]]
    return list(zip(shown, starts, [*shown[1:], LARGEST_EPOCH], strict=True))


def _row(run: FinishedRun, start: int, end: int, **values: Any) -> dict[str, Any]:
    return {"run": run.name, "from": start, "to": end, **values}


def _at_epoch(rows: list[dict[str, Any]]) -> alt.Chart:
    """A chart of the rows that are shown at the epoch."""
    chart = alt.Chart(alt.InlineData(rows))
    return chart.transform_filter("datum.from <= epoch && epoch < datum.to")


def _short(values: Iterable[float]) -> list[float]:
    """Numbers to four digits, which are enough for a picture."""
    return [float(f"{value:.4g}") for value in values]


def _finished(
    chart: alt.LayerChart | alt.FacetChart,
    *,
    at_epoch: bool = False,
    width: int | str = "container",
    height: int = 210,
) -> dict[str, Any]:
    """A chart as JSON, with the colours of the page; "container" is as wide as there is room."""
    if at_epoch:
        chart = chart.add_params(alt.param(name="epoch", value=LARGEST_EPOCH - 1))
    return (
        chart.properties(width=width, height=height, background="transparent")
        .configure_axis(
            labelColor=INK, titleColor=INK, tickColor=FAINT, domainColor=FAINT, gridColor=FAINT
        )
        .configure_axisY(minExtent=34)
        .configure_legend(labelColor=INK, titleColor=INK)
        .configure_view(stroke=None)
        .to_dict()
    )
