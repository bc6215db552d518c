"""The least collapsed SCL over all Gram matrices of unit vectors, by an interior point method.

Classes that weigh alike are alike at the optimum, so that one similarity stands for all pairs of
two kinds of classes. With n_i classes of kind i and T the similarities between kinds, the Gram
matrix is positive definite iff all ``T_ii < 1`` and the matrix Q with ``Q_ii = 1 + (n_i - 1) T_ii``
and ``Q_ij = sqrt(n_i n_j) T_ij`` is, and its determinant is ``det Q prod_i (1 - T_ii)^(n_i - 1)``.
Newton's method minimises the loss minus mu times the logarithm of that, for mu down to 0.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Vector = Float[np.ndarray, " classes"]
Matrix = Float[np.ndarray, "classes classes"]
OfKinds = Float[np.ndarray, "kinds kinds"]
Counts = Int[np.ndarray, " kinds"]
Places = Int[np.ndarray, " classes"]
Free = Float[np.ndarray, " free"]
Curvatures = Float[np.ndarray, "free free"]

RELATIVE_GAP = 1e-11
"""mu ends where it allows a gap of so much of the sum of the slopes."""

STEPS = 60
"""Of Newton's method for each mu; some five are usual."""


class Weights(NamedTuple):
    """What the loss ``sum_c anchors_c log(alpha + q M_c)`` weighs, and its numbers.

    ``M_c = sum_{c' != c} negatives_c' / (1 - negatives_c) e^{(t_cc' - 1) / temperature}``.

    Attributes:
        anchors: a share for every class as anchors.
        negatives: the same as negatives.
        temperature: of InfoNCE, as alpha and q.
    """

    anchors: Vector
    negatives: Vector
    temperature: float
    alpha: float
    q: float


class _Kinds(NamedTuple):
    """Classes that weigh alike, and the similarities between them that are free.

    Attributes:
        counts: how many classes there are of each kind.
        rows, columns: the kinds of each free similarity.
        scale: what it is multiplied with in Q, half of that on the diagonal.
        shares: the weights of the negatives of each kind for an anchor of each kind.
        anchors: the weights of all anchors of each kind.
    """

    counts: Counts
    rows: Int[np.ndarray, " free"]
    columns: Int[np.ndarray, " free"]
    scale: Free
    shares: OfKinds
    anchors: Float[np.ndarray, " kinds"]


def least_gram(weights: Weights) -> Matrix:
    """The Gram matrix of unit vectors with the least loss: that of the least gap on the way."""
    values, kind, counts = _alike(weights)
    kinds, places = _kinds(values, counts), np.ix_(kind, kind)

    def gap(gram: Matrix) -> float:
        return duality_gap(gram, loss_and_slopes(gram, weights)[1], weights)

    grams = (_square(kinds, found)[places] for found in _interior_point(kinds, weights))
    return min(map(_with_ones, grams), key=gap)


def loss_and_slopes(gram: Matrix, weights: Weights) -> tuple[float, Matrix]:
    """The loss, and its symmetric derivative in the similarities, zero on the diagonal."""
    shares = np.tile(weights.negatives, (len(gram), 1))
    np.fill_diagonal(shares, 0)
    shares /= shares.sum(axis=1, keepdims=True)
    terms = weights.q * shares * np.exp((gram - 1) / weights.temperature)
    totals = terms.sum(axis=1)
    scale = weights.anchors / (weights.alpha + totals) / weights.temperature
    slopes = scale[:, None] * terms
    return float(np.sum(weights.anchors * _log(weights.alpha, totals))), (slopes + slopes.T) / 2


def duality_gap(gram: Matrix, slopes: Matrix, weights: Weights) -> float:
    """How far the loss of a Gram matrix can be above the least one.

    For any y with ``S = slopes - diag(y)`` positive semidefinite, convexity bounds the loss of all
    Gram matrices from below by that of this one minus ``<S, gram>``. Here y is the one for which
    that is zero, lowered by a multiple of the weights of the anchors, or of ones, until S is.
    """
    _, kind, counts = _alike(weights)
    matrix, roots = slopes - np.diag(np.sum(slopes * gram, axis=1)), np.sqrt(weights.anchors)
    lowest = _lowest_eigenvalue(matrix, kind, counts) * len(gram)
    scaled = _lowest_eigenvalue(matrix / np.outer(roots, roots), kind, counts)
    return max(0.0, -float(max(lowest, scaled * np.sum(weights.anchors))))


def _lowest_eigenvalue(matrix: Matrix, kind: Places, counts: Counts) -> float:
    """Of a symmetric matrix in which classes of one kind are alike.

    Its eigenvectors are constant on kinds, or differences of classes of one kind.
    """
    first = np.unique(kind, return_index=True)[1]
    last = len(kind) - 1 - np.unique(kind[::-1], return_index=True)[1]
    own, pairs = matrix[first, first], matrix[first, last]
    reduced = np.sqrt(np.outer(counts, counts)) * matrix[np.ix_(first, first)]
    np.fill_diagonal(reduced, own + (counts - 1) * pairs)
    apart = (own - pairs)[counts > 1]
    return float(min([np.linalg.eigvalsh(reduced)[0], *apart]))


def _alike(weights: Weights) -> tuple[Float[np.ndarray, "kinds 2"], Places, Counts]:
    """The kinds of classes by their weights, the kind of each class, and their numbers."""
    pairs = np.stack([weights.anchors, weights.negatives], axis=1)
    values, kind, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    return values, kind.ravel(), counts


def _kinds(values: Float[np.ndarray, "kinds 2"], counts: Counts) -> _Kinds:
    """The kinds of classes with these weights as anchors and as negatives."""
    rows, columns = np.triu_indices(len(counts))
    free = (rows != columns) | (counts[rows] > 1)
    rows, columns = rows[free], columns[free]
    shares = np.tile(counts * values[:, 1], (len(counts), 1))
    shares[np.diag_indices(len(counts))] = (counts - 1) * values[:, 1]
    shares /= shares.sum(axis=1, keepdims=True)
    across = np.sqrt(counts[rows] * counts[columns])
    scale = np.where(rows == columns, (counts[rows] - 1) / 2, across)
    return _Kinds(counts, rows, columns, scale, shares, counts * values[:, 0])


def _square(kinds: _Kinds, similarities: Free) -> OfKinds:
    """The symmetric matrix of similarities between kinds."""
    matrix = np.zeros((len(kinds.counts),) * 2)
    matrix[kinds.rows, kinds.columns] = matrix[kinds.columns, kinds.rows] = similarities
    return matrix


def _reduced(kinds: _Kinds, similarities: Free) -> OfKinds:
    """Q, the Gram matrix on vectors that do not tell classes of one kind apart."""
    matrix = _square(kinds, kinds.scale * similarities)
    return matrix + np.diag(1 + np.diag(matrix))


def _interior_point(kinds: _Kinds, weights: Weights) -> Iterator[Free]:
    """Follows the minimisers from orthogonal classes to the optimum."""
    found, count = np.zeros(len(kinds.rows)), kinds.counts.sum()
    mu = _size(kinds, weights, found) / count
    while True:
        found = _minimise(kinds, weights, found, mu)
        yield found
        if mu * count <= RELATIVE_GAP * _size(kinds, weights, found):
            break
        mu /= 10


def _with_ones(gram: Matrix) -> Matrix:
    """The matrix with ones on the diagonal."""
    np.fill_diagonal(gram, 1)
    return gram


def _size(kinds: _Kinds, weights: Weights, found: Free) -> float:
    """The sum of the slopes of the loss."""
    return float(np.sum(np.abs(_derivatives(kinds, weights, found)[0])))


def _minimise(kinds: _Kinds, weights: Weights, found: Free, mu: float) -> Free:
    """Newton's method on the loss plus mu times the barrier."""

    def value(at: Free) -> float:
        return _loss(kinds, weights, at) + mu * _barrier(kinds, at)

    for _ in range(STEPS):
        slopes, curvatures = _derivatives(kinds, weights, found)
        slopes_of_barrier, curvatures_of_barrier = _derivatives_of_barrier(kinds, found)
        slopes += mu * slopes_of_barrier
        curvatures += mu * curvatures_of_barrier
        step = -np.linalg.solve(curvatures, slopes)
        drop, here, length = -float(slopes @ step), value(found), 1.0
        while value(found + length * step) > here - length * drop / 1000 and length > 1e-12:
            length /= 2
        found = found + length * step
        if drop < mu / 1000 or length <= 1e-12:
            break
    return found


def _loss(kinds: _Kinds, weights: Weights, similarities: Free) -> float:
    """The loss of classes with these similarities."""
    grown = np.exp((_square(kinds, similarities) - 1) / weights.temperature)
    totals = weights.q * np.sum(kinds.shares * grown, axis=1)
    return float(np.sum(kinds.anchors * _log(weights.alpha, totals)))


def _derivatives(kinds: _Kinds, weights: Weights, similarities: Free) -> tuple[Free, Curvatures]:
    """Gradient and Hessian of the loss."""
    rows, columns = kinds.rows, kinds.columns
    terms = weights.q * kinds.shares
    terms *= np.exp((_square(kinds, similarities) - 1) / weights.temperature)
    parts = terms / (weights.alpha + terms.sum(axis=1, keepdims=True))
    slopes = kinds.anchors[:, None] * parts / weights.temperature
    gradient = slopes[rows, columns] + np.where(rows == columns, 0, slopes[columns, rows])
    hessian = np.zeros((len(rows),) * 2)
    for kind, weight in enumerate(kinds.anchors):
        own = np.flatnonzero((rows == kind) | (columns == kind))
        part = parts[kind, rows[own] + columns[own] - kind]
        curvature = np.diag(part) - np.outer(part, part)
        hessian[np.ix_(own, own)] += weight * curvature / weights.temperature**2
    return gradient, hessian


def _barrier(kinds: _Kinds, similarities: Free) -> float:
    """Minus the logarithm of the determinant, infinite where the Gram matrix is not positive."""
    gaps = 1 - np.diag(_square(kinds, similarities))
    if np.any(gaps <= 0):
        return np.inf
    try:
        factor = np.linalg.cholesky(_reduced(kinds, similarities))
    except np.linalg.LinAlgError:
        return np.inf
    return -float(2 * np.sum(np.log(np.diag(factor))) + np.sum((kinds.counts - 1) * np.log(gaps)))


def _derivatives_of_barrier(kinds: _Kinds, similarities: Free) -> tuple[Free, Curvatures]:
    """Gradient and Hessian of the barrier."""
    rows, columns, scale = kinds.rows, kinds.columns, kinds.scale
    inverse = np.linalg.inv(_reduced(kinds, similarities))
    gradient = -2 * scale * inverse[rows, columns]
    hessian = inverse[np.ix_(rows, rows)] * inverse[np.ix_(columns, columns)]
    hessian += inverse[np.ix_(rows, columns)] * inverse[np.ix_(columns, rows)]
    hessian *= 2 * np.outer(scale, scale)
    own = np.flatnonzero(rows == columns)
    gaps, others = 1 - similarities[own], kinds.counts[rows[own]] - 1
    gradient[own] += others / gaps
    hessian[own, own] += others / gaps**2
    return gradient, hessian


def _log(alpha: float, totals: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """``log(alpha + totals)``, to rounding where the totals are small."""
    return np.log1p(alpha - 1 + totals) if alpha > 0.5 else np.log(alpha + totals)
