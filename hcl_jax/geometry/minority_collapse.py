"""Minority collapse: how rare classes must be for SCL to map them to one point.

There are A majority classes, each R times as frequent as each of B minority classes. Where the
minority classes are one point, the best similarities are z between the two kinds and
``x = (A z^2 - 1) / (A - 1)`` between majority classes, with a root z in [-1, 0] of

    A gamma_x z + B gamma_z = 0,

the only one for SCL, or z = -1 where there is none; ``gamma_x``, ``gamma_z`` and ``gamma_w`` are
the symmetrised derivatives of the loss in one similarity between majority classes, between the
kinds and between minority classes. The point splits if ``A gamma_z |z| < B gamma_w`` and does not
if ``A gamma_z |z| > B gamma_w`` (`docs/unequal_priors.md`, Theorem M).

All of this is arithmetic of Python, in float64 whatever JAX computes in.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from hcl_jax.geometry._checks import Average, check_average, known_number, known_temperature
from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_choice

LARGEST = 1e12
"""Imbalances up to here are looked at."""

STEP = 2**0.125
"""Between the imbalances that are looked at."""

MOST_CLASSES = 2**53
"""Numbers of classes up to here are exact in float64."""

MOST_NEGATIVES = 256
"""Negatives that are summed over; more are as good as infinitely many."""


class _Loss(NamedTuple):
    """The numbers of InfoNCE with exponentially tilted negatives."""

    temperature: float
    alpha: float
    q: float
    num_negatives: int | None
    beta: float
    detached: bool


class _Slopes(NamedTuple):
    """The derivatives of the loss in one similarity of each sort."""

    majority: float
    between: float
    minority: float


def minority_collapse_threshold(
    majority: int,
    minority: int,
    temperature: float,
    *,
    alpha: float = 1.0,
    q: float = 1.0,
    num_negatives: int | None = None,
    beta: float = 0.0,
    stop_gradient_hardening: bool = True,
    average: Average = "pairs",
) -> float:
    """R*: the first imbalance at which SCL is least where all minority classes are one point.

    There are `majority` classes of one frequency and `minority` classes that are R times as rare.
    Source: `docs/unequal_priors.md`, Theorem M: for SCL the point is the optimum over all
    representations on the unit sphere of C - 1 dimensions or more. For HSCL (beta above 0) R* says
    where it is stable against splitting along an unused dimension, which is a local statement.

    Args:
        majority: the number A of frequent classes, at least 1.
        minority: the number B of rare classes, at least 2.
        temperature: the temperature of InfoNCE, at least 0.004.
        alpha: the non-negative weight of the positive in InfoNCE.
        q: the positive weight of the negatives in InfoNCE.
        num_negatives: the number k of negatives, at most 256, which takes seconds; None for
            infinitely many, the weights estimator.
        beta: the hardness, not negative; 0 is SCL.
        stop_gradient_hardening: whether the weights of the negatives are constants to
            differentiation, see `hcl_jax.Conventions`.
        average: as `scl_optimum`.

    Returns:
        The smallest R of at least 1 at which the point does not split, to rounding, looked for at
        powers of 2^(1/8) and then by halving; infinity if it splits at all of them up to 1e12. The
        point may be stable in a window of imbalances alone, which is missed if it lies between two
        of them, and split again beyond: for HSCL, and for SCL with alpha = 0 and three or more
        majority classes. That it does not for SCL with alpha = q = 1 is certified for eleven cases
        from 1.001 times that R on (with one majority class up to 1e9), not proved.

    Raises:
        ValueError, TypeError: for too few classes or too many negatives, and for numbers that are
            traced by JAX or out of their range.

    Example:
        >>> round(minority_collapse_threshold(2, 2, 1.0, average="anchors"), 3)
        25.048
        >>> minority_collapse_threshold(3, 2, 1.0, average="anchors")  # three hold them apart
        inf
    """
    majority, minority = (
        check_count("majority", majority),
        check_count("minority", minority, minimum=2),
    )
    if max(majority, minority) > MOST_CLASSES:
        raise ValueError(f"there must be at most {MOST_CLASSES} classes of each kind")
    if num_negatives is not None:
        num_negatives = check_count("num_negatives", num_negatives)
        if num_negatives > MOST_NEGATIVES:
            raise ValueError(f"num_negatives must be at most {MOST_NEGATIVES}, got {num_negatives}")
    check_choice("stop_gradient_hardening", stop_gradient_hardening, (False, True))
    check_average(average)
    loss = _Loss(
        known_temperature(temperature),
        known_number("alpha", alpha),
        known_number("q", q, positive=True),
        num_negatives,
        known_number("beta", beta),
        bool(stop_gradient_hardening),
    )

    def splits(imbalance: float) -> bool:
        return _splits(loss, majority, minority, imbalance, pairs=average == "pairs")

    high = 1.0
    while splits(high):
        if high >= LARGEST:
            return math.inf
        high *= STEP
    return _bisect(lambda ratio: not splits(ratio), max(1.0, high / STEP), high)


def _splits(loss: _Loss, majority: int, minority: int, imbalance: float, *, pairs: bool) -> bool:
    """Whether minority classes at one point gain by moving apart."""

    def slopes(z: float) -> _Slopes:
        x = (majority * z * z - 1) / (majority - 1) if majority > 1 else 0.0
        return _slopes(loss, majority, minority, imbalance, (x, z), pairs=pairs)

    def rises(z: float) -> bool:
        found = slopes(z)
        return majority * found.majority * z + minority * found.between > 0

    z = -1.0 if majority == 1 or rises(-1.0) else _bisect(rises, -1.0, 0.0)
    found = slopes(z)
    return majority * found.between * -z < minority * found.minority


def _slopes(
    loss: _Loss,
    majority: int,
    minority: int,
    imbalance: float,
    similarities: tuple[float, float],
    *,
    pairs: bool,
) -> _Slopes:
    """The symmetrised derivatives where minority classes are one point, up to a common factor."""
    x, z = similarities
    weight = imbalance**2 if pairs else imbalance  # of a majority class as anchor
    frequent = (majority - 1) * imbalance
    of_majority = _row(loss, (x, frequent), (z, float(minority)))
    of_minority = _row(loss, (z, majority * imbalance), (1.0, minority - 1.0))
    inside = weight * of_majority[0] / (majority - 1) if majority > 1 else 0.0
    between = weight * of_majority[1] / minority + of_minority[0] / majority
    return _Slopes(inside, between / 2, of_minority[1] / (minority - 1))


def _row(
    loss: _Loss, first: tuple[float, float], second: tuple[float, float]
) -> tuple[float, float]:
    """The derivatives of the loss of an anchor in the similarities of two kinds of negatives.

    Each kind is its similarity and how much it weighs; all of a kind move together.
    """
    (u, weight), (v, other) = first, second
    beta, rate = loss.beta, 1 / loss.temperature
    top = max(u, v)
    weight, other = weight * math.exp(beta * (u - top)), other * math.exp(beta * (v - top))
    p, rest = weight / (weight + other), other / (weight + other)
    grown, held = math.exp(rate * (u - 1)), math.exp(rate * (v - 1))
    tilt = 0.0 if loss.detached else beta
    if loss.num_negatives is None:
        total = loss.alpha + loss.q * (p * grown + rest * held)
        change = tilt * p * rest * (grown - held)
        return (
            loss.q * (rate * p * grown + change) / total,
            loss.q * (rate * rest * held - change) / total,
        )
    k, share = loss.num_negatives, loss.q / loss.num_negatives
    first_slope = second_slope = exchange = 0.0
    for others, chance in enumerate(_binomial(k - 1, p, rest)):
        total = loss.alpha + share * (others * grown + (k - 1 - others) * held)
        first_slope += chance * share * grown / (total + share * grown)
        second_slope += chance * share * held / (total + share * held)
        exchange += chance * math.log((total + share * grown) / (total + share * held))
    change = tilt * p * rest * exchange
    return k * (rate * p * first_slope + change), k * (rate * rest * second_slope - change)


def _binomial(count: int, p: float, rest: float) -> list[float]:
    """The probabilities of 0, .., `count` of a binomial law, from those of one trial."""
    if p == 0 or rest == 0:
        law = [0.0] * (count + 1)
        law[0 if p == 0 else count] = 1.0
        return law
    logs = [
        math.lgamma(count + 1)
        - math.lgamma(n + 1)
        - math.lgamma(count - n + 1)
        + n * math.log(p)
        + (count - n) * math.log(rest)
        for n in range(count + 1)
    ]
    return [math.exp(log) for log in logs]


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where something begins to hold that does not at `low` and does at `high`."""
    while low < (middle := (low + high) / 2) < high:
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
