"""The paper's picture in miniature: four losses, three normalisations, free features, no network.

Adam from spread-out random starts reaches neural collapse (NC) under the unit ball and the unit
sphere, sooner with hard negatives for SCL; without normalisation it does not. Plain gradient
descent from starts near a three-dimensional subspace shows dimensional collapse: without hard
negatives it stays there for long.
"""

from collections import Counter
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from hcl_jax import geometry
from hcl_jax.normalization import unit_ball, unit_sphere, unnormalized
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict
from theory.free_features.trajectories import Run, Trajectory, train

CLASSES = 10
POINTS = 2
BETA = 2.0
STEPS = 1500
EVERY = 5
AT_NC = 1e-2
SEED = 1

NORMALIZATIONS = {"unit ball": unit_ball, "unit sphere": unit_sphere, "none": unnormalized}
LOSSES = {
    "SCL": (True, 0.0),
    "HSCL": (True, BETA),
    "UCL": (False, 0.0),
    "HUCL": (False, BETA),
}


class Start(NamedTuple):
    """How a run begins and moves."""

    name: str
    thickness: float
    optimizer: optax.GradientTransformation


SPREAD = Start("random start, Adam", 1.0, optax.adam(0.01))
THIN = Start("start near 3 dimensions, gradient descent", 1e-3, optax.sgd(0.5))


@cache
def path_of(loss: str, normalization: str, start: Start, *, steps: int = STEPS) -> Trajectory:
    """One run of the picture, in float64.

    Args:
        loss: "SCL", "HSCL", "UCL" or "HUCL".
        normalization: "unit ball", "unit sphere" or "none".
        start: `SPREAD` or `THIN`.
        steps: how many.

    Returns:
        The trajectory.

    Example:
        >>> path_of("HSCL", "unit ball", SPREAD, steps=300).first_step_below(0.01) is not None
        True
    """
    supervised, beta = LOSSES[loss]
    run = Run(
        CLASSES,
        POINTS,
        supervised,
        beta,
        normalization=NORMALIZATIONS[normalization],
        thickness=start.thickness,
    )
    with jax.enable_x64(True):
        return train(jax.random.key(SEED), run, start.optimizer, steps=steps, every=EVERY)


def picture_rows(effort: Effort) -> list[list[str]]:
    """A row for every start, normalisation and loss: when NC is reached, and where it ends."""
    rows = []
    for start in (SPREAD, THIN)[: effort.choose(1, 2, 2)]:
        count = effort.choose(1, 3 if start is SPREAD else 1, 3)
        for normalization in list(NORMALIZATIONS)[:count]:
            for loss in LOSSES:
                path = path_of(loss, normalization, start)
                rows.append([start.name, normalization, loss, *_describe(path)])
    return rows


def measure_collapse(effort: Effort) -> Measurement:
    """Runs the losses from a random start, normalised."""
    losses = ("HSCL", "SCL", "UCL", "HUCL")[: effort.choose(1, 4, 4)]
    return _measure(("unit ball", "unit sphere")[: effort.choose(1, 2, 2)], losses)


def measure_unnormalized(effort: Effort) -> Measurement:
    """The same without normalisation."""
    return _measure(("none",), ("HSCL", "SCL", "UCL", "HUCL")[: effort.choose(1, 2, 4)])


def _measure(normalizations, losses):
    verdicts, details = Counter(), {}
    for normalization in normalizations:
        for loss in losses:
            path = path_of(loss, normalization, SPREAD)
            first = path.first_step_below(AT_NC)
            verdicts[Verdict.VIOLATED if first is None else Verdict.EQUAL] += 1
            details[f"{loss}, {normalization}: step at NC"] = "never" if first is None else first
    return Measurement(verdicts, verdicts.total(), seed=SEED, details=details)


def _describe(path):
    with jax.enable_x64(True):
        labels = jnp.repeat(jnp.arange(CLASSES), POINTS)
        found = geometry.measure(jnp.asarray(path.features), labels, CLASSES)
    first = path.first_step_below(AT_NC)
    numbers = (found.zero_sum, found.unit_norm, found.equal_inner_product, found.within_class)
    when = "never" if first is None else str(first)
    return [when, *(f"{float(number):.4f}" for number in numbers), f"{int(found.directions)}"]


HEADER = ["start", "normalisation", "loss", "step at NC", "zero sum", "unit norm"]
HEADER += ["equal inner product", "within class", "directions"]

TABLES = (
    (
        f"Free features, C = {CLASSES}, d = {CLASSES - 1}, beta = {BETA:g}, detached weights",
        "Observed, one run each of SCL, UCL and their hardened forms without a network. Step at "
        f"NC is the first with a relative distance to NC below {AT_NC:g}; the next "
        "four numbers are the distances of the end from the parts of NC, directions how many "
        "principal directions are in use.",
        True,
        HEADER,
        picture_rows,
    ),
)

CLAIMS = (
    Claim(
        name="training reaches neural collapse",
        statement="Adam on free features reaches NC with SCL, HSCL, UCL and (detached) HUCL",
        reference="arXiv 2311.05139, experiments, in miniature",
        hypotheses="unit ball or unit sphere, C = 10, d = 9, two points a class, beta = 2",
        evidence=Evidence.OBSERVED,
        measure=measure_collapse,
        controls=(Control("no normalisation", "norm at most one", measure_unnormalized),),
    ),
)
