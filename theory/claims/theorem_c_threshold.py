"""Theorem C: beta_c of balanced batches, in closed form and by the signs of slopes."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.model.psi_kinds import InfoNCE
from theory.optimum.profile import (
    ProfileParameters,
    lambert_threshold,
    limit_threshold,
    slope_at_nc,
)

MARGIN = arb("1e-30")


@in_balls(bits=220)
def threshold_in_closed_form(effort: Effort) -> Measurement:
    """beta_c by the function of Lambert, and the sign of the slope at NC to either side of it."""
    return _compare_thresholds(effort, lambda profile: profile)


@in_balls(bits=220)
def threshold_of_the_population(effort: Effort) -> Measurement:
    """Asks the signs of the batch at the beta_c of the population."""
    return _compare_thresholds(effort, lambda profile: replace(profile, per_class=None))


def _compare_thresholds(
    effort: Effort, asked: Callable[[ProfileParameters], ProfileParameters]
) -> Measurement:
    """Records the closed form of the profile that is asked, and the slopes around it of a batch."""
    tally = Tally()
    for classes in (2, 3, 10, 100, 1000)[: effort.choose(3, 5, 5)]:
        for members in (2, 3, 10, 51):
            for tau in (Fraction(1), Fraction(1, 2), Fraction(1, 10)):
                profile = ProfileParameters(classes, None, InfoNCE(tau=tau), members)
                beta = lambert_threshold(asked(profile))
                tally.equal(beta, limit_threshold(asked(profile)))
                tally.above(arb(0), slope_at_nc(profile, beta * (1 - MARGIN)))
                tally.above(slope_at_nc(profile, beta * (1 + MARGIN)), arb(0))
                tally.models += 1
    return tally.measurement()


CLAIMS = (
    Claim(
        name="the HUCL threshold of balanced batches",
        statement="the slope of the profile at NC changes sign within a relative $10^{-30}$ of "
        r"$\beta_c = (\zeta + W(\rho \zeta e^{-\zeta}))/\delta_0$, "
        r"$\zeta = (\delta_0/\tau)/(e^{\delta_0/\tau} - 1)$, $W$ Lambert's function",
        reference="docs/hucl_optimum.md, Theorem C",
        hypotheses=r"$k = \infty$, $C$ in $\lbrace 2, 3, 10, 100, 1000 \rbrace$ (quick runs: 2, "
        r"3, 10), $m$ in $\lbrace 2, 3, 10, 51 \rbrace$, $\tau$ in $\lbrace 1, .5, .1 \rbrace$",
        evidence=Evidence.CERTIFIED,
        measure=threshold_in_closed_form,
        controls=(
            Control(
                r"$\beta_c$ of the population",
                "the own class weighs $m - 1$, the others $m$",
                threshold_of_the_population,
            ),
        ),
    ),
)
