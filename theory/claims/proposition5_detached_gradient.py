"""Full and detached gradient of the tilt, side by side, in the shipped loss.

HUCL weighs negatives by ``e^{beta t}``. Code that treats the weights as constants to
differentiation follows another vector field than the gradient: on a shrunk simplex ETF with gap
delta it moves along

    -p psi'(-delta)   (k = 1),     -p e^{-delta} / (2 - p + p e^{-delta})   (k = infinity),

which always expands the frame, past the minimiser delta* of the loss to neural collapse (NC). The
full gradient changes its sign at delta*. The derivative of the definition is compared with the
formula in balls; the derivative that the shipped loss reports is observed to agree in float64.
"""

import itertools
import math
from collections.abc import Callable
from functools import cache

import jax
import numpy as np
import optax
from flint import arb, arb_series
from jaxtyping import Array

from hcl_jax import geometry
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.free_features.minimisation import MinimisationProblem, PopulationLoss
from theory.free_features.predictions import hucl_at_nc, predict
from theory.free_features.trajectories import Run, Trajectory, train, whole_batch_loss

ROUNDING = 1e-13
"""Agreement asked of the shipped derivative with the formula: some hundred roundings of float64."""

AT_NC = 1e-2
"""Class means this near to a simplex ETF (relative Frobenius distance) count as neural collapse."""

AT_MINIMUM = 0.02
"""The share of the way from NC to the minimum that a run may miss: there are local minima."""

STEPS = 800
EVERY = 25
SEED = 3


def shipped_slope(num_classes: int, beta: float, delta: float, *, stop_gradient: bool) -> float:
    """``dL / d delta`` of the shipped loss at a shrunk simplex ETF, by scaling all features."""
    gap = num_classes / (num_classes - 1)
    scale = math.sqrt(delta / gap)
    slope = _slope_in_scale(num_classes, stop_gradient)(beta, scale)
    return float(slope) / (2 * scale * gap)


@cache
def _slope_in_scale(num_classes: int, stop_gradient: bool) -> Callable[[float, float], Array]:
    """The compiled derivative of the shipped loss with respect to the scale of the frame."""

    def loss(beta: Array, scale: Array) -> Array:
        frame = geometry.simplex_etf(num_classes, num_classes - 1)
        run = Run(num_classes, beta=beta, stop_gradient=stop_gradient)
        return whole_batch_loss(scale * frame, run)

    return jax.jit(jax.grad(loss, argnums=1))


def slope_by_definition(num_classes: int, beta: arb, delta: arb, *, stop_gradient: bool) -> arb:
    """``dL / d delta`` of HUCL at ``k = infinity``, by a power series with the weights as given.

    Similarities with the own class are larger by delta than the others, so that the others have
    weight ``e^{-beta delta}`` relative to the own class and ``v = -delta``.
    """
    moving = arb_series([delta, 1], 2)
    odds = (-beta * (arb_series([delta], 2) if stop_gradient else moving)).exp() * (num_classes - 1)
    p = odds / (odds + 1)
    return (1 + (1 - p) + p * (-moving).exp()).log()[1]


def detached_slope(num_classes: int, beta: arb, delta: arb) -> arb:
    """The formula for the detached slope at ``k = infinity``; negative for every delta."""
    p = 1 / (1 + (beta * delta).exp() / (num_classes - 1))
    shrunk = p * (-delta).exp()
    return -shrunk / (2 - p + shrunk)


@cache
def adam_on_class_means(
    num_classes: int, beta: float, *, stop_gradient: bool, steps: int = STEPS, seed: int = SEED
) -> Trajectory:
    """Adam on HUCL of free class means in the unit ball, d = C - 1, random start, in float64."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps))
    with jax.enable_x64(True):
        run = Run(num_classes, beta=beta, stop_gradient=stop_gradient)
        return train(jax.random.key(seed), run, optimizer, steps=steps, every=EVERY)


def predicted_losses(num_classes: int, beta: float) -> tuple[float, float]:
    """The HUCL of NC, and the minimum over the unit ball, for ``k = infinity``."""
    problem = MinimisationProblem(num_classes, 1, num_classes - 1, None)
    return hucl_at_nc(num_classes, None, beta), predict(problem, PopulationLoss(False, beta)).value


@in_balls()
def slope_with_detached_weights(effort: Effort) -> Measurement:
    """The detached slope is the formula, negative, and what the shipped loss reports."""
    return _compare_slopes(effort, stop_gradient=True)


@in_balls()
def slope_with_full_gradient(effort: Effort) -> Measurement:
    """Asks the same of the full gradient, which contracts beyond delta*."""
    return _compare_slopes(effort, stop_gradient=False)


def ends_of_training(effort: Effort) -> Measurement:
    """Detached runs end at NC and full runs at the minimum of Theorem 4."""
    tally, details = Tally(seed=SEED), {}
    for num_classes, beta in runs(effort):
        at_nc, least = predicted_losses(num_classes, beta)
        for stop_gradient in (True, False):
            path = adam_on_class_means(num_classes, beta, stop_gradient=stop_gradient)
            loss, distance = float(path.losses[-1]), float(path.etf_distances[-1])
            at_minimum = loss - least < AT_MINIMUM * (at_nc - least)
            tally.observe(distance < AT_NC if stop_gradient else at_minimum)
            tally.models += 1
            name = f"C={num_classes} beta={beta:g} {'detached' if stop_gradient else 'full'}"
            details[name] = (
                f"loss {loss:.4f} (NC {at_nc:.4f}, minimum {least:.4f}), "
                f"distance to NC {distance:.1e}"
            )
    return tally.measurement(**details)


def full_gradient_reaches_nc(effort: Effort) -> Measurement:
    """Asks the full gradient to reach NC above beta_c, which it does not."""
    tally = Tally(seed=SEED)
    for num_classes, beta in runs(effort):
        path = adam_on_class_means(num_classes, beta, stop_gradient=False)
        tally.observe(bool(path.etf_distances[-1] < AT_NC))
        tally.models += 1
    return tally.measurement()


def runs(effort: Effort) -> list[tuple[int, float]]:
    """C and beta of the runs. Quick ones take another C: a hundred classes take ten seconds."""
    if effort is Effort.QUICK:
        return [(20, 3.0)]
    return [(100, 5.0)] if effort is Effort.DEFAULT else [(20, 3.0), (50, 5.0), (100, 5.0)]


def _compare_slopes(effort: Effort, *, stop_gradient: bool) -> Measurement:
    """Records, in balls and for the shipped loss, that the slope is the formula and negative."""
    tally = Tally()
    shares = np.linspace(0.02, 1.0, effort.choose(2, 5, 25)).tolist()
    for num_classes in (4, 2, 10)[: effort.choose(1, 3, 3)]:
        for beta, share in itertools.product((0.5, 1.0, 5.0), shares):
            delta = share * num_classes / (num_classes - 1)
            formula = detached_slope(num_classes, arb(beta), arb(delta))
            slope = slope_by_definition(
                num_classes, arb(beta), arb(delta), stop_gradient=stop_gradient
            )
            tally.equal(slope, formula)
            tally.above(arb(0), slope)
            with jax.enable_x64(True):
                shipped = shipped_slope(num_classes, beta, delta, stop_gradient=stop_gradient)
            tally.observe(abs(shipped - float(formula)) < ROUNDING and shipped < 0)
            tally.models += 1
    return tally.measurement()


CLAIMS = (
    Claim(
        name="detached weights expand",
        statement="with constant weights the shipped HUCL gradient expands a shrunk simplex ETF at "
        "every gap, at the rate p e^{-delta} / (2 - p + p e^{-delta})",
        reference="docs/hucl_optimum.md, Proposition 5",
        hypotheses="exponential tilting, weights estimator, weights constant to differentiation",
        evidence=Evidence.PROVED,
        measure=slope_with_detached_weights,
        controls=(Control("full gradient", "weights constant", slope_with_full_gradient),),
    ),
    Claim(
        name="where HUCL training ends",
        statement="from one random start Adam ends at NC with detached weights and at the shrunk "
        "frame of Theorem 4 with the full gradient, above beta_c",
        reference="docs/hucl_optimum.md, Proposition 5",
        hypotheses="free class means, k = infinity, unit ball, d = C - 1, C = 100 and "
        "beta = 5 (quick runs: C = 20 and beta = 3)",
        evidence=Evidence.OBSERVED,
        measure=ends_of_training,
        controls=(
            Control("full gradient asked for NC", "weights constant", full_gradient_reaches_nc),
        ),
    ),
)
