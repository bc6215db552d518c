"""Minority collapse at imbalances without bound, where one ratio decides (Proposition "no bound").

The eigenvalue of splitting the minority classes, times the square of the imbalance, has a limit:
`excess` at 0. Its sign is compared with that of the ratio minus 1, and the ratio with the slopes of
the loss.
"""

import random
from dataclasses import replace
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measure, Measurement, Tally, in_balls
from theory.model.psi_kinds import InfoNCE
from theory.priors.limit import limit_ratio, limit_ratio_of_one
from theory.priors.minority import MinorityProblem, excess, slopes

SEED = 104
HOT = MinorityProblem(3, 2, InfoNCE(tau=Fraction(20)))
"""Three majority classes at a temperature at which the ratio is above 1."""


@in_balls()
def without_bound(effort: Effort) -> Measurement:
    """Random numbers of classes and of InfoNCE, alpha = 0 among them."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(10, 30, 200)):
        alpha, q, tau = (Fraction(rng.randint(*ends), 10) for ends in ((0, 20), (1, 20), (1, 400)))
        psi = InfoNCE(rng.choice((Fraction(0), alpha)), q, tau)
        problem = MinorityProblem(rng.randint(2, 10), rng.randint(2, 10), psi)
        _compare(tally, problem)
        _compare(tally, replace(problem, k=1))
        tally.above(excess(replace(problem, pairs=True), arb(0)), arb(0))
        tally.models += 1
    return tally.measurement()


def _of(problem: MinorityProblem) -> Measure:
    """Asks the same of one problem, which is beside the hypotheses."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        tally = Tally()
        _compare(tally, problem)
        tally.models += 1
        return tally.measurement()

    return measure


def _compare(tally: Tally, problem: MinorityProblem) -> None:
    """Records that the ratio is that of the slopes, and that it decides."""
    ratio_of = limit_ratio if problem.k is None else limit_ratio_of_one
    ratio, at = ratio_of(problem.majority, problem.psi), slopes(problem, arb(0), arb(0))
    tally.equal(at.between**2 / (at.majority * at.minority), ratio)
    tally.above(excess(problem, arb(0)) * (ratio - 1), arb(0))


CLAIMS = (
    Claim(
        name="the ratio that decides without bound",
        statement=r"as $R \to \infty$, $\gamma_z^2 / (\gamma_x \gamma_w)$ tends to $\varrho$ for "
        r"$k = \infty$ and to $\varrho_1$ for $k = 1$, and $\sigma R^2$, up to a positive factor, "
        r"to a number of the sign of $\varrho - 1$ or $\varrho_1 - 1$; with averages over pairs "
        r"$\sigma$ is in the end positive for $k = \infty$",
        reference="docs/unequal_priors.md, Proposition (no bound)",
        hypotheses=r"SCL, $A \ge 2$ (to 10 are tried, and $B = 2, \dots, 10$), InfoNCE with "
        r"$\alpha \ge 0$, $q, \tau > 0$; for the ratios averages over anchors",
        evidence=Evidence.PROVED,
        measure=without_bound,
        controls=(
            Control(r"HSCL, $\beta = 1/2$", "SCL", _of(replace(HOT, beta=Fraction(1, 2)))),
            Control(r"$k = 2$ for $\varrho_1$", r"$k = 1$ or $k = \infty$", _of(replace(HOT, k=2))),
        ),
    ),
)
