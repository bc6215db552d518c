"""The matrix S of the escape from dimensional collapse, in balls: `docs/escape.md`, section 1.

It starts from the similarities of collapsed classes. The slopes D of the losses of the classes are
written down twice: as the formula of the page, and as the derivative of the definition by a power
series, which knows nothing of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from flint import arb, arb_series

from theory.model.latent_classes import ROUNDING
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball, check_exact

Balls = Sequence[Sequence[arb]]
"""A square matrix."""


@dataclass(frozen=True)
class EscapeProblem:
    """A loss of collapsed classes, for ``k = infinity``; checked when made.

    Attributes:
        supervised: whether negatives are of other classes only.
        beta: the hardness.
        psi: InfoNCE with its alpha, q and temperature.
        detached: whether the weights of the negatives are constants to differentiation.
        own_weight: the weight of the own class among unsupervised negatives, relative to each other
            class: 1 for the population, (m - 1) / m in batches.
    """

    supervised: bool
    beta: Fraction
    psi: InfoNCE = field(default_factory=InfoNCE)
    detached: bool = True
    own_weight: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        check_exact("beta", self.beta)
        check_exact("own_weight", self.own_weight)
        self.psi.check_legal()
        if self.beta < 0 or self.own_weight <= 0:
            raise ValueError(
                "beta must not be negative and own_weight positive, "
                f"got beta={self.beta}, own_weight={self.own_weight}"
            )

    @property
    def kappa(self) -> arb:
        """``beta + 1 / tau``."""
        return ball(self.beta + 1 / self.psi.tau)

    def weights(self, similarities: Sequence[arb], anchor: int, multiplier: arb) -> list[arb]:
        """The weights ``e^{multiplier t}`` of the classes of the negatives, normalised."""
        raw = [(multiplier * t).exp() for t in similarities]
        raw[anchor] *= arb(0) if self.supervised else ball(self.own_weight)
        total = sum(raw, arb(0))
        return [weight / total for weight in raw]

    def weighted_mean(self, similarities: Sequence[arb], anchor: int) -> arb:
        """``q M_c``, of similarities whose own entry is 1."""
        rate, tilted = 1 / ball(self.psi.tau), self.weights(similarities, anchor, ball(self.beta))
        terms = [w * (rate * (t - 1)).exp() for w, t in zip(tilted, similarities, strict=True)]
        return ball(self.psi.limit_weight) * sum(terms, arb(0))

    def share(self, similarities: Sequence[arb], anchor: int) -> arb:
        """``tau P_c = q M_c / (alpha + q M_c)``."""
        weighted = self.weighted_mean(similarities, anchor)
        return weighted / (ball(self.psi.alpha) + weighted)


def loss_of_classes(gram: Balls, problem: EscapeProblem) -> arb:
    """The mean over classes of ``log(alpha + q M_c)``; raises as `slopes`."""
    _check_gram(gram)
    alpha = ball(problem.psi.alpha)
    losses = [(alpha + problem.weighted_mean(row, c)).log() for c, row in enumerate(gram)]
    return sum(losses, arb(0)) / len(gram)


def slopes(gram: Balls, problem: EscapeProblem) -> list[list[arb]]:
    """D by the formula, 0 on the diagonal.

    Raises ValueError unless the similarities are those of two or more unit vectors, but for whether
    they are positive semidefinite.
    """
    _check_gram(gram)
    rate, found = 1 / ball(problem.psi.tau), []
    for c, row in enumerate(gram):
        hard = problem.weights(row, c, problem.kappa)
        tilted = problem.weights(row, c, ball(problem.beta))
        share = problem.share(row, c)
        pairs = zip(hard, tilted, strict=True)
        if problem.detached:
            found.append([share * rate * h for h, _ in pairs])
        else:
            found.append([share * (problem.kappa * h - ball(problem.beta) * t) for h, t in pairs])
        found[-1][c] = arb(0)
    return found


def _check_gram(gram: Balls) -> None:
    """Refuses what is not a finite symmetric matrix with ones on the diagonal, up to `ROUNDING`."""
    size, edge = range(len(gram)), ball(ROUNDING)
    if len(gram) < 2 or any(len(row) != len(gram) for row in gram):
        raise ValueError(
            "similarities must be a square matrix of two or more classes, "
            f"got rows of {[len(row) for row in gram]}"
        )
    for a in size:
        if abs(gram[a][a] - 1) > edge or not all(t.is_finite() for t in gram[a]):
            raise ValueError(
                f"similarities must be finite and 1 on the diagonal, got {gram[a]} of class {a}"
            )
        if any(abs(gram[a][b] - gram[b][a]) > edge for b in size):
            raise ValueError(f"similarities must be symmetric, those of class {a} are not")


def slope_by_definition(row: Sequence[arb], anchor: int, other: int, problem: EscapeProblem) -> arb:
    """``D_cc'`` as the derivative of the loss of a class in one similarity, by a power series."""
    rate, beta, psi = 1 / ball(problem.psi.tau), ball(problem.beta), problem.psi
    numerator, denominator = arb_series([0], 2), arb_series([0], 2)
    for c, t in enumerate(row):
        own = arb(0) if problem.supervised else ball(problem.own_weight)
        moving = arb_series([t, 1 if c == other else 0], 2)
        tilt = (beta * (arb_series([t], 2) if problem.detached else moving)).exp()
        tilt = tilt * own if c == anchor else tilt
        numerator, denominator = numerator + tilt * (rate * moving).exp(), denominator + tilt
    mean = numerator / denominator * (-rate * row[anchor]).exp()
    return (mean * ball(psi.limit_weight) + ball(psi.alpha)).log()[1]


def symmetric_part(matrix: Balls) -> list[list[arb]]:
    """``(D + D^T) / 2``."""
    size = range(len(matrix))
    return [[(matrix[a][b] + matrix[b][a]) / 2 for b in size] for a in size]


def escape_matrix(gram: Balls, weights: Balls) -> list[list[arb]]:
    """S, of the similarities of the classes and the slopes D."""
    matrix = symmetric_part(weights)
    for c, row in enumerate(matrix):
        row[c] = -sum((a * t for a, t in zip(row, gram[c], strict=True)), arb(0))
    return matrix


def guaranteed(gram: Balls, weights: Balls) -> arb:
    """B of Theorem A: ``-<S, G> / C`` with G the Gram matrix of NC, which is ``>= -lambda_min``.

    For every loss of the theorem, as ``B = (1/C) sum_cc' D_cc' (t_cc' + 1 / (C - 1))``.
    """
    count = len(gram)
    shift = arb(1) / (count - 1)
    terms = [
        w * (t + shift)
        for ws, ts in zip(weights, gram, strict=True)
        for w, t in zip(ws, ts, strict=True)
    ]
    return sum(terms, arb(0)) / count


def quotient(matrix: Balls, vector: Sequence[arb]) -> arb:
    """``z^T S z / |z|^2``, which is at least the least eigenvalue."""
    image = [sum((s * z for s, z in zip(row, vector, strict=True)), arb(0)) for row in matrix]
    square = sum((z * z for z in vector), arb(0))
    return sum((z * w for z, w in zip(vector, image, strict=True)), arb(0)) / square


def lowest_quotient(matrix: Balls) -> arb:
    """The quotient of the eigenvector that float64 finds for the least eigenvalue."""
    rounded = np.array([[float(entry) for entry in row] for row in matrix])
    lowest = np.linalg.eigh(rounded)[1][:, 0]
    return quotient(matrix, [arb(z) for z in lowest.tolist()])
