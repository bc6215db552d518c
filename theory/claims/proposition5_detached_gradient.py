"""Full and detached gradient of the tilt, side by side, in the shipped loss.

HUCL weighs negatives by ``e^{beta t}``. Code that treats the weights as constants to
differentiation follows another vector field than the gradient: on a shrunk simplex ETF with gap
delta it moves along

    -p psi'(-delta)   (k = 1),     -p e^{-delta} / (2 - p + p e^{-delta})   (k = infinity),

which always expands the frame, past the minimiser delta* of the loss to neural collapse (NC). The
full gradient changes its sign at delta*.
"""

import math
from collections import Counter
from functools import cache

import jax
import numpy as np
import optax
from flint import arb

from hcl_jax import geometry
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict
from theory.free_features.trajectories import Run, Trajectory, train, whole_batch_loss
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.profile import ProfileParameters, limit_minimum, taylor

ROUNDING = 1e-13
"""Agreement asked of the shipped derivative and the formula: some hundred roundings of float64."""

AT_NC = 1e-2
"""Class means this near to a simplex ETF (relative Frobenius distance) count as neural collapse."""

AT_MINIMUM = 0.02
"""The share of the way from NC to the minimum that a run may miss: there are local minima."""

STEPS = 800
EVERY = 25
SEED = 3


def radial_slope(num_classes: int, beta: float, delta: float, *, stop_gradient: bool) -> float:
    """The derivative in delta that the shipped loss reports at a shrunk simplex ETF.

    Args:
        num_classes: C.
        beta: the hardness.
        delta: the gap of the frame, positive.
        stop_gradient: the gradient convention.

    Returns:
        ``dL / d delta``, by differentiating along the scale of all features.

    Example:
        >>> import jax
        >>> with jax.enable_x64(True):
        ...     detached = radial_slope(4, 5.0, 1.0, stop_gradient=True)
        ...     full = radial_slope(4, 5.0, 1.0, stop_gradient=False)
        >>> detached < 0 < full
        True
    """
    gap = num_classes / (num_classes - 1)
    scale = math.sqrt(delta / gap)
    slope = _slope_in_scale(num_classes, stop_gradient)(beta, scale)
    return float(slope) / (2 * scale * gap)


@cache
def _slope_in_scale(num_classes, stop_gradient):
    def loss(beta, scale):
        frame = geometry.simplex_etf(num_classes, num_classes - 1)
        run = Run(num_classes, beta=beta, stop_gradient=stop_gradient)
        return whole_batch_loss(scale * frame, run)

    return jax.jit(jax.grad(loss, argnums=1))


def expanding_slope(num_classes: int, beta: float, delta: float) -> float:
    """The formula for the detached slope at ``k = infinity``; negative for every delta.

    Example:
        >>> round(expanding_slope(2, 0.0, 0.0), 3)
        -0.25
    """
    p = 1 / (1 + math.exp(beta * delta) / (num_classes - 1))
    moved = p * math.exp(-delta)
    return -moved / (2 - p + moved)


@cache
def end_of_run(
    num_classes: int, beta: float, *, stop_gradient: bool, steps: int = STEPS, seed: int = SEED
) -> Trajectory:
    """Adam on the class means of HUCL in the unit ball, from a random start, in float64.

    Args:
        num_classes: C; the dimension is C - 1.
        beta: the hardness.
        stop_gradient: the gradient convention.
        steps: of Adam, with a cosine schedule from 0.02.
        seed: of the start.

    Returns:
        The trajectory.

    Example:
        >>> path = end_of_run(3, 0.1, stop_gradient=True, steps=300)
        >>> bool(path.etf_distances[-1] < 0.05)
        True
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps))
    with jax.enable_x64(True):
        run = Run(num_classes, beta=beta, stop_gradient=stop_gradient)
        return train(jax.random.key(seed), run, optimizer, steps=steps, every=EVERY)


def predicted_losses(num_classes: int, beta: float) -> tuple[float, float]:
    """The HUCL value at NC, and its minimum over the unit ball.

    Example:
        >>> [round(value, 4) for value in predicted_losses(100, 5.0)]
        [0.5615, 0.4829]
    """
    setting, hardness = ProfileParameters(num_classes, None), arb(beta)
    gap = ball(nc_gap(num_classes))
    at_nc = taylor(setting, hardness, gap, terms=1)[0]
    best = limit_minimum(setting, hardness)
    return float(at_nc), float(best.value if best.delta < gap else at_nc)


def measure_expansion(effort: Effort) -> Measurement:
    """Compares the shipped detached slope with the formula, which is negative."""
    return _slopes(effort, stop_gradient=True)


def measure_full_expansion(effort: Effort) -> Measurement:
    """The same for the full gradient, which contracts beyond delta*."""
    return _slopes(effort, stop_gradient=False)


def measure_ends(effort: Effort) -> Measurement:
    """Checks that detached runs end at NC and full runs at the minimum of Theorem 4."""
    verdicts, details = Counter(), {}
    for num_classes, beta in runs(effort):
        at_nc, least = predicted_losses(num_classes, beta)
        for stop_gradient in (True, False):
            path = end_of_run(num_classes, beta, stop_gradient=stop_gradient)
            loss, distance = float(path.losses[-1]), float(path.etf_distances[-1])
            reached = (
                distance < AT_NC if stop_gradient else loss - least < AT_MINIMUM * (at_nc - least)
            )
            verdicts[Verdict.EQUAL if reached else Verdict.VIOLATED] += 1
            name = f"C={num_classes} beta={beta:g} {'detached' if stop_gradient else 'full'}"
            details[name] = f"loss {loss:.4f} (NC {at_nc:.4f}, minimum {least:.4f}), "
            details[name] += f"distance to NC {distance:.1e}"
    return Measurement(verdicts, verdicts.total(), seed=SEED, details=details)


def measure_full_reaches_nc(effort: Effort) -> Measurement:
    """Asks the full gradient to reach NC above beta_c, which it does not."""
    verdicts = Counter()
    for num_classes, beta in runs(effort):
        path = end_of_run(num_classes, beta, stop_gradient=False)
        reached = path.etf_distances[-1] < AT_NC
        verdicts[Verdict.EQUAL if reached else Verdict.VIOLATED] += 1
    return Measurement(verdicts, verdicts.total(), seed=SEED)


def runs(effort: Effort) -> list[tuple[int, float]]:
    """C and beta of the runs. Quick ones take another C: a hundred classes take ten seconds.

    Example:
        >>> runs(Effort.DEFAULT)
        [(100, 5.0)]
    """
    if effort == Effort.QUICK:
        return [(20, 3.0)]
    return [(100, 5.0)] if effort == Effort.DEFAULT else [(20, 3.0), (50, 5.0), (100, 5.0)]


def _slopes(effort, *, stop_gradient):
    verdicts, models, least = Counter(), 0, float("inf")
    shares = np.linspace(0.02, 1.0, effort.choose(2, 5, 25)).tolist()
    with jax.enable_x64(True):
        for num_classes in (4, 2, 10)[: effort.choose(1, 3, 3)]:
            for beta in (0.5, 1.0, 5.0):
                for share in shares:
                    delta = share * num_classes / (num_classes - 1)
                    slope = radial_slope(num_classes, beta, delta, stop_gradient=stop_gradient)
                    formula = expanding_slope(num_classes, beta, delta)
                    same = abs(slope - formula) < ROUNDING and slope < 0
                    verdicts[Verdict.EQUAL if same else Verdict.VIOLATED] += 1
                    least = min(least, -slope)
                    models += 1
    return Measurement(verdicts, models, least)


CLAIMS = (
    Claim(
        name="detached weights expand",
        statement="with constant weights the shipped HUCL gradient expands a shrunk simplex ETF at "
        "every gap, at the rate p e^{-delta} / (2 - p + p e^{-delta})",
        reference="docs/hucl_optimum.md, Proposition 5",
        hypotheses="exponential tilting, weights estimator, weights constant to differentiation",
        evidence=Evidence.PROVED,
        measure=measure_expansion,
        controls=(Control("full gradient", "weights constant", measure_full_expansion),),
    ),
    Claim(
        name="where HUCL training ends",
        statement="from one random start Adam ends at NC with detached weights and at the shrunk "
        "frame of Theorem 4 with the full gradient, above beta_c",
        reference="docs/hucl_optimum.md, Proposition 5",
        hypotheses="free class means, k = infinity, unit ball, d = C - 1, C = 100 and "
        "beta = 5 (quick runs: C = 20 and beta = 3)",
        evidence=Evidence.OBSERVED,
        measure=measure_ends,
        controls=(
            Control("full gradient asked for NC", "weights constant", measure_full_reaches_nc),
        ),
    ),
)
