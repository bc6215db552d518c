"""Theorem 2: who attains the bound of SCL and HSCL: neural collapse, and for which psi nobody else.

The candidates besides are features near it, and zero-sum frames of unit norm that are no ETF.
"""

import random
from collections.abc import Callable
from fractions import Fraction

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.bounds import supervised_bound
from theory.exact.lower_bounds import LowerBound
from theory.model.eta_kinds import Exponential, ReluPower, Sigmoid
from theory.model.kinds import PsiKind
from theory.model.psi_kinds import InfoNCE, Linear, SquaredHinge, TripletMax, TripletSum
from theory.model.random_models import (
    collapsed_features,
    collapsed_model,
    near_collapse,
    neural_collapse,
    psi_choices,
    random_model,
    some_psi,
    turned_collapse,
)
from theory.model.simplex import nc_gap

SEED = 3
ONE, TWO, HALF = Fraction(1), Fraction(2), Fraction(1, 2)

SCL = LowerBound(supervised_bound, ("scl",))
HSCL = LowerBound(supervised_bound, ("hscl",))
BOTH = LowerBound(supervised_bound, ("scl", "hscl"))


@in_balls()
def at_collapse(effort: Effort) -> Measurement:
    """SCL = HSCL = bound at NC, C = 2 .. 10, for every psi and for eta that do not vanish there."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    etas = (Exponential(Fraction(5)), ReluPower(TWO, TWO), Sigmoid(Fraction(4), HALF))
    for classes in range(2, effort.choose(5, 11, 11)):
        for psi in psi_choices(rng):
            for eta in etas:
                BOTH.is_attained(tally, neural_collapse(num_classes=classes, k=2, psi=psi, eta=eta))
    return tally.measurement()


@in_balls()
def below_the_dimension(effort: Effort) -> Measurement:
    """The best known representations with d < C - 1: they do not attain the bound."""
    tally = Tally()
    for features in (points_on_a_line(3), points_on_a_line(5), SQUARE):
        SCL.is_attained(tally, collapsed_model(features))
    return tally.measurement()


def points_on_a_line(num_classes: int) -> tuple[tuple[Fraction, ...], ...]:
    """Classes at +1 and -1, as evenly as possible; d = 1."""
    return tuple((ONE * (-1) ** c,) for c in range(num_classes))


SQUARE = ((ONE, 0 * ONE), (0 * ONE, ONE), (-ONE, 0 * ONE), (0 * ONE, -ONE))
"""Four classes in the plane: unit norm, sum zero, but unequal angles."""

TWO_PAIRS = ((ONE,), (ONE,), (-ONE,), (-ONE,))
"""Four classes on two antipodal points: unit norm, sum zero, d = 1."""


@in_balls()
def only_at_collapse(effort: Effort) -> Measurement:
    """SCL > bound strictly away from NC for strict psi, however near, on the sphere too."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(15, 150, 900)):
        psi = some_psi(rng, strict=True)
        features = rng.choice((near_collapse, turned_collapse, collapsed_features))
        model = random_model(rng, balanced=True, psi=psi, features=features, sizes=(3, 2, 2))
        SCL.is_exceeded(tally, model)
    for features in (SQUARE, TWO_PAIRS):
        SCL.is_exceeded(tally, collapsed_model(features, psi=InfoNCE(alpha=Fraction(0)), k=2))
    return tally.measurement()


def _attained_elsewhere(psi: PsiKind, *, loss: LowerBound = SCL) -> Callable[[Effort], Measurement]:
    """Whether the bound is attained by unit, collapsed, zero-sum features that are not NC."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        tally = Tally()
        for features in (SQUARE, TWO_PAIRS):
            loss.is_exceeded(tally, collapsed_model(features, psi=psi, eta=Exponential(TWO)))
        return tally.measurement()

    return measure


@in_balls()
def hardening_repairs_linear(effort: Effort) -> Measurement:
    """HSCL > bound for the linear loss at every zero-sum frame that is not an ETF."""
    tally = Tally()
    for features in (SQUARE, TWO_PAIRS):
        for beta in (HALF, TWO, Fraction(20)):
            for psi in (Linear(), InfoNCE(alpha=Fraction(0))):
                HSCL.is_exceeded(tally, collapsed_model(features, psi=psi, eta=Exponential(beta)))
    return tally.measurement()


@in_balls()
def flat_losses_only_at_collapse(effort: Effort) -> Measurement:
    """SCL > bound off NC for hinges of margin C/(C-1), and for the hardest of two with margin 2."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for number in range(effort.choose(12, 80, 400)):
        classes, k = rng.choice(((2, 1), (2, 2), (3, 1), (3, 2)))
        gap = nc_gap(classes)
        psi = rng.choice((TripletSum(gap), TripletMax(gap), SquaredHinge(gap)))
        if number % 3 == 0:
            k, psi = 2, TripletMax(TWO)
        features = rng.choice((near_collapse, turned_collapse, collapsed_features))
        sizes = (classes, 2, classes - 1)
        SCL.is_exceeded(
            tally, random_model(rng, balanced=True, psi=psi, k=k, features=features, sizes=sizes)
        )
    almost = ((Fraction(99, 100),), (Fraction(-99, 100),))
    SCL.is_exceeded(tally, collapsed_model(almost, psi=TripletSum(TWO)))
    for features in (SQUARE, TWO_PAIRS):
        SCL.is_exceeded(tally, collapsed_model(features, psi=TripletMax(TWO), k=2))
    return tally.measurement()


@in_balls()
def smaller_margin(effort: Effort) -> Measurement:
    """Asks the same of a hinge of margin 1 and points at +-99/100, where every v is -1.9602."""
    tally = Tally()
    almost = ((Fraction(99, 100),), (Fraction(-99, 100),))
    SCL.is_exceeded(tally, collapsed_model(almost, psi=TripletSum(ONE)))
    return tally.measurement()


CLAIMS = (
    Claim(
        name="neural collapse attains the bound",
        statement=r"$\mathrm{SCL} = \mathrm{HSCL} = \psi_k(-\delta_0, \dots, -\delta_0)$ at neural "
        "collapse",
        reference="docs/theory.md, Theorem 2",
        hypotheses=r"$d \ge C - 1$; disjoint class supports; $\eta(-1/(C-1), \dots) > 0$; $k = 2$, "
        r"$C = 2, \dots, 10$ are tried (quick runs: to 4)",
        evidence=Evidence.PROVED,
        measure=at_collapse,
        controls=(Control("$d < C - 1$", r"$d \ge C - 1$", below_the_dimension),),
    ),
    Claim(
        name="only neural collapse attains it",
        statement=r"$\mathrm{SCL} > \psi_k(-\delta_0, \dots, -\delta_0)$ away from neural "
        "collapse, however near",
        reference="docs/theory.md, Theorem 2",
        hypotheses=r"those of Theorem 2; $\psi_k$ strictly convex and strictly increasing (for "
        r"InfoNCE, $\alpha > 0$ or $k \ge 2$)",
        evidence=Evidence.PROVED,
        measure=only_at_collapse,
        controls=(
            Control(r"linear $\psi$", r"strictly convex $\psi$", _attained_elsewhere(Linear())),
            Control(
                r"InfoNCE, $\alpha = 0$, $k = 1$",
                r"$\alpha > 0$ or $k \ge 2$",
                _attained_elsewhere(InfoNCE(alpha=Fraction(0))),
            ),
            Control("hinge, margin 2", r"strict $\psi$", _attained_elsewhere(TripletSum(TWO))),
        ),
    ),
    Claim(
        name="losses that are not strict, attained by NC alone",
        statement="SCL is above the bound away from neural collapse for hinges of margin "
        r"$\delta_0$, plain or squared, whose bound is 0, and for the hardest of $k \ge 2$ "
        "negatives with a margin of at least 2",
        reference="docs/theory.md, Theorem 2",
        hypotheses=r"those of Theorem 2; no strict $\psi$",
        evidence=Evidence.PROVED,
        measure=flat_losses_only_at_collapse,
        controls=(
            Control("margin 1 for $C = 2$", r"margin $\delta_0$", smaller_margin),
            Control(
                "the hardest of one negative", r"$k \ge 2$", _attained_elsewhere(TripletMax(TWO))
            ),
        ),
    ),
    Claim(
        name="hardening repairs the linear loss",
        statement="HSCL is above the bound at zero-sum frames other than NC, where linear SCL "
        "attains it",
        reference="docs/theory.md, Theorem 2",
        hypotheses=r"$\eta$ strictly increasing; $\psi$ strictly increasing at the bound",
        evidence=Evidence.PROVED,
        measure=hardening_repairs_linear,
        controls=(
            Control(
                "hinge, margin 0",
                r"$\psi$ strictly increasing at the bound",
                _attained_elsewhere(TripletSum(Fraction(0)), loss=HSCL),
            ),
        ),
    ),
)
