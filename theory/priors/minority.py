"""Minority classes at one point: whether they split, in balls, for one imbalance or a range.

There are A majority classes, R times as frequent as each of B minority classes. With ``s = 1 / R``
the best cross similarity of minority classes at one point is ``z = -s u``, u the root of
``A gamma_x u = B gamma_z / s``, and they split iff ``A (gamma_z / s) u < B gamma_w / s^2``
(Theorem M of `docs/unequal_priors.md`). All of these numbers have limits for s to 0, so that s may
be a ball that contains 0: an imbalance without bound.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from math import comb
from typing import NamedTuple

from flint import arb, ctx

from hcl_jax.validation.numbers import check_count
from theory.checking.boxes import has_sign_throughout
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball, check_exact

BOXES = 20_000
SMALLEST = arb(2) ** -60
"""Where a bisection ends that finds nothing."""


@dataclass(frozen=True)
class MinorityProblem:
    """Two kinds of classes and a loss; checked when made.

    Attributes:
        majority: A, at least 1.
        minority: B, at least 2.
        psi: InfoNCE.
        k: the number of negatives; None stands for infinitely many.
        beta: the hardness of HSCL, 0 for SCL.
        detached: whether the weights of the negatives are constants to differentiation.
        pairs: whether classes weigh by their pairs of members as anchors.
    """

    majority: int
    minority: int
    psi: InfoNCE = field(default_factory=InfoNCE)
    k: int | None = None
    beta: Fraction = Fraction(0)
    detached: bool = True
    pairs: bool = False

    def __post_init__(self) -> None:
        check_count("majority", self.majority)
        check_count("minority", self.minority, minimum=2)
        if self.k is not None:
            check_count("k", self.k)
        self.psi.check_legal()
        check_exact("beta", self.beta)
        if self.beta < 0:
            raise ValueError(f"beta must not be negative, got {self.beta}")


class Slopes(NamedTuple):
    """``gamma_x``, ``gamma_z / s`` and ``gamma_w / s^2``, up to a common factor."""

    majority: arb
    between: arb
    minority: arb


def slopes(problem: MinorityProblem, s: arb, z: arb) -> Slopes:
    """The symmetrised derivatives where minority classes are one point."""
    a, b = problem.majority, problem.minority
    x = (a * z * z - 1) / (a - 1) if a > 1 else arb(0)
    inside, across = _row(problem, (x, arb(a - 1)), (z, s * b))
    back, within = _row(problem, (z, arb(a)), (arb(1), s * (b - 1)))
    rare = s if problem.pairs else arb(1)
    majority = inside / (a - 1) if a > 1 else arb(0)
    return Slopes(majority, (across + rare * back / a) / 2, rare * within)


def cross_similarity(problem: MinorityProblem, s: arb) -> arb:
    """z, the best similarity between the kinds where minority classes are one point."""
    if problem.majority == 1:
        return arb(-1)
    low, high = _bracket(problem, s)
    return -s * low.union(high)


def excess(problem: MinorityProblem, s: arb) -> arb:
    """``A (gamma_z / s) u - B gamma_w / s^2``: negative where minority classes split."""
    a, b = problem.majority, problem.minority
    if a == 1:
        at = slopes(problem, s, arb(-1))
        return a * at.between / s - b * at.minority
    low, high = _bracket(problem, s)
    root = low.union(high)
    at = slopes(problem, s, -s * root)
    return a * at.between * root - b * at.minority


def keeps_sign(problem: MinorityProblem, low: arb, high: arb, *, splits: bool) -> bool:
    """Whether minority classes certainly split, or do not, for all s from `low` to `high`."""
    found = partial(excess, problem)
    return has_sign_throughout(found, low, high, positive=not splits, boxes=BOXES)


def _bracket(problem: MinorityProblem, s: arb) -> tuple[arb, arb]:
    """Numbers between which u lies: below the first the equation is certainly negative.

    Above the second it is certainly positive, or z below -1.
    """

    def equation(u: arb) -> arb:
        at = slopes(problem, s, -s * u)
        return problem.majority * at.majority * u - problem.minority * at.between

    high = arb(1)
    while not equation(high) > 0:
        if not 2 * s * high < 1:
            high = (1 / s).upper()  # z = -1, where there is no root
            break
        high = 2 * high
    narrow = max(arb(2) ** (20 - ctx.prec), s.rad() / 16 / max(s.abs_upper(), arb("1e-3")))
    return (
        _bisect(lambda u: not equation(u) < 0, arb(0), high, narrow)[0],
        _bisect(lambda u: bool(equation(u) > 0), arb(0), high, narrow)[1],
    )


def _bisect(holds: Callable[[arb], bool], low: arb, high: arb, narrow: arb) -> tuple[arb, arb]:
    """An interval, of that width relative to its end, before which something does not hold."""
    while high - low > narrow * high and high > SMALLEST:
        middle = ((low + high) / 2).mid()
        if holds(middle):
            high = middle
        else:
            low = middle
    return low, high


def _row(
    problem: MinorityProblem, first: tuple[arb, arb], second: tuple[arb, arb]
) -> tuple[arb, arb]:
    """The derivatives of the loss of an anchor in the similarities of two kinds of negatives.

    Each kind is its similarity and its weight. That of the second kind is divided by its weight,
    which may be 0.
    """
    (u, weight), (v, other) = first, second
    rate, tilt = 1 / ball(problem.psi.tau), ball(problem.beta)
    likely, rare = (tilt * (u - 1)).exp(), (tilt * (v - 1)).exp()
    total = weight * likely + other * rare
    p, each = weight * likely / total, rare / total  # other * each = 1 - p
    grown, held = (rate * (u - 1)).exp(), (rate * (v - 1)).exp()
    alpha, k = ball(problem.psi.alpha), problem.k
    if problem.detached:
        tilt = arb(0)
    if k is None:
        q = ball(problem.psi.limit_weight)
        whole = alpha + q * (p * grown + other * each * held)
        change = tilt * (grown - held)
        return (
            q * p * (rate * grown + other * each * change) / whole,
            q * each * (rate * held - p * change) / whole,
        )
    share, terms = ball(problem.psi.weight(k) / k), [arb(0)] * 3
    for others in range(k):
        chance = comb(k - 1, others) * p**others * (other * each) ** (k - 1 - others)
        rest = alpha + share * (grown * others + held * (k - 1 - others))
        up, down = rest + share * grown, rest + share * held
        parts = (share * grown / up, share * held / down, (up / down).log())
        terms = [term + chance * part for term, part in zip(terms, parts, strict=True)]
    change = tilt * terms[2]
    return (
        k * p * (rate * terms[0] + other * each * change),
        k * each * (rate * terms[1] - p * change),
    )
