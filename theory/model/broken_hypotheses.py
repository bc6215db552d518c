"""Models that break one hypothesis of Theorems 2 and 3, for controls."""

from dataclasses import replace
from fractions import Fraction

from theory.model.eta_kinds import Exponential
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import BadSigmoid, BadSquare, TripletMax
from theory.model.random_models import collapsed_model, neural_collapse, own_points, uniform

ONE = Fraction(1)
HEAVY_CLASS = ((ONE,), (-ONE,), (-ONE,))
"""The first class against the two others, on a line."""


def scaled(model: LatentClassModel, factor: Fraction) -> LatentClassModel:
    """The same with all features multiplied by a factor: outside the unit ball above one."""
    return replace(model, features=tuple(tuple(factor * x for x in f) for f in model.features))


def longer_features() -> LatentClassModel:
    """A simplex ETF of norm 6/5."""
    return scaled(neural_collapse(num_classes=3), Fraction(6, 5))


def unbalanced(heaviest: Fraction) -> LatentClassModel:
    """One class of this prior, and two that share what is left and one point."""
    rest = (1 - heaviest) / 2
    return replace(collapsed_model(HEAVY_CLASS), prior=(heaviest, rest, rest))


def with_a_heavy_class() -> LatentClassModel:
    """With many negatives and the largest v, the heavy class loses little and the others gain."""
    return replace(unbalanced(Fraction(9, 10)), psi=TripletMax(Fraction(2)), k=8)


def saturating_psi() -> LatentClassModel:
    """A psi that is not convex: steep at v = 0, flat at -2, so that sacrificing one class pays."""
    features = ((ONE,), (ONE,), (-ONE,))
    return collapsed_model(features, psi=BadSigmoid(a=Fraction(10), c=Fraction(8, 5)))


def psi_that_falls(radius: Fraction) -> LatentClassModel:
    """``(v + 1)^2``, least at v = -1 and not at the smallest v, on a simplex ETF of this radius."""
    return neural_collapse(num_classes=3, radius=radius, psi=BadSquare(ONE))


def softened() -> LatentClassModel:
    """An eta that decreases: similar negatives are all but left out."""
    return collapsed_model(((ONE,), (-ONE,), (ONE,)), eta=Exponential(Fraction(-20)))


def positives_are_anchors(
    *, num_classes: int = 2, k: int = 1, radius: Fraction = ONE
) -> LatentClassModel:
    """x+ = x: classes of two instances each, with all instances at a simplex ETF."""
    points, laws = range(2 * num_classes), own_points([uniform(2)] * num_classes)
    joint = tuple(
        tuple(tuple(p if i == j else 0 * ONE for j in points) for i, p in enumerate(law))
        for law in laws
    )
    instances = neural_collapse(num_classes=len(points), k=k, radius=radius)
    return replace(instances, prior=uniform(num_classes), class_laws=laws, joint=joint)
