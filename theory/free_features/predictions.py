"""What the theorems predict of the minimum over free features; InfoNCE, alpha = q = tau = 1.

The predictions hold over the unit ball in at least C - 1 dimensions, or over the unit sphere in at
least C: Theorem 2 for SCL and HSCL, Theorem 3 for UCL, Theorem 4 for HUCL.
"""

from typing import NamedTuple

from flint import arb, ctx

from theory.free_features.minimisation import MinimisationProblem, PopulationLoss
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.floor import floor
from theory.optimum.profile import ProfileParameters, limit_minimum, taylor


class Prediction(NamedTuple):
    """The minimum, and the gap ``mu_c . mu_c - mu_c . mu_c'`` of every minimiser."""

    value: float
    gap: float


def predict(
    problem: MinimisationProblem, objective: PopulationLoss, *, bits: int = 128
) -> Prediction:
    """The predicted minimum; the constraint of the problem is taken to be one of those above."""
    with ctx.workprec(bits):
        profile, beta = ProfileParameters(problem.num_classes, problem.k), arb(objective.beta)
        gap = ball(nc_gap(problem.num_classes))
        if objective.supervised:
            return Prediction(float(((-gap).exp() + 1).log()), float(gap))
        if objective.beta == 0:
            return Prediction(float(_hucl_at(profile, beta, gap)), float(gap))
        delta, value = _minimum_within(profile, beta, gap)
        return Prediction(float(value), float(delta))


def hucl_at_nc(num_classes: int, k: int | None, beta: float, *, bits: int = 128) -> float:
    """The HUCL of neural collapse."""
    with ctx.workprec(bits):
        return float(
            _hucl_at(ProfileParameters(num_classes, k), arb(beta), ball(nc_gap(num_classes)))
        )


def _hucl_at(profile: ProfileParameters, beta: arb, gap: arb) -> arb:
    """The HUCL of a simplex ETF of this gap."""
    return taylor(profile, beta, gap, terms=1)[0]


def _minimum_within(profile: ProfileParameters, beta: arb, gap: arb) -> tuple[arb, arb]:
    """The best gap up to the given one, and the HUCL there."""
    if profile.k is not None:
        delta, value = floor(
            num_classes=profile.num_classes, k=profile.k, psi=InfoNCE(), beta=beta, within=gap
        )
        return delta, value
    delta, value = limit_minimum(profile, beta)
    return (delta, value) if delta < gap else (gap, _hucl_at(profile, beta, gap))
