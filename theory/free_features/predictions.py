"""What the theorems predict of the minimum over free features; InfoNCE, alpha = q = tau = 1.

The predictions hold over the unit ball in at least C - 1 dimensions, or over the unit sphere in at
least C: Theorem 2 for SCL and HSCL, Theorem 3 for UCL, Theorem 4 for HUCL.
"""

from typing import NamedTuple

from flint import arb, ctx

from theory.free_features.minimisation import Objective, Problem
from theory.model.psi_kinds import InfoNCE
from theory.optimum.hucl_floor import floor
from theory.optimum.profile import Setting, limit_minimum, nc_gap, taylor


class Prediction(NamedTuple):
    """The minimum, and the gap ``mu_c . mu_c - mu_c . mu_c'`` of every minimiser."""

    value: float
    gap: float


def predict(problem: Problem, objective: Objective, *, bits: int = 128) -> Prediction:
    """The predicted minimum; the constraint of the problem is taken to be one of those above."""
    with ctx.workprec(bits):
        setting, beta = Setting(problem.num_classes, problem.k), arb(objective.beta)
        gap = nc_gap(problem.num_classes)
        if objective.supervised:
            return Prediction(float(((-gap).exp() + 1).log()), float(gap))
        if objective.beta == 0:
            return Prediction(float(_hucl_at(setting, beta, gap)), float(gap))
        delta, value = _minimum_within(setting, beta, gap)
        return Prediction(float(value), float(delta))


def hucl_at_nc(num_classes: int, k: int | None, beta: float, *, bits: int = 128) -> float:
    """The HUCL of neural collapse."""
    with ctx.workprec(bits):
        return float(_hucl_at(Setting(num_classes, k), arb(beta), nc_gap(num_classes)))


def _hucl_at(setting: Setting, beta: arb, gap: arb) -> arb:
    """The HUCL of a simplex ETF of this gap."""
    return taylor(setting, beta, gap, terms=1)[0]


def _minimum_within(setting: Setting, beta: arb, gap: arb) -> tuple[arb, arb]:
    """The best gap up to the given one, and the HUCL there."""
    if setting.k is not None:
        delta, value = floor(
            num_classes=setting.num_classes, k=setting.k, psi=InfoNCE(), beta=beta, within=gap
        )
        return delta, value
    delta, value = limit_minimum(setting, beta)
    return (delta, value) if delta < gap else (gap, _hucl_at(setting, beta, gap))
