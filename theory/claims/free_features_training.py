"""Training of free features: four losses, three normalisations, no network.

Adam from spread-out random starts reaches neural collapse (NC) under the unit ball and the unit
sphere, sooner with hard negatives for SCL; without normalisation it does not. Plain gradient
descent from starts near a three-dimensional subspace shows dimensional collapse: without hard
negatives it stays there for long.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import jax
import optax

from hcl_jax.normalization import unit_ball, unit_sphere, unnormalized
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally
from theory.free_features.trajectories import Run, Trajectory, train

CLASSES = 10
POINTS = 2
BETA = 2.0
STEPS = 1500
EVERY = 5
AT_NC = 1e-2
"""Class means this near to a simplex ETF (relative Frobenius distance) count as neural collapse."""
SEED = 1

NORMALIZATIONS = {"unit ball": unit_ball, "unit sphere": unit_sphere, "none": unnormalized}
LOSSES = {
    "SCL": (True, 0.0),
    "HSCL": (True, BETA),
    "UCL": (False, 0.0),
    "HUCL": (False, BETA),
}


class Start(NamedTuple):
    """How a run begins and moves.

    Attributes:
        name: of start and optimiser, for the report.
        thickness: see `theory.free_features.trajectories.Run`.
        optimizer: what moves the features.
    """

    name: str
    thickness: float
    optimizer: optax.GradientTransformation


SPREAD = Start("random start, Adam", 1.0, optax.adam(0.01))
NEARLY_FLAT = Start("start near 3 dimensions, gradient descent", 1e-3, optax.sgd(0.5))


@cache
def trajectory(loss: str, normalization: str, start: Start, *, steps: int = STEPS) -> Trajectory:
    """One run in float64, of a loss of `LOSSES` under one of `NORMALIZATIONS`; remembered."""
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


def normalized_training(effort: Effort) -> Measurement:
    """Runs the losses from a random start, in the unit ball and on the unit sphere."""
    losses = ("HSCL", "SCL", "UCL", "HUCL")[: effort.choose(1, 4, 4)]
    return _observe_collapse(("unit ball", "unit sphere")[: effort.choose(1, 2, 2)], losses)


def unnormalized_training(effort: Effort) -> Measurement:
    """The same without normalisation."""
    return _observe_collapse(("none",), ("HSCL", "SCL", "UCL", "HUCL")[: effort.choose(1, 2, 4)])


def _observe_collapse(normalizations: Sequence[str], losses: Sequence[str]) -> Measurement:
    """Observes whether each run comes to NC, and when."""
    tally, details = Tally(seed=SEED), {}
    for normalization in normalizations:
        for loss in losses:
            first = trajectory(loss, normalization, SPREAD).first_step_below(AT_NC)
            tally.observe(first is not None)
            tally.models += 1
            details[f"{loss}, {normalization}: step at NC"] = "never" if first is None else first
    return tally.measurement(**details)


CLAIMS = (
    Claim(
        name="training reaches neural collapse",
        statement="Adam on free features reaches NC with SCL, HSCL, UCL and (detached) HUCL",
        reference="docs/hucl_optimum.md, section 7",
        hypotheses=r"unit ball or unit sphere, $C = 10$, $d = 9$, two points a class, "
        r"$\beta = 2$ (quick runs: HSCL in the unit ball)",
        evidence=Evidence.OBSERVED,
        measure=normalized_training,
        controls=(Control("no normalisation", "norm at most one", unnormalized_training),),
    ),
)
