"""Collapsed SCL as a convex function of the Gram matrix, and certificates of its least value.

Theorem P of `docs/unequal_priors.md`: over Gram matrices G of unit vectors the loss is least where
some y makes ``S = slopes - diag(y)`` positive semidefinite with ``<S, G> = 0``. For any matrix,
also one that floating point found, and any such y, convexity bounds the least loss from below by
``loss - <slopes, G> + sum y``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from flint import arb
from jaxtyping import Float

from hcl_jax.validation.numbers import check_count
from theory.model.kinds import ONE
from theory.model.multisets import multisets
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball, check_exact, shown

Balls = Sequence[Sequence[arb]]
"""A square matrix."""


@dataclass(frozen=True)
class CollapsedSCL:
    """SCL of classes that are one unit vector each; checked when made.

    Attributes:
        priors: a positive probability for each of two or more classes.
        psi: InfoNCE with its alpha, q and temperature.
        k: the number of negatives; None stands for infinitely many.
        anchors: the weights of the classes as anchors; the priors if None.
    """

    priors: tuple[Fraction, ...]
    psi: InfoNCE = field(default_factory=InfoNCE)
    k: int | None = None
    anchors: tuple[Fraction, ...] | None = None

    def __post_init__(self) -> None:
        for name, law in (("priors", self.priors), ("anchors", self.weights)):
            _check_law(name, law)
        classes, anchors = len(self.priors), len(self.weights)
        if anchors != classes:
            raise ValueError(f"anchors must be one for each of {classes} classes, got {anchors}")
        if self.k is not None:
            check_count("k", self.k)
        self.psi.check_legal()

    @property
    def weights(self) -> tuple[Fraction, ...]:
        """The weights of the classes as anchors."""
        return self.priors if self.anchors is None else self.anchors

    def others(self, anchor: int) -> list[Fraction]:
        """The law of the classes of the negatives of an anchor."""
        rest = 1 - self.priors[anchor]
        return [Fraction(0) if c == anchor else p / rest for c, p in enumerate(self.priors)]


def _check_law(name: str, law: tuple[Fraction, ...]) -> None:
    """Refuses what is not a law of positive probabilities of two or more classes."""
    for i, p in enumerate(law):
        check_exact(f"{name}[{i}]", p)
    if len(law) < 2 or min(law) <= 0 or sum(law) != 1:
        raise ValueError(
            f"{name} must be positive, two or more, and sum to 1, got {[shown(p) for p in law]}"
        )


class Certified(NamedTuple):
    """The least loss lies between these numbers."""

    low: arb
    high: arb


def loss_and_slopes(problem: CollapsedSCL, gram: Balls) -> tuple[arb, list[list[arb]]]:
    """The loss, and its symmetric derivative in the similarities, zero on the diagonal."""
    total, slopes = arb(0), []
    for anchor, row in enumerate(gram):
        weight, law = ball(problem.weights[anchor]), problem.others(anchor)
        grown = [((t - 1) / ball(problem.psi.tau)).exp() for t in row]
        loss, parts = (
            _limit(problem, law, grown)
            if problem.k is None
            else _finite(problem, problem.k, law, grown)
        )
        total += weight * loss
        slopes.append([weight * part / ball(problem.psi.tau) for part in parts])
    size = range(len(gram))
    return total, [[(slopes[a][b] + slopes[b][a]) / 2 for b in size] for a in size]


def _limit(problem: CollapsedSCL, law: list[Fraction], grown: list[arb]) -> tuple[arb, list[arb]]:
    """The loss of an anchor for ``k = infinity``, and tau times its slopes."""
    terms = [ball(problem.psi.limit_weight * p) * e for p, e in zip(law, grown, strict=True)]
    whole = ball(problem.psi.alpha) + sum(terms, arb(0))
    return whole.log(), [term / whole for term in terms]


def _finite(
    problem: CollapsedSCL, k: int, law: list[Fraction], grown: list[arb]
) -> tuple[arb, list[arb]]:
    """The same for k negatives, over all multisets of classes."""
    share, alpha = ball(problem.psi.weight(k) / k), ball(problem.psi.alpha)
    loss, parts = arb(0), [arb(0)] * len(law)
    for classes, orders in multisets(len(law), k):
        chance = Fraction(orders)
        for c in classes:
            chance *= law[c]
        if chance:
            whole = alpha + share * sum((grown[c] for c in classes), arb(0))
            loss += ball(chance) * whole.log()
            for c in classes:
                parts[c] += ball(chance) * share * grown[c] / whole
    return loss, parts


def certificate_matrix(gram: Balls, slopes: Balls) -> list[list[arb]]:
    """S with the y for which its products with G have a zero diagonal."""
    matrix = [list(row) for row in slopes]
    for c, row in enumerate(slopes):
        matrix[c][c] = -sum((a * t for a, t in zip(row, gram[c], strict=True)), arb(0))
    return matrix


def least_loss_above(problem: CollapsedSCL, gram: Float[np.ndarray, "classes classes"]) -> arb:
    """A number that is not above the least loss, close to it if the Gram matrix is optimal.

    y is lowered by a multiple of the weights of the anchors until S is certainly positive. Raises
    ValueError unless the matrix is symmetric with ones on the diagonal, exactly.
    """
    exact = _balls(problem, gram)
    loss, slopes = loss_and_slopes(problem, exact)
    matrix = certificate_matrix(exact, slopes)
    roots = np.sqrt(np.array([float(w) for w in problem.weights]))
    rounded = np.array([[float(entry) for entry in row] for row in matrix])
    lowest = float(np.linalg.eigvalsh(rounded / np.outer(roots, roots))[0])
    shift = arb(max(-lowest, 0.0)) + arb("1e-14")
    while not is_positive(_with_diagonal(matrix, [shift * ball(w) for w in problem.weights])):
        shift *= 2
    return (loss - shift).lower()


def bracket(problem: CollapsedSCL, gram: Float[np.ndarray, "classes classes"]) -> Certified:
    """The least loss, from below by a certificate, from above by the loss of a Gram matrix.

    It is the given one mixed with as much of the unit matrix as makes it certainly positive. Raises
    as `least_loss_above`.
    """
    share, exact = arb(2) ** -44, _balls(problem, gram)
    while not is_positive(_mixed(exact, share)):
        share *= 2
    high = loss_and_slopes(problem, _mixed(exact, share))[0]
    return Certified(least_loss_above(problem, gram), high.upper())


def is_positive(matrix: Balls) -> bool:
    """Whether a symmetric matrix is certainly positive definite, by elimination."""
    rows = [list(row) for row in matrix]
    for step, pivots in enumerate(rows):
        if not pivots[step] > 0:
            return False
        for row in rows[step + 1 :]:
            factor = row[step] / pivots[step]
            for column in range(step, len(rows)):
                row[column] -= factor * pivots[column]
    return True


def shares(sizes: Sequence[int | Fraction]) -> tuple[Fraction, ...]:
    """The priors of classes of these sizes; ValueError unless all are positive."""
    if not sizes or min(sizes) <= 0:
        raise ValueError(f"sizes must be positive, got {list(sizes)}")
    return tuple(ONE * size / sum(sizes) for size in sizes)


def _balls(problem: CollapsedSCL, gram: Float[np.ndarray, "classes classes"]) -> list[list[arb]]:
    """The same numbers, exactly; ValueError unless they may be similarities of unit vectors."""
    wanted = (len(problem.priors),) * 2
    if gram.shape != wanted:
        raise ValueError(f"the Gram matrix must have shape {wanted}, as priors, got {gram.shape}")
    if not np.isfinite(gram).all() or (gram != gram.T).any() or (np.diag(gram) != 1).any():
        raise ValueError(
            "the Gram matrix must be finite and symmetric, with ones on the diagonal, exactly, "
            "as of unit vectors"
        )
    return [[arb(entry) for entry in row] for row in gram.tolist()]


def _mixed(gram: Balls, share: arb) -> list[list[arb]]:
    """The Gram matrix with so much of the unit matrix in it."""
    return [
        [arb(1) if a == b else (1 - share) * t for b, t in enumerate(row)]
        for a, row in enumerate(gram)
    ]


def _with_diagonal(matrix: Balls, added: list[arb]) -> list[list[arb]]:
    """A matrix plus a diagonal one."""
    return [
        [entry + (added[a] if a == b else 0) for b, entry in enumerate(row)]
        for a, row in enumerate(matrix)
    ]
