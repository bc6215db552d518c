"""All that is known of one representation: its metrics, classes, spectrum, angles and verdict."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hcl_jax import geometry
from hcl_jax.geometry import StreamedGeometry
from hcl_jax.measure.choosing import Source
from hcl_jax.measure.objective import Asked, LossFindings, batches_of, loss_findings
from hcl_jax.measure.passes import Totals, first_pass, second_pass
from hcl_jax.measure.verdict import Verdict, shape_of, verdict_of
from hcl_jax.normalization import Normalization
from hcl_jax.precision import norms, unit_vectors

SAMPLE = 4096
"""The most rows of which all pairs are compared, for the uniformity and the angles of rows."""

BINS = 60
"""Of the histograms of angles, from 0 to 180 degrees."""

BLOCK = 256
"""Rows that are compared with all others at once."""

METRICS = {
    "zero_sum": "norm of the mean of class means",
    "unit_norm": "deviation of norms of class means from 1",
    "equal_inner_product": "deviation of cosines of class means from -1/(C-1)",
    "within_class": "distance of rows to their class mean",
    "nc1": "NC1, variability",
    "nc2_equinorm": "NC2, variation of norms of centred means",
    "nc2_equiangular": "NC2, spread of cosines of centred means",
    "nc2_maximal_angle": "NC2, cosines of centred means from -1/(C-1)",
    "etf_distance": "distance to the nearest simplex ETF",
    "directions": "directions of class means",
    "effective_rank": "effective rank",
    "alignment": "alignment",
    "uniformity": "uniformity",
    "cdnv": "class-distance normalised variance",
    "top1": "accuracy of inner products with class means",
    "nearest_mean": "accuracy of the nearest class mean",
}
"""The metrics, with words for each."""


class ClassRow(NamedTuple):
    """One class.

    Attributes:
        name: its label.
        size: the number of its rows.
        norm: the norm of its mean.
        row_norm: the mean norm of its rows.
        distance: the mean distance of its rows to its mean.
        spread: the root mean square of the same.
        nearest: the class with the nearest mean.
        nearest_distance: how near.
        recall: the part of its rows that is nearest to its own mean.
        taken_for: the class that most of the others are nearest to; None if there are none.
        taken: their part of its rows.
    """

    name: str
    size: int
    norm: float
    row_norm: float
    distance: float
    spread: float
    nearest: str
    nearest_distance: float
    recall: float
    taken_for: str | None
    taken: float


class Angles(NamedTuple):
    """Histograms of angles about the origin, as parts, over `BINS` from 0 to 180 degrees."""

    means: Float[np.ndarray, " bins"]
    within: Float[np.ndarray, " bins"]
    between: Float[np.ndarray, " bins"]


class Findings(NamedTuple):
    """One representation, measured.

    Attributes:
        name: of the file.
        notes: what was taken for what.
        shape: rows that count, dimension.
        names: the labels of the classes.
        metrics: the numbers of `METRICS`, NaN where there is none.
        spectrum: singular values of the covariance of the class means.
        means: the class means.
        classes: a row for each class.
        confusion: members of a class (row) that are nearest to the mean of a class (column).
        cosines: the cosines of class means, 0 for a mean that is zero.
        angles: histograms.
        sample: how many rows uniformity and angles of rows are of.
        verdict: the collapse.
        loss: of the objective, if one was asked for.
    """

    name: str
    notes: tuple[str, ...]
    shape: tuple[int, int]
    names: tuple[str, ...]
    metrics: dict[str, float]
    spectrum: Float[np.ndarray, " singular"]
    means: Float[np.ndarray, "classes dim"]
    classes: tuple[ClassRow, ...]
    confusion: Int[np.ndarray, "classes classes"]
    cosines: Float[np.ndarray, "classes classes"]
    angles: Angles
    sample: int
    verdict: Verdict
    loss: LossFindings | None


def measure(source: Source, normalize: Normalization, asked: Asked | None, seed: int) -> Findings:
    """Everything, in two passes over the file, under JAX's 64 bits."""
    labels, names, sizes = source.classes
    usable = np.flatnonzero(labels >= 0)
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(usable, min(SAMPLE, len(usable)), replace=False))
    batches = (
        np.zeros((0, 0), np.int64) if asked is None else batches_of(asked, labels, sizes, seed)
    )
    wanted = np.unique(np.concatenate([sample, batches.ravel()]))
    streamed, kept = first_pass(source, normalize, wanted)
    totals = second_pass(source, normalize, streamed.means)
    rows = kept[np.searchsorted(wanted, sample)]
    means, spectrum = np.asarray(streamed.means), np.asarray(streamed.spectrum)
    metrics = _metrics(streamed, totals, rows)
    shape = shape_of(means, np.asarray(streamed.spreads), sizes, metrics)
    loss = None
    if asked is not None:
        of_batches = (kept[np.searchsorted(wanted, batch)] for batch in batches)
        loss = loss_findings(asked, of_batches, means, unused=shape.room - shape.directions)
    unit = _unit(means)
    return Findings(
        name=source.name,
        notes=source.notes,
        shape=(len(usable), means.shape[1]),
        names=names,
        metrics=metrics,
        spectrum=spectrum,
        means=means,
        classes=_class_rows(names, streamed, totals),
        confusion=np.asarray(totals.confusion),
        cosines=unit @ unit.T,
        angles=_angles(unit, _unit(rows), labels[sample]),
        sample=len(sample),
        verdict=verdict_of(shape, means, names),
        loss=loss,
    )


def _metrics(
    streamed: StreamedGeometry, totals: Totals, rows: Float[np.ndarray, "sample dim"]
) -> dict[str, float]:
    count = float(np.sum(streamed.sizes))
    found = {name: float(getattr(streamed, name)) for name in METRICS if name in streamed._fields}
    found["within_class"] = float(np.mean(totals.distances / streamed.sizes))
    found["uniformity"] = float(geometry.uniformity(jnp.asarray(rows)))
    found["top1"] = float(totals.hits) / count
    found["nearest_mean"] = float(np.trace(totals.confusion)) / count
    return {name: found[name] for name in METRICS}


def _class_rows(
    names: tuple[str, ...], streamed: StreamedGeometry, totals: Totals
) -> tuple[ClassRow, ...]:
    sizes, lengths = np.asarray(streamed.sizes), norms(streamed.means)
    confusion = np.asarray(totals.confusion)
    rows = []
    for c, name in enumerate(names):
        distances = np.array(norms(streamed.means - streamed.means[c]))
        distances[c] = math.inf
        nearest = int(distances.argmin())
        others = confusion[c].copy()
        others[c] = 0
        taken = int(others.argmax())
        rows.append(
            ClassRow(
                name=name,
                size=int(sizes[c]),
                norm=float(lengths[c]),
                row_norm=float(totals.norms[c] / sizes[c]),
                distance=float(totals.distances[c] / sizes[c]),
                spread=float(streamed.spreads[c]),
                nearest=names[nearest],
                nearest_distance=float(distances[nearest]),
                recall=float(confusion[c, c] / sizes[c]),
                taken_for=names[taken] if others[taken] else None,
                taken=float(others[taken] / sizes[c]),
            )
        )
    return tuple(rows)


def _unit(vectors: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    return np.asarray(unit_vectors(jnp.asarray(vectors)))


def _angles(
    means: Float[np.ndarray, "classes dim"],
    rows: Float[np.ndarray, "sample dim"],
    labels: Int[np.ndarray, " sample"],
) -> Angles:
    """Histograms of the angles of unit vectors; of rows by pairs of one class and of two."""
    edges = np.linspace(0, 180, BINS + 1)
    within, between = np.zeros(BINS), np.zeros(BINS)

    def counts(cosines: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " bins"]:
        angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
        return np.histogram(angles, edges)[0].astype(float)

    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        cosines = rows[block] @ rows[start:].T
        pairs = np.triu(np.ones(cosines.shape, bool), 1)
        same = labels[block, None] == labels[None, start:]
        within += counts(cosines[pairs & same])
        between += counts(cosines[pairs & ~same])
    upper = np.triu_indices(len(means), 1)
    parts = (counts((means @ means.T)[upper]), within, between)
    return Angles(*(part / max(part.sum(), 1) for part in parts))
