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
from typing import NamedTuple

import jax
import numpy as np
import optax
from flint import arb, arb_series
from jaxtyping import Array

from hcl_jax import geometry
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.free_features.minimisation import (
    MinimisationProblem,
    PopulationLoss,
    class_mean_geometry,
)
from theory.free_features.predictions import hucl_at_nc, predict
from theory.free_features.trajectories import Run, Trajectory, train, whole_batch_loss

ROUNDING = 1e-13
"""Agreement asked of the shipped derivative with the formula: some hundred roundings of float64."""

AT_NC = 1e-2
"""Class means this near to a simplex ETF (relative Frobenius distance) count as neural collapse."""

AT_MINIMUM = 0.02
"""The share of the way from NC to the minimum that a run may miss: there are local minima."""

ON_SPHERE = 1e-6
"""Class means whose norms are this near to one lie on the sphere."""

UNEQUAL = 1.5
"""Gaps are unequal if the largest is so many times the least; a shrunk frame has equal ones."""

AT_FLOOR = 1e-6
"""Gaps this near to delta* are those of the optimum."""

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
    num_classes: int,
    beta: float,
    *,
    stop_gradient: bool,
    extra_dims: int = 0,
    steps: int = STEPS,
    seed: int = SEED,
) -> Trajectory:
    """Adam on HUCL of free class means in the unit ball, d >= C - 1, random start, in float64."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps))
    with jax.enable_x64(True):
        run = Run(num_classes, beta=beta, stop_gradient=stop_gradient, extra_dims=extra_dims)
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
    """Detached runs end at NC; full ones near the minimum, on the sphere, with unequal gaps."""
    tally, details = Tally(seed=SEED), {}
    for num_classes, beta in runs(effort):
        at_nc, least = predicted_losses(num_classes, beta)
        for stop_gradient in (True, False):
            path = adam_on_class_means(num_classes, beta, stop_gradient=stop_gradient)
            end = end_of_run(path, num_classes)
            if stop_gradient:
                tally.observe_below(float(path.etf_distances[-1]), AT_NC)
            else:
                tally.observe_below(float(path.losses[-1]) - least, AT_MINIMUM * (at_nc - least))
                tally.observe_below(end.off_sphere, ON_SPHERE)
                tally.observe_below(UNEQUAL * end.least_gap, end.largest_gap)
            tally.models += 1
            gradient = "detached" if stop_gradient else "full gradient"
            name = rf"$C = {num_classes}$, $\beta = {beta:g}$, {gradient}"
            details[name] = _described(path, num_classes, beta)
    return tally.measurement(**details)


def full_gradient_reaches_nc(effort: Effort) -> Measurement:
    """Asks the full gradient to reach NC above beta_c, which it does not."""
    tally = Tally(seed=SEED)
    for num_classes, beta in runs(effort):
        path = adam_on_class_means(num_classes, beta, stop_gradient=False)
        tally.observe_below(float(path.etf_distances[-1]), AT_NC)
        tally.models += 1
    return tally.measurement()


def ends_in_one_more_dimension(effort: Effort) -> Measurement:
    """Full runs with d = C end on the sphere, all gaps delta*: at the offset frame."""
    return _compare_gaps(effort, extra_dims=1)


def ends_in_no_more_dimension(effort: Effort) -> Measurement:
    """Asks the same of d = C - 1, where neither the shrunk nor the offset frame is reached."""
    return _compare_gaps(effort, extra_dims=0)


class EndOfRun(NamedTuple):
    """The class means at the end of a run.

    Attributes:
        least_gap: the least similarity with themselves minus that with another.
        largest_gap: the largest.
        off_sphere: how far their norms are from one, at most.
    """

    least_gap: float
    largest_gap: float
    off_sphere: float


def end_of_run(path: Trajectory, num_classes: int) -> EndOfRun:
    """Gaps and norms of the class means at the end of a run."""
    shape = class_mean_geometry(path.features.reshape(num_classes, 1, -1))
    norms = np.linalg.norm(path.features, axis=1)
    return EndOfRun(shape.least_gap, shape.largest_gap, float(np.abs(norms - 1).max()))


def _described(path: Trajectory, num_classes: int, beta: float) -> str:
    """Loss, gaps and distance at the end of a run, with what Theorem 4 says of them."""
    at_nc, least = predicted_losses(num_classes, beta)
    end, optimum = end_of_run(path, num_classes), geometry.hucl_optimum(num_classes, beta, 1.0)
    return (
        f"loss {path.losses[-1]:.6f} (NC {at_nc:.6f}, minimum {least:.6f}), gaps "
        f"{end.least_gap:.4f} to {end.largest_gap:.4f} (optimum {optimum.gap:.4f}), norms one to "
        f"{end.off_sphere:.1e}, distance to NC {path.etf_distances[-1]:.1e}"
    )


def _compare_gaps(effort: Effort, *, extra_dims: int) -> Measurement:
    """Records whether full runs end on the sphere with the gaps of the optimum."""
    tally, details = Tally(seed=SEED), {}
    for num_classes, beta in ((4, 5.0), (20, 3.0))[: effort.choose(1, 2, 2)]:
        path = adam_on_class_means(num_classes, beta, stop_gradient=False, extra_dims=extra_dims)
        end, optimum = end_of_run(path, num_classes), geometry.hucl_optimum(num_classes, beta, 1.0)
        gaps = np.array([end.least_gap, end.largest_gap])
        tally.observe_below(float(np.abs(gaps - optimum.gap).max()), AT_FLOOR)
        tally.observe_below(end.off_sphere, ON_SPHERE)
        tally.models += 1
        details[rf"$C = {num_classes}$, $\beta = {beta:g}$"] = _described(path, num_classes, beta)
    return tally.measurement(**details)


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
        r"every gap, at the rate $p e^{-\delta} / (2 - p + p e^{-\delta})$",
        reference="docs/hucl_optimum.md, Proposition 5",
        hypotheses=r"exponential tilting, weights estimator ($k = \infty$), "
        r"$\alpha = q = \tau = 1$, weights constant to differentiation",
        evidence=Evidence.PROVED,
        measure=slope_with_detached_weights,
        controls=(Control("full gradient", "weights constant", slope_with_full_gradient),),
    ),
    Claim(
        name="where HUCL training ends",
        statement=r"above $\beta_c$, from one random start in $C - 1$ dimensions, Adam ends at NC "
        "with detached weights; with the full gradient within 2 % of the way from NC to the "
        "minimum, at class means of norm one with unequal gaps, which are not the shrunk frame of "
        "Theorem 4",
        reference="docs/hucl_optimum.md, section 7",
        hypotheses=r"free class means, $k = \infty$, unit ball, $d = C - 1$, $C = 100$ and "
        r"$\beta = 5$ (quick runs: $C = 20$ and $\beta = 3$)",
        evidence=Evidence.OBSERVED,
        measure=ends_of_training,
        controls=(
            Control("full gradient asked for NC", "weights constant", full_gradient_reaches_nc),
        ),
    ),
    Claim(
        name="HUCL training in one more dimension",
        statement="with the full gradient and $d = C$ Adam ends at the floor of Theorem 4, all "
        r"gaps $\delta^\ast$ to $10^{-6}$, on the unit sphere: at the offset frame",
        reference="docs/hucl_optimum.md, section 7",
        hypotheses=r"as before, $d = C$; $C = 4$ and $\beta = 5$, $C = 20$ and $\beta = 3$ (not in "
        "quick runs)",
        evidence=Evidence.OBSERVED,
        measure=ends_in_one_more_dimension,
        controls=(Control("$d = C - 1$", "$d = C$", ends_in_no_more_dimension),),
    ),
)
