"""Theorem B: SCL and UCL are convex in the Gram matrix, so that saddles are all that traps them.

Convexity is tried as its consequence ``l(G') >= l(G) + <grad l(G), G' - G>``, which is what the
proof uses; hardening destroys it.
"""

import random
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.escape.frames import random_frame
from theory.escape.matrix import Balls, EscapeProblem, loss_of_classes, slopes
from theory.model.psi_kinds import InfoNCE

SEED = 59
LOSSES = (
    InfoNCE(),
    InfoNCE(tau=Fraction(1, 4)),
    InfoNCE(alpha=Fraction(0)),
    InfoNCE(Fraction(1, 3), Fraction(2)),
)


@in_balls()
def losses_without_hardening(effort: Effort) -> Measurement:
    """SCL and UCL of classes at random points of spheres, against their tangents elsewhere."""
    return _compare_tangents(effort, Fraction(0))


@in_balls()
def losses_with_hardening(effort: Effort) -> Measurement:
    """Asks the same of HSCL and HUCL."""
    return _compare_tangents(effort, Fraction(4))


def _compare_tangents(effort: Effort, beta: Fraction) -> Measurement:
    """Records whether the loss of one frame is at least the tangent of another at it."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for number in range(effort.choose(40, 300, 2000)):
        problem = EscapeProblem(number % 2 == 0, beta, rng.choice(LOSSES), detached=False)
        count = rng.randint(3, 6)
        here, there = (random_frame(rng, count, rng.randint(1, 4)) for _ in range(2))
        tangent = loss_of_classes(here, problem) + _directional(here, there, problem)
        tally.at_least(loss_of_classes(there, problem), tangent)
        tally.models += 1
    return tally.measurement()


def _directional(here: Balls, there: Balls, problem: EscapeProblem) -> arb:
    """``<grad l(G), G' - G>``; the diagonals are equal."""
    rows = zip(slopes(here, problem), here, there, strict=True)
    changes = [w * (b - a) for ws, xs, ys in rows for w, a, b in zip(ws, xs, ys, strict=True)]
    return sum(changes, arb(0)) / len(here)


CLAIMS = (
    Claim(
        name="SCL and UCL are convex in the Gram matrix",
        statement=r"$\ell(G') \ge \ell(G) + \langle \Gamma, G' - G \rangle$, $\Gamma$ the "
        r"derivative of $\ell$ at $G$, so that second-order points of rank below $d$ are global "
        "minima",
        reference="docs/escape.md, Theorem B",
        hypotheses=r"unit vectors, no hardening; InfoNCE, $k = \infty$, one point for every class "
        "are tried",
        evidence=Evidence.PROVED,
        measure=losses_without_hardening,
        controls=(Control("HSCL and HUCL", "no hardening", losses_with_hardening),),
    ),
)
