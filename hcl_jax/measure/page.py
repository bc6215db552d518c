"""The folder of results: `measure.json`, `measure.html`, and the figures as SVG and PNG."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hcl_jax.measure import pictures
from hcl_jax.measure.findings import METRICS, Findings
from hcl_jax.measure.text import (
    CLASS_HEADER,
    class_cells,
    compared_metrics,
    loss_lines,
    number,
    short_names,
)
from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.json_files import json_bytes
from hcl_jax.system.pages import described, render, svg

GRAM = 256
"""Matrices of classes are written to JSON up to this many classes."""


def write_results(folder: Path, found: Sequence[Findings], *, epochs: bool) -> None:
    """Writes all files or none; the folder is there."""
    names = short_names([one.name for one in found])
    drawn = [pictures.figures_of(one) for one in found]
    together = pictures.figures_of_several(found, names, epochs=epochs) if len(found) > 1 else {}
    figures = {
        f"{name}-{kind}": figure
        for name, of_one in zip(names, drawn, strict=True)
        for kind, figure in of_one.items()
    }
    figures |= together
    inline = {name: svg(figure, f"f{i}") for i, (name, figure) in enumerate(figures.items())}
    contents = {
        folder / "measure.json": json_bytes(_json(found)),
        folder / "measure.html": _page(names, found, inline, list(together)),
    }
    for name, figure in figures.items():
        contents[folder / f"{name}.svg"] = inline[name].encode()
        contents[folder / f"{name}.png"] = pictures.png(figure)
    atomic_write(contents)


def _page(
    names: list[str], found: Sequence[Findings], inline: dict[str, str], together: list[str]
) -> bytes:
    """The page, which needs no other file and no network."""
    figures = {name: described(drawn, f"Figure: {name}") for name, drawn in inline.items()}
    sections = [
        one._asdict()
        | {
            "file": name,
            "classes": [class_cells(row) for row in one.classes],
            "evidence": [
                (e.what, e.value, e.rule, "yes" if e.met else "no") for e in one.verdict.evidence
            ],
            "numbers": [(words, number(one.metrics[key])) for key, words in METRICS.items()],
            "loss": None if one.loss is None else loss_lines(one.loss),
            "figures": [figures[f"{name}-{kind}"] for kind in ("spectrum", "gram", "angles")],
        }
        for name, one in zip(names, found, strict=True)
    ]
    return render(
        "hcl_jax.measure",
        "page.html.j2",
        title="Has the representation collapsed?",
        subtitle="hcl-measure; the terms and thresholds are in docs/measuring.md of hcl-jax",
        found=sections,
        compared=[(words, *cells) for words, cells in compared_metrics(found).items()],
        class_header=CLASS_HEADER,
        several=[figures[name] for name in together],
    )


def _json(found: Sequence[Findings]) -> dict[str, Any]:
    """All numbers; null for those that are not finite."""
    return {"files": [_json_of(one) for one in found]}


def _json_of(one: Findings) -> dict[str, Any]:
    small = len(one.names) <= GRAM
    loss = None
    if one.loss is not None:
        loss = one.loss._asdict() | {"asked": one.loss.asked._asdict(), "gap": one.loss.gap}
    return {
        "name": one.name,
        "notes": one.notes,
        "rows": one.shape[0],
        "dim": one.shape[1],
        "labels": one.names,
        "verdict": one.verdict._asdict()
        | {
            "evidence": [evidence._asdict() for evidence in one.verdict.evidence],
            "groups": [[one.names[c] for c in group] for group in one.verdict.groups],
        },
        "metrics": one.metrics,
        "spectrum": one.spectrum.tolist(),
        "classes": [row._asdict() for row in one.classes],
        "cosines": one.cosines.tolist() if small else None,
        "confusion": one.confusion.tolist() if small else None,
        "angles": {name: part.tolist() for name, part in one.angles._asdict().items()},
        "sample": one.sample,
        "objective": loss,
    }
