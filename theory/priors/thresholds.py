"""R_0, an imbalance where minority classes at one point cease to split: found, then enclosed.

Floating point finds it; the signs at both ends of a narrow bracket are compared in balls, and by
boxes those at all other imbalances, of which one may be without bound.
"""

from functools import cache

from flint import arb

from hcl_jax.geometry import minority_collapse_threshold
from theory.checking import Tally
from theory.priors.minority import MinorityProblem, excess, keeps_sign

WIDTH = arb("1e-8")
"""Of the brackets of R_0, relative to it."""

NEAR = arb("1e-3")
"""So close to R_0 signs are not asked for by boxes, so that R* may be a little smaller."""


@cache
def bracket(problem: MinorityProblem) -> tuple[arb, arb]:
    """Two imbalances around the R_0 that floating point finds; remembered."""
    found = arb(
        minority_collapse_threshold(
            problem.majority,
            problem.minority,
            float(problem.psi.tau),
            num_negatives=problem.k,
            beta=float(problem.beta),
            stop_gradient_hardening=problem.detached,
            average="pairs" if problem.pairs else "anchors",
        )
    )
    return found * (1 - WIDTH), found * (1 + WIDTH)


def record_only_threshold(tally: Tally, problem: MinorityProblem) -> tuple[arb, arb]:
    """The bracket of R_0; records the signs at its ends and, by boxes, at all other imbalances."""
    low, high = bracket(problem)
    tally.above(-excess(problem, 1 / low), arb(0))
    tally.above(excess(problem, 1 / high), arb(0))
    # R_0 may be at either end of the bracket.
    below, beyond = 1 / (high * (1 - NEAR)), 1 / (low * (1 + NEAR))
    first = arb("1e-9") if problem.majority == 1 else arb(0)
    for start, end, splits in ((below, arb(1), True), (first, beyond, False)):
        kept = keeps_sign(problem, start, end, splits=splits)
        tally.above(arb(int(kept)), arb(0))
    tally.models += 1
    return low, high
