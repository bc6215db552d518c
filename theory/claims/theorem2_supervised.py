"""Theorem 2: ``SCL, HSCL >= psi_k(-C/(C-1), ..)`` in the unit ball.

Jensen over everything gives ``SCL >= psi_k(E v)``; balance gives ``E t >= -1/(C-1)`` and the unit
ball ``E s <= 1``. SCL needs neither the independence of x and x+ nor that of the negatives; HSCL
is at least SCL by Theorem 1, which needs that of the negatives.
"""

import random
from fractions import Fraction

from flint import fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, Verdict, in_balls
from theory.exact.bounds import supervised_bound, unsupervised_bound
from theory.exact.lower_bounds import LowerBound
from theory.exact.tuple_laws import Outcome, plain_and_hard
from theory.model.broken_hypotheses import (
    longer_features,
    positives_are_anchors,
    psi_that_falls,
    saturating_psi,
    softened,
    unbalanced,
)
from theory.model.eta_kinds import Exponential
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import near_collapse, random_model
from theory.model.simplex import nc_gap

SEED = 3

SCL = LowerBound(supervised_bound, ("scl",))
BOTH = LowerBound(supervised_bound, ("scl", "hscl"))


@in_balls()
def on_random_models(effort: Effort) -> Measurement:
    """Balanced models in the unit ball, half of them near neural collapse."""
    rng, tally, flat = random.Random(SEED), Tally(seed=SEED), 0
    for i in range(effort.choose(30, 250, 2000)):
        features = near_collapse if i % 2 else None
        model = random_model(rng, balanced=True, features=features)
        equal = tally.verdicts[Verdict.EQUAL]
        BOTH.is_met(tally, model)
        flat += (tally.verdicts[Verdict.EQUAL] - equal) * (model.psi.kink is not None)
    return tally.measurement(**{r"equal because $\psi$ is flat there": flat})


@in_balls()
def with_dependent_views(effort: Effort) -> Measurement:
    """SCL where x+ depends on x: any joint law, and x+ = x, near NC and anywhere in the ball."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for i in range(effort.choose(20, 150, 1000)):
        features = near_collapse if i % 2 else None
        SCL.is_met(tally, random_model(rng, balanced=True, joint=True, features=features))
    for classes, k in ((2, 1), (2, 2), (3, 1)):
        SCL.is_met(tally, positives_are_anchors(num_classes=classes, k=k))
    return tally.measurement()


@in_balls()
def different_class_means(effort: Effort) -> Measurement:
    """Anchors at +1 and negatives at -1, whatever the class: every v is -2."""
    tally = Tally()
    outcome = Outcome(fmpq(1), (fmpq(-1),), fmpq(1))
    plain, _ = plain_and_hard([outcome], psi=InfoNCE(), eta=Exponential(Fraction(1)))
    tally.at_least(plain, supervised_bound(3, 1, InfoNCE()))
    tally.models = 1
    return tally.measurement(gap_reached=2.0, gap_of_the_bound=float(nc_gap(3)))


BOUND = "docs/theory.md, Theorem 2"

CLAIMS = (
    Claim(
        name="the bound of SCL and HSCL",
        statement=r"$\mathrm{SCL} \ge \psi_k(-\delta_0, \dots, -\delta_0)$, "
        r"$\delta_0 = C/(C-1)$, and HSCL too, for every representation in the unit ball",
        reference=BOUND,
        hypotheses=r"balanced; $\lvert f \rvert \le 1$; $\psi_k$ convex, non-decreasing; anchors "
        "and negatives share class means; for HSCL those of Theorem 1 besides",
        evidence=Evidence.PROVED,
        measure=on_random_models,
        controls=(
            Control(
                "prior .8, .1, .1", "balanced classes", BOTH.on(lambda: unbalanced(Fraction(8, 10)))
            ),
            Control("norm 1.2", "unit ball", BOTH.on(longer_features)),
            Control(r"a sigmoid as $\psi$", r"convex $\psi$", BOTH.on(saturating_psi)),
            Control(
                r"a square as $\psi$",
                r"non-decreasing $\psi$",
                BOTH.on(lambda: psi_that_falls(Fraction(4, 5))),
            ),
            Control(r"$\beta < 0$", r"non-decreasing $\eta$", BOTH.on(softened)),
            Control(
                "anchors at $+1$, negatives at $-1$",
                "shared class means of anchors and negatives",
                different_class_means,
            ),
        ),
    ),
    Claim(
        name="SCL needs no conditional independence",
        statement="the bound of SCL holds whatever the joint law of $x$ and $x^+$ in a class",
        reference=BOUND,
        hypotheses="those of Theorem 2; $x$ and $x^+$ need not be independent given the label",
        evidence=Evidence.PROVED,
        measure=with_dependent_views,
        controls=(
            Control(
                "UCL with $x^+ = x$",
                "negatives of other classes",
                LowerBound(unsupervised_bound, ("ucl_joint",)).on(positives_are_anchors),
            ),
        ),
    ),
)
