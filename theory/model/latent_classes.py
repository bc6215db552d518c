"""Finite latent-class models: the data model of the paper with every number exact.

A label y has a prior over C classes; the anchor x and the positive x+ given y = c have a joint law
on N points whose two marginals are the class law S_c, and are independent given y unless a joint
law is stated; negatives are independent given y, from the other classes (SCL, HSCL) or from the
whole population (UCL, HUCL), reweighted by eta in HSCL and HUCL. The representation is a table
of N feature vectors.

A model may break the hypotheses of the theorems (`Hypotheses` tells which); what it may not be is
ill-defined, and that is checked when it is made.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from theory.model.kinds import EtaKind, PsiKind
from theory.model.rationals import check_exact, shown

Vector = tuple[Fraction, ...]
Matrix = tuple[Vector, ...]

ROUNDING = Fraction(1, 10**40)
"""Features written as decimals of irrational vectors may leave the unit ball by this much."""


class Hypotheses(NamedTuple):
    """Which hypotheses of the theorems a model satisfies.

    Attributes:
        balanced: all classes have prior 1/C.
        unit_ball: ``|f(x)| <= 1`` on the support (up to 1e-40, the rounding of decimals).
        positives_conditionally_iid: x+ is independent of x given the label.
        d_ge_C_minus_1: the dimension leaves room for a simplex ETF.
        psi_legal: psi is convex and argument-wise non-decreasing.
        eta_legal: eta is non-negative and argument-wise non-decreasing.
    """

    balanced: bool
    unit_ball: bool
    positives_conditionally_iid: bool
    d_ge_C_minus_1: bool  # noqa: N815 (its name in model files)
    psi_legal: bool
    eta_legal: bool


@dataclass(frozen=True)
class LatentClassModel:
    """A finite latent-class model; immutable, checked when made.

    Attributes:
        prior: the probabilities of the C classes.
        class_laws: ``class_laws[c][i] = P(x = i | y = c)``.
        features: ``features[i] = f(i)``, N vectors of one dimension.
        k: the number of negatives.
        psi: the loss function.
        eta: the hardening function.
        joint: ``joint[c][i][j] = P(x = i, x+ = j | y = c)``, or None for x, x+ independent given y.
        name: what to call it.
    """

    prior: Vector
    class_laws: Matrix
    features: Matrix
    k: int
    psi: PsiKind
    eta: EtaKind
    joint: tuple[Matrix, ...] | None = None
    name: str = "model"

    def __post_init__(self) -> None:
        _check_law("prior", self.prior)
        if max(self.prior) == 1:
            raise ValueError("prior must leave room for another class, or SCL has no negatives")
        _check_count("class laws", len(self.class_laws), len(self.prior), "classes in the prior")
        for c, law in enumerate(self.class_laws):
            _check_law(f"class law {c}", law)
            _check_count(f"class law {c}", len(law), self.num_points, "feature vectors")
        dims = {len(feature) for feature in self.features}
        if len(dims) != 1 or 0 in dims:
            raise ValueError(f"features must have one dimension d >= 1, got {sorted(dims)}")
        for i, feature in enumerate(self.features):
            for j, x in enumerate(feature):
                check_exact(f"features[{i}][{j}]", x)
        self.psi.check_negatives(self.k)
        self.eta.check_negatives(self.k)
        self._check_joint()

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.prior)

    @property
    def num_points(self) -> int:
        """N."""
        return len(self.features)

    @cached_property
    def gram(self) -> Matrix:
        """All inner products ``f(i) . f(j)``, exactly."""
        size = self.num_points
        upper = {
            (i, j): sum(
                (a * b for a, b in zip(self.features[i], self.features[j], strict=True)),
                Fraction(0),
            )
            for i in range(size)
            for j in range(i, size)
        }
        return tuple(tuple(upper[min(i, j), max(i, j)] for j in range(size)) for i in range(size))

    @cached_property
    def marginal(self) -> Vector:
        """The law of one point of the population: the negatives of UCL."""
        return self.mixture(self.prior)

    def mixture(self, weights: Vector) -> Vector:
        """The mixture of the class laws with the given weights."""
        laws = zip(*self.class_laws, strict=True)
        return tuple(
            sum((w * p for w, p in zip(weights, column, strict=True)), Fraction(0))
            for column in laws
        )

    def other_classes(self, label: int) -> Vector:
        """The law of a negative of SCL: ``sum over c != y of prior_c S_c / (1 - prior_y)``."""
        left = 1 - self.prior[label]
        weights = (Fraction(0) if c == label else p / left for c, p in enumerate(self.prior))
        return self.mixture(tuple(weights))

    def positives(self, label: int, anchor: int, *, joint: bool) -> Vector:
        """``P(x = anchor, x+ = j | y = label)`` for all j; the joint law, if `joint`."""
        if joint and self.joint is not None:
            return self.joint[label][anchor]
        law = self.class_laws[label]
        return tuple(law[anchor] * p for p in law)

    @cached_property
    def hypotheses(self) -> Hypotheses:
        """Which hypotheses of the theorems hold."""
        classes = range(self.num_classes)
        support = [i for i, p in enumerate(self.marginal) if p > 0]
        iid = self.joint is None or all(
            self.positives(c, i, joint=True) == self.positives(c, i, joint=False)
            for c in classes
            for i in range(self.num_points)
        )
        return Hypotheses(
            balanced=len(set(self.prior)) == 1,
            unit_ball=all(self.gram[i][i] <= 1 + ROUNDING for i in support),
            positives_conditionally_iid=iid,
            d_ge_C_minus_1=len(self.features[0]) >= self.num_classes - 1,
            psi_legal=self.psi.legal,
            eta_legal=self.eta.legal,
        )

    def _check_joint(self) -> None:
        """Refuses joint laws of a wrong shape, negative, or with wrong marginals."""
        if self.joint is None:
            return
        _check_count("joint laws", len(self.joint), self.num_classes, "classes in the prior")
        for c, (table, law) in enumerate(zip(self.joint, self.class_laws, strict=True)):
            _check_count(f"joint law {c}", len(table), self.num_points, "feature vectors")
            for i, row in enumerate(table):
                _check_count(f"joint law {c}, row {i},", len(row), self.num_points, "points")
                for j, p in enumerate(row):
                    check_exact(f"joint law {c}[{i}][{j}]", p)
            if min(map(min, table)) < 0:
                lowest = shown(min(map(min, table)))
                raise ValueError(f"joint law {c} has a negative probability {lowest}")
            for of, rows in (("x", table), ("x+", zip(*table, strict=True))):
                _check_marginal(c, of, tuple(sum(row, Fraction(0)) for row in rows), law)


def _check_law(name: str, law: Vector) -> None:
    """Refuses what is not a probability law."""
    if not law:
        raise ValueError(f"{name} must not be empty")
    for i, p in enumerate(law):
        check_exact(f"{name}[{i}]", p)
    if min(law) < 0:
        raise ValueError(f"{name} has a negative probability {shown(min(law))}")
    if sum(law) != 1:
        raise ValueError(f"{name} must sum to 1, got {shown(sum(law, Fraction(0)))}")


def _check_count(name: str, found: int, expected: int, of: str) -> None:
    """Refuses a wrong number of things."""
    if found != expected:
        raise ValueError(f"{name} must number {expected}, one for each of the {of}, got {found}")


def _check_marginal(label: int, of: str, found: Vector, law: Vector) -> None:
    """Refuses a marginal that is not the class law, by the point."""
    for i, (p, q) in enumerate(zip(found, law, strict=True)):
        if p != q:
            raise ValueError(
                f"joint law {label}: the marginal of {of} must be the class law, but at point {i} "
                f"it is {shown(p)} instead of {shown(q)}"
            )
