"""The page of a report: one HTML file that needs no other and no network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vl_convert
from markupsafe import Markup

from hcl_jax.geometry import DIRECTION_TOLERANCE
from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.json_files import json_text
from hcl_jax.system.pages import render
from scripts.experiments.paper import paper_values
from scripts.run_report import charts
from scripts.run_report.grams import gram_frames, simplex_gram
from scripts.run_report.predictions import predict
from scripts.run_report.reading import FinishedRun, read_runs
from scripts.run_report.trained import configuration
from scripts.runs.metrics import COLUMNS, METRICS
from scripts.runs.tables import geometry_rows

MOST_NAMED = 20
"""So many classes are named beside a matrix of them."""


def write_report(file: Path, paths: Sequence[Path]) -> None:
    """Writes the report of finished runs of one data set.

    Raises:
        RunDirectoryError: for a directory without a finished run, and for damaged files.
        RefusedError: for runs that do not belong into one report.
    """
    atomic_write({file: _page(read_runs(paths))})


def _page(runs: Sequence[FinishedRun]) -> bytes:
    predictions = [predict(run.experiment, run.sizes) for run in runs]
    specs = {f"curve-{i}": s for i, s in enumerate(charts.curves(runs, predictions).values())}
    specs["spectra"] = charts.spectra(runs)
    frames, shown = {}, []
    for number, run in enumerate(runs):
        words = None
        if run.means:
            specs[f"means-{number}"], words = charts.class_means(run)
            frames[f"gram-{number}"] = gram_frames(run)
        shown.append((run, predictions[number], words))
    header, rows = geometry_rows(
        [(run.name, run.results) for run in runs],
        {run.name: values for run in runs if (values := paper_values(run.experiment)) is not None},
    )
    return render(
        "scripts.run_report",
        "report.html.j2",
        title=f"{', '.join(run.name for run in runs[:3])}{' …' if len(runs) > 3 else ''} on "
        f"{runs[0].experiment.data_label}",
        runs=shown,
        panels=[metric.label for metric in METRICS.values()],
        vanishing=[COLUMNS[name] for name in COLUMNS if METRICS[name].vanishes],
        epochs=sorted({epoch for run in runs for epoch in run.epochs}),
        results=(header, rows),
        strokes=charts.STROKES,
        tolerance=DIRECTION_TOLERANCE,
        classes=_class_names(runs[0]),
        names=[run.name for run in runs],
        colours=[charts.colour_of(number) for number in range(len(runs))],
        shared=configuration(runs, shared=True),
        differing=configuration(runs, shared=False),
        environment=_environment(runs[0]),
        simplex=simplex_gram(runs[0].experiment.defaults.num_classes),
        spatial=runs[0].experiment.defaults.num_classes == 4,
        bundle=_program(),
        specs=_data(specs),
        frames=_data(frames),
    )


def _data(value: Any) -> Markup:
    """JSON that may stand in a script element, which only its own end closes."""
    return Markup(json_text(value).replace("<", "\\u003c"))


def _program() -> Markup:
    """Vega, Vega-Lite and vegaEmbed as text of a script element."""
    text = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # which has a default
    return Markup(text.replace("</script", "<\\/script"))


def _class_names(run: FinishedRun) -> list[str]:
    """What stands beside a matrix of classes: none beside one of many."""
    own, count = run.experiment.own, run.experiment.defaults.num_classes
    if count > MOST_NAMED:
        return []
    return [str(c) for c in range(count)] if own is None else list(own.class_names)


def _environment(run: FinishedRun) -> str:
    """Versions, commit and machine of the first run."""
    found: dict[str, Any] = {**run.environment, **run.environment.get("versions", {})}
    return ", ".join(f"{name} {v}" for name, v in found.items() if isinstance(v, str | int))
