"""The collapse of a representation in words, with its evidence; `docs/measuring.md` has the rules.

Lengths are compared with lengths of the same representation, so that no verdict depends on the unit
of length or on where the origin is.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hcl_jax.geometry import DIRECTION_TOLERANCE
from hcl_jax.system.counting import counted

POINT = 1e-3
"""All rows are one point if their distance from the centre is below this part of their norm."""

WIDTH = 0.1
"""Classes are points if their width is at most this part of the distance of class means."""

ANGLE = 0.05
"""Class means have the angles of a simplex ETF if cosines differ from it by no more, on average."""

EVENNESS = 0.1
"""Class means are equally far from their centre if distances vary by at most this part."""

SHARED = 0.95
"""Classes share a direction if the cosine of their centred means is at least this."""


class Evidence(NamedTuple):
    """One number that the verdict rests on, beside its threshold.

    Attributes:
        what: what was measured.
        value: the number, as it is shown.
        rule: the threshold, in words.
        met: whether the number meets it.
    """

    what: str
    value: str
    rule: str
    met: bool


class Verdict(NamedTuple):
    """What has collapsed.

    Attributes:
        kind: "complete collapse", "neural collapse", "dimensional collapse", "class collapse" or
            "no collapse".
        words: the same in a sentence or two.
        evidence: the numbers.
        groups: classes that share a direction, by their numbers.
        cautions: what the numbers may hide.
    """

    kind: str
    words: str
    evidence: tuple[Evidence, ...]
    groups: tuple[tuple[int, ...], ...]
    cautions: tuple[str, ...]


class Shape(NamedTuple):
    """The numbers of which the verdict is made.

    Attributes:
        point: the distance of rows from their centre, over their norm.
        width: the width of classes over the distance of class means from their centre.
        directions: the directions that class means span.
        room: the most that there may be, ``min(C - 1, dim)``.
        angle: the mean deviation of cosines of centred class means from those of the ETF.
        evenness: the coefficient of variation of the norms of centred class means.
        weakest: the part of the largest singular value that the weakest direction has which counts.
        sampling: the part of it up to which sampling alone makes a direction of the means.
        alone: how many classes have a single row.
    """

    point: float
    width: float
    directions: int
    room: int
    angle: float
    evenness: float
    weakest: float
    sampling: float
    alone: int = 0


def shape_of(
    means: Float[np.ndarray, "classes dim"],
    spreads: Float[np.ndarray, " classes"],
    sizes: Int[np.ndarray, " classes"],
    metrics: dict[str, float],
) -> Shape:
    """The numbers of the verdict, from those that were measured."""
    count, dim = means.shape
    scale = max(np.abs(means).max(), spreads.max()) or 1.0  # no square leaves the range
    means, spreads = means / scale, spreads / scale
    centred = means - means.mean(axis=0)
    between = float(np.mean(np.square(centred).sum(axis=1)))
    within = float(np.mean(np.square(spreads)))
    length = float(np.mean(np.square(means).sum(axis=1))) + within
    directions = int(metrics["directions"])
    spectrum = np.linalg.svd(centred, compute_uv=False) ** 2 / (count - 1)
    # The largest singular value of Gaussian means: Davidson and Szarek (2001), Theorem II.13.
    edge = (1 + math.sqrt(dim / (count - 1))) ** 2
    sampling = edge * float(np.mean(np.square(spreads) / sizes)) / dim
    return Shape(
        point=math.sqrt((between + within) / length) if length else 0.0,
        width=math.sqrt(within / between) if between else math.inf,
        directions=directions,
        room=min(count - 1, dim),
        angle=metrics["nc2_maximal_angle"],
        evenness=metrics["nc2_equinorm"],
        weakest=float(spectrum[directions - 1] / spectrum[0]) if directions else math.inf,
        sampling=sampling / float(spectrum[0]) if directions else 0.0,
        alone=int((sizes == 1).sum()),
    )


def verdict_of(
    shape: Shape, means: Float[np.ndarray, "classes dim"], names: tuple[str, ...]
) -> Verdict:
    """The verdict, by the rules of `docs/measuring.md`, the first that holds."""
    count, dim = means.shape
    groups = shared_directions(means) if shape.directions < shape.room else ()
    points, full = shape.width <= WIDTH, shape.directions == shape.room
    frame = shape.angle <= ANGLE and shape.evenness <= EVENNESS and dim >= count - 1
    spanned = f"the class means span {shape.directions} of {counted(shape.room, 'direction')}"
    if shape.point <= POINT:
        kind, words = "complete collapse", "All rows are nearly one point."
    elif points and full and frame:
        kind = "neural collapse"
        words = "Every class is nearly one point, and the class means form a simplex ETF."
    elif not full:
        kind = "dimensional collapse"
        words = f"{spanned[0].upper()}{spanned[1:]}{_shared_words(groups, names)}."
        words += " Every class is nearly one point." if points else ""
    elif points:
        kind = "class collapse"
        words = f"Every class is nearly one point; {spanned}, but form no simplex ETF."
    else:
        kind = "no collapse"
        words = f"Classes have a width, and {spanned}."
    return Verdict(kind, words, _evidence(shape), groups, _cautions(shape, count, dim))


def shared_directions(
    means: Float[np.ndarray, "classes dim"],
) -> tuple[tuple[int, ...], ...]:
    """Groups of two or more classes, of which each has the direction of another of the group."""
    centred = means - means.mean(axis=0)
    centred = centred / (np.abs(centred).max() or 1.0)  # no square leaves the range
    lengths = np.linalg.norm(centred, axis=1)
    unit = centred / np.where(lengths > POINT * lengths.max(), lengths, np.inf)[:, None]
    near = unit @ unit.T >= SHARED
    left, groups = set(range(len(means))), []
    while left:
        group, fresh = set(), {min(left)}
        while fresh:
            group |= fresh
            fresh = set(np.flatnonzero(near[sorted(fresh)].any(axis=0)).tolist()) - group
        left -= group
        if len(group) > 1:
            groups.append(tuple(sorted(group)))
    return tuple(groups)


def _shared_words(groups: tuple[tuple[int, ...], ...], names: tuple[str, ...]) -> str:
    if not groups:
        return "; no two classes share one"
    shown = [
        f"{', '.join(names[c] for c in group[:8])}{', ..' if len(group) > 8 else ''}"
        for group in groups[:8]
    ]
    return f"; classes that share one: {'; '.join(shown)}{'; ..' if len(groups) > 8 else ''}"


def _evidence(shape: Shape) -> tuple[Evidence, ...]:
    """The numbers, in the order in which the rules ask for them."""
    return (
        Evidence(
            "distance of rows from their centre / their norm",
            f"{shape.point:.3g}",
            f"one point: at most {POINT:g}",
            shape.point <= POINT,
        ),
        Evidence(
            "width of classes / distance of class means from their centre",
            f"{shape.width:.3g}",
            f"classes are points: at most {WIDTH:g}",
            shape.width <= WIDTH,
        ),
        Evidence(
            "directions of the class means",
            f"{shape.directions} of {shape.room}",
            f"collapsed: fewer than {shape.room} above {DIRECTION_TOLERANCE:g} of the largest",
            shape.directions < shape.room,
        ),
        Evidence(
            "cosines of centred class means, deviation from the ETF",
            f"{shape.angle:.3g}",
            f"ETF: at most {ANGLE:g}",
            shape.angle <= ANGLE,
        ),
        Evidence(
            "variation of the norms of centred class means",
            f"{shape.evenness:.3g}",
            f"ETF: at most {EVENNESS:g}",
            shape.evenness <= EVENNESS,
        ),
    )


def _cautions(shape: Shape, count: int, dim: int) -> tuple[str, ...]:
    found = []
    if dim < count - 1:
        found.append(
            f"In {counted(dim, 'dimension')} there is no room for a simplex ETF of {count} "
            f"classes, which needs {count - 1}."
        )
    if shape.alone:
        found.append(f"{shape.alone} of {count} classes have one row, which shows no width.")
    if shape.weakest <= shape.sampling:
        found.append(
            f"The weakest direction that counts may be chance: it has {shape.weakest:.2g} of the "
            f"largest, and means of so few rows of such wide classes reach {shape.sampling:.2g} in "
            "a direction that has collapsed."
        )
    return tuple(found)
