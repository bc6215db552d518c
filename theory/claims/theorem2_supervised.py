"""Theorem 2: ``SCL, HSCL >= psi_k(-C/(C-1), ..)`` in the unit ball, and who attains it.

Jensen over everything gives ``SCL >= psi_k(E v)``; balance gives ``E t >= -1/(C-1)`` and the unit
ball ``E s <= 1``. Neither the independence of x and x+ nor that of the negatives is needed.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from flint import fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses
from theory.exact.bounds import supervised_bound
from theory.exact.tuple_laws import Outcome, plain_and_hard
from theory.model.eta_kinds import Exponential, ReluPower, Sigmoid
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import BadSigmoid, BadSquare, InfoNCE, Linear, TripletSum
from theory.model.random_models import (
    collapsed_features,
    near_collapse,
    neural_collapse,
    own_points,
    psi_choices,
    random_model,
    some_psi,
    uniform,
)
from theory.model.simplex import nc_gap

SEED = 3
ONE, TWO, HALF = Fraction(1), Fraction(2), Fraction(1, 2)


def compare_with_bound(tally: Tally, model: LatentClassModel) -> None:
    """Records ``SCL >= bound`` and ``HSCL >= bound``."""
    losses = exact_losses(model)
    bound = supervised_bound(model.num_classes, model.k, model.psi)
    tally.at_least(losses.scl, bound)
    tally.at_least(losses.hscl, bound)
    tally.models += 1


@in_balls()
def on_random_models(effort: Effort) -> Measurement:
    """Balanced models in the unit ball, half of them near neural collapse."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for i in range(effort.choose(30, 250, 2000)):
        features = near_collapse if i % 2 else None
        compare_with_bound(tally, random_model(rng, balanced=True, features=features))
    return tally.measurement()


@in_balls()
def at_collapse(effort: Effort) -> Measurement:
    """SCL = HSCL = bound at NC, C = 2 .. 10, for every psi and for eta that do not vanish there."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    etas = (Exponential(Fraction(5)), ReluPower(TWO, TWO), Sigmoid(Fraction(4), HALF))
    for classes in range(2, effort.choose(5, 11, 11)):
        for psi in psi_choices(rng):
            for eta in etas:
                model = neural_collapse(num_classes=classes, k=2, psi=psi, eta=eta)
                losses, bound = exact_losses(model), supervised_bound(classes, 2, psi)
                tally.equal(losses.scl, bound)
                tally.equal(losses.hscl, bound)
                tally.models += 1
    return tally.measurement()


@in_balls()
def below_the_dimension(effort: Effort) -> Measurement:
    """The best known representations with d < C - 1: they do not attain the bound."""
    tally = Tally()
    for features in (points_on_a_line(3), points_on_a_line(5), SQUARE):
        model = representation(features, InfoNCE(), Exponential(ONE))
        losses = exact_losses(model)
        bound = supervised_bound(model.num_classes, model.k, model.psi)
        tally.equal(losses.scl, bound)
        tally.models += 1
    return tally.measurement()


def points_on_a_line(num_classes: int) -> tuple[tuple[Fraction, ...], ...]:
    """Classes at +1 and -1, as evenly as possible; d = 1.

    Example:
        >>> points_on_a_line(3)
        ((Fraction(1, 1),), (Fraction(-1, 1),), (Fraction(1, 1),))
    """
    return tuple((ONE * (-1) ** c,) for c in range(num_classes))


SQUARE = ((ONE, 0 * ONE), (0 * ONE, ONE), (-ONE, 0 * ONE), (0 * ONE, -ONE))
"""Four classes in the plane: unit norm, sum zero, but unequal angles."""

TWO_PAIRS = ((ONE,), (ONE,), (-ONE,), (-ONE,))
"""Four classes on two antipodal points: unit norm, sum zero, d = 1."""


def representation(
    features: tuple[tuple[Fraction, ...], ...], psi: PsiKind, eta: Exponential, k: int = 1
) -> LatentClassModel:
    """Balanced classes of one point each.

    Example:
        >>> representation(SQUARE, InfoNCE(), Exponential(ONE)).num_classes
        4
    """
    classes = len(features)
    laws = own_points([uniform(1)] * classes)
    return LatentClassModel(uniform(classes), laws, features, k, psi, eta)


@in_balls()
def only_at_collapse(effort: Effort) -> Measurement:
    """SCL > bound strictly away from NC for strict psi, however near."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(10, 100, 600)):
        psi = some_psi(rng, strict=True)
        features = rng.choice((near_collapse, collapsed_features))
        model = random_model(rng, balanced=True, psi=psi, features=features, sizes=(3, 2, 2))
        tally.above(exact_losses(model).scl, supervised_bound(3, model.k, psi))
        tally.models += 1
    for features in (SQUARE, TWO_PAIRS):
        _above(tally, representation(features, InfoNCE(alpha=Fraction(0)), Exponential(ONE), k=2))
    return tally.measurement()


def _above(tally: Tally, model: LatentClassModel, *, hard: bool = False) -> None:
    losses = exact_losses(model)
    bound = supervised_bound(model.num_classes, model.k, model.psi)
    tally.above(losses.hscl if hard else losses.scl, bound)
    tally.models += 1


def _attained_elsewhere(psi: PsiKind, *, hard: bool = False):
    """Whether the bound is attained by unit, collapsed, zero-sum features that are not NC."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        tally = Tally()
        for features in (SQUARE, TWO_PAIRS):
            _above(tally, representation(features, psi, Exponential(TWO)), hard=hard)
        return tally.measurement()

    return measure


@in_balls()
def hardening_repairs_linear(effort: Effort) -> Measurement:
    """HSCL > bound for the linear loss at every zero-sum frame that is not an ETF."""
    tally = Tally()
    for features in (SQUARE, TWO_PAIRS):
        for beta in (HALF, TWO, Fraction(20)):
            for psi in (Linear(), InfoNCE(alpha=Fraction(0))):
                _above(tally, representation(features, psi, Exponential(beta)), hard=True)
    return tally.measurement()


def _broken(change: Callable[[LatentClassModel], LatentClassModel], *, classes: int = 3):
    """The bound where one hypothesis is broken, starting from neural collapse."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        tally = Tally()
        model = change(neural_collapse(num_classes=classes, k=1))
        compare_with_bound(tally, model)
        found = exact_losses(model)
        bound = supervised_bound(model.num_classes, model.k, model.psi)
        return tally.measurement(SCL=float(found.scl), HSCL=float(found.hscl), bound=float(bound))

    return measure


def _scaled(model: LatentClassModel, factor: Fraction) -> LatentClassModel:
    return replace(model, features=tuple(tuple(factor * x for x in f) for f in model.features))


def _unbalanced(model: LatentClassModel) -> LatentClassModel:
    prior = (Fraction(8, 10), Fraction(1, 10), Fraction(1, 10))
    return replace(model, prior=prior, features=((ONE,), (-ONE,), (-ONE,)))


def _saturating(model: LatentClassModel) -> LatentClassModel:
    """Non-convex: steep at v = 0, flat at -2, so that sacrificing one class pays."""
    psi = BadSigmoid(a=Fraction(10), c=Fraction(8, 5))
    return replace(model, psi=psi, features=((ONE,), (ONE,), (-ONE,)))


def _not_monotone(model: LatentClassModel) -> LatentClassModel:
    """``(v + 1)^2``: least at v = -1, above the smallest possible v."""
    return _scaled(replace(model, psi=BadSquare(ONE)), Fraction(4, 5))


def _softened(model: LatentClassModel) -> LatentClassModel:
    return replace(model, eta=Exponential(Fraction(-20)), features=((ONE,), (-ONE,), (ONE,)))


@in_balls()
def different_class_means(effort: Effort) -> Measurement:
    """Anchors at +1 and negatives at -1, whatever the class: every v is -2."""
    tally = Tally()
    outcome = Outcome(fmpq(1), (fmpq(-1),), fmpq(1))
    plain, _ = plain_and_hard([outcome], psi=InfoNCE(), eta=Exponential(ONE))
    tally.at_least(plain, supervised_bound(3, 1, InfoNCE()))
    tally.models = 1
    return tally.measurement(gap_reached=2.0, gap_of_the_bound=float(nc_gap(3)))


BOUND = "Theorem 2"

CLAIMS = (
    Claim(
        name="the bound of SCL and HSCL",
        statement="SCL >= psi_k(-C/(C-1), ..) and HSCL too, for every representation in the unit "
        "ball.",
        reference=BOUND,
        hypotheses="balanced; |f| <= 1; psi_k convex, non-decreasing; anchors and negatives share "
        "class means",
        evidence=Evidence.PROVED,
        measure=on_random_models,
        controls=(
            Control("prior .8, .1, .1", "balanced classes", _broken(_unbalanced)),
            Control("norm 1.2", "unit ball", _broken(lambda m: _scaled(m, Fraction(6, 5)))),
            Control("a sigmoid as psi", "convex psi", _broken(_saturating)),
            Control("a square as psi", "non-decreasing psi", _broken(_not_monotone)),
            Control("beta < 0", "non-decreasing eta", _broken(_softened)),
            Control(
                "anchors at +1, negatives at -1",
                "shared class means of anchors and negatives",
                different_class_means,
            ),
        ),
    ),
    Claim(
        name="neural collapse attains the bound",
        statement="SCL = HSCL = psi_k(-C/(C-1), ..) at neural collapse, for C = 2 .. 10.",
        reference=BOUND,
        hypotheses="d >= C - 1; disjoint class supports; eta(-1/(C-1), ..) > 0",
        evidence=Evidence.CERTIFIED,
        measure=at_collapse,
        controls=(Control("d < C - 1", "d >= C - 1", below_the_dimension),),
    ),
    Claim(
        name="only neural collapse attains it",
        statement="SCL > psi_k(-C/(C-1), ..) away from neural collapse, however near.",
        reference=BOUND,
        hypotheses="psi_k strictly convex and strictly increasing (for InfoNCE, alpha > 0 or "
        "k >= 2)",
        evidence=Evidence.PROVED,
        measure=only_at_collapse,
        controls=(
            Control("linear psi", "strictly convex psi", _attained_elsewhere(Linear())),
            Control(
                "InfoNCE, alpha = 0, k = 1",
                "alpha > 0 or k >= 2",
                _attained_elsewhere(InfoNCE(alpha=Fraction(0))),
            ),
            Control("hinge, margin 2", "strict psi", _attained_elsewhere(TripletSum(TWO))),
        ),
    ),
    Claim(
        name="hardening repairs the linear loss",
        statement="HSCL is above the bound at zero-sum frames other than NC, where linear SCL "
        "attains it.",
        reference="this project",
        hypotheses="eta strictly increasing; psi strictly increasing at the bound",
        evidence=Evidence.PROVED,
        measure=hardening_repairs_linear,
        controls=(
            Control(
                "hinge, margin 0",
                "psi strictly increasing at the bound",
                _attained_elsewhere(TripletSum(Fraction(0)), hard=True),
            ),
        ),
    ),
)
