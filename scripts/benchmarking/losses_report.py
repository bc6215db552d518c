"""The report of `scripts.benchmark_losses`: tables of times, memory and targets, and a figure."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from scripts.benchmarking.results import (
    Results,
    medians,
    memory_cells,
    origin_line,
    others_sentence,
    quartiles,
)
from scripts.benchmarking.targets import gate_table, loss_gate_results
from scripts.runs import markdown


def report(results: Results) -> str:
    """A Markdown page with the tables."""
    lines = [
        "# The loss, forward and backward",
        "",
        origin_line(results),
        "Milliseconds: median [quartiles]. `*`: extrapolated from some anchors of the loop. "
        "Temporaries as XLA plans them; peak: resident memory of one call beyond that before it.",
    ]
    if any("compilation" in c for shape in results["shapes"] for c in shape["contenders"]):
        lines[-1] += " Tracing and compiling: processor seconds of all threads."
    for shape in results["shapes"]:
        lines += _shape_table(shape)
    times = {shape["rows"]: medians(shape["contenders"]) for shape in results["shapes"]}
    compared = loss_gate_results(times, results["settings"]["draws"])
    lines += ["", "## Targets", "", *gate_table(compared)]
    return "\n".join(lines) + "\n"


def _shape_table(shape: Mapping[str, Any]) -> list[str]:
    others = others_sentence(shape["others"])
    noise = f"Noisy rounds: {shape['noisy_rounds']} of {shape['rounds']}.{others}"
    lines = ["", f"## {shape['rows']} rows, {shape['dim']} features", "", noise, ""]
    rows = []
    for c in sorted(shape["contenders"], key=lambda c: np.median(c["seconds"])):
        star = "*" if c["extrapolated_by"] > 1 else ""
        star += " (1 run)" if len(c["seconds"]) == 1 else ""
        cells = [c["name"], quartiles(c["seconds"], mark=star), *memory_cells(c)]
        rows.append([*cells, *_compilation_cells(c)])
    header = ["contender", "ms", "temporaries, MiB", "peak, MiB"]
    if len(rows[0]) > len(header):
        header += ["tracing, s", "compiling, s", "HLO instructions"]
    return lines + markdown.table(header, rows)


def _compilation_cells(contender: Mapping[str, Any]) -> list[str]:
    """Three cells, empty where JAX compiled nothing; none of results that lack them all."""
    if "compilation" not in contender:
        return []
    found = contender["compilation"]
    if found is None:
        return [""] * 3
    times = [f"{found[name]:.2f}" for name in ("tracing", "compiling")]
    return [*times, str(found["instructions"])]


def figure(results: Results) -> bytes:
    """Time and memory against the batch size, both axes logarithmic, as a PNG file."""
    import matplotlib.pyplot as plt

    series: dict[str, list[tuple[int, float, float | None]]] = {}
    for shape in results["shapes"]:
        for c in shape["contenders"]:
            point = (shape["rows"], 1e3 * float(np.median(c["seconds"])), c["peak"])
            series.setdefault(c["name"], []).append(point)
    canvas, (times, memory) = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
    for name, points in series.items():
        style = "-" if name.startswith("ours") else ":" if "multipl" in name else "--"
        rows = [p[0] for p in points]
        times.loglog(rows, [p[1] for p in points], style, marker="o", ms=3, label=name)
        kept = [(p[0], p[2] / 2**20) for p in points if p[2]]
        if kept:
            memory.loglog(*zip(*kept, strict=True), style, marker="o", ms=3, label=name)
    for axes, label in (
        (times, "ms, forward and backward"),
        (memory, "peak memory of one call, MiB"),
    ):
        axes.set(xlabel="rows", ylabel=label)
        axes.legend(fontsize=6)
        axes.grid(alpha=0.3, which="both")
    image = io.BytesIO()
    canvas.savefig(image, format="png", dpi=150)
    plt.close(canvas)
    return image.getvalue()
