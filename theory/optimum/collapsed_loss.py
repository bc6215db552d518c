"""The HUCL value of class-collapsed representations with finitely many negatives, any psi.

A class-collapsed representation whose similarities are larger by ``delta`` within a class than
between classes has, under exponential tilting, the HUCL value

    L_k(delta) = E psi_k(-delta b_1, .., -delta b_k),   b_i iid Bernoulli(p(delta)),
    p(delta) = (C - 1) / (C - 1 + exp(beta delta)),

whatever its dimension and its norms. It is evaluated here in balls, in float64, and as a Taylor
series; where psi weights its places, only the mean of the weights matters.
"""

from dataclasses import dataclass
from math import comb
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flint import arb, arb_series
from jaxtyping import Array, Float

from hcl_jax.validation.numbers import check_count
from theory.model.kinds import Ball, PsiKind, unweighted
from theory.model.rationals import rational


class Minimum(NamedTuple):
    """Enclosures of where ``L_k`` is least and of its value there."""

    delta: arb
    value: arb


@dataclass(frozen=True)
class CollapsedLoss:
    """``L_k`` as a function of delta, a ball or a power series, on one side of the kink of psi.

    Attributes:
        num_classes: C, at least 2.
        k: the number of negatives.
        psi: the loss function.
        beta: the hardness, of any sign.
    """

    num_classes: int
    k: int
    psi: PsiKind
    beta: arb

    def __post_init__(self) -> None:
        check_count("num_classes", self.num_classes, minimum=2)
        self.psi.check_negatives(self.k)

    def different(self, delta: Ball) -> Ball:
        """``p(delta)``, the tilted probability that a negative is of another class."""
        return 1 / ((delta * self.beta).exp() / (self.num_classes - 1) + 1)

    def at(self, delta: Ball, *, live: bool) -> Ball:
        """``L_k(delta)``; `live` tells whether ``-delta`` lies above the kink."""
        return self.mixture(self.different(delta), delta, live=live)

    def mixture(self, probability: Ball, delta: Ball, *, live: bool) -> Ball:
        """``E psi_k(-delta b)`` with b_i iid Bernoulli(probability)."""
        k, psi = self.k, self.psi
        at_zero = psi.collapsed(delta, 0, k, live=live)
        if psi.separable:
            return at_zero + (psi.collapsed(delta, k, k, live=live) - at_zero) * probability
        total = at_zero  # plus gains: the weights sum to one, which balls would not see
        for j in range(1, k + 1):
            weight = probability**j * (1 - probability) ** (k - j) * comb(k, j)
            total = total + (psi.collapsed(delta, j, k, live=live) - at_zero) * weight
        return total

    def value(self, delta: arb, *, live: bool) -> arb:
        """`at` of a ball."""
        return cast(arb, self.at(delta, live=live))

    def enclosed(self, delta: arb) -> arb:
        """A ball that contains all values over a ball of gaps, on both sides of the kink."""
        kink = self.psi.kink
        if kink is None or -delta > rational(kink):
            return self.value(delta, live=True)
        if -delta <= rational(kink):
            return self.value(delta, live=False)
        return self.value(delta, live=True).union(self.value(delta, live=False))

    def taylor(self, delta: arb, terms: int, *, live: bool) -> arb_series:
        """The Taylor series of `at` at a ball, with so many terms."""
        return cast(arb_series, self.at(arb_series([delta, 1], terms), live=live))


def check_floor(psi: PsiKind, beta: arb, within: arb | None) -> None:
    """Raises ValueError unless psi is legal, beta positive and `within` not negative, finite."""
    psi.check_legal()
    if not (beta > 0 and beta.is_finite()):
        raise ValueError(f"the floor needs a finite beta > 0, got {beta}")
    if within is not None and not (within >= 0 and within.is_finite()):
        raise ValueError(f"the floor needs a finite within >= 0, got {within}")


def collapsed_loss(delta: arb, *, num_classes: int, k: int, psi: PsiKind, beta: arb) -> arb:
    """``L_k`` of a ball of gaps; a ball that contains all its values."""
    return CollapsedLoss(num_classes, k, psi, beta).enclosed(delta)


def collapsed_loss_float64(
    deltas: Float[Array, " n"], *, num_classes: int, k: int, psi: PsiKind, beta: float
) -> Float[Array, " n"]:
    """``L_k`` on an array, with the shipped loss functions; run it under x64."""
    shift, shipped = psi.float64()
    share = float(sum(psi.place_weights(k)) / k)
    different = jnp.arange(k + 1)
    moved = (jnp.arange(k) < different[:, None]).astype(deltas.dtype)
    log_same = -jnp.logaddexp(0.0, jnp.log(num_classes - 1.0) - beta * deltas)
    log_different = -jnp.logaddexp(0.0, beta * deltas - jnp.log(num_classes - 1.0))
    ways = jnp.log(jnp.array([comb(k, j) for j in range(k + 1)], deltas.dtype))
    log_weights = ways + different * log_different[:, None] + (k - different) * log_same[:, None]
    losses = jax.vmap(lambda delta: unweighted(shipped, float(shift) - delta * moved))(deltas)
    return share * jnp.sum(jnp.exp(log_weights) * losses, axis=1)


def collapsed_taylor(
    delta: arb, *, num_classes: int, k: int, psi: PsiKind, beta: arb, terms: int = 3
) -> tuple[arb, ...]:
    """``L_k(delta), L_k'(delta), L_k''(delta) / 2, ..``, enclosed over the ball, for a smooth psi.

    Raises ValueError if psi has a kink.
    """
    if psi.kink is not None:
        raise ValueError(f"a Taylor series needs a smooth psi, got {psi}")
    series = CollapsedLoss(num_classes, k, psi, beta).taylor(delta, terms, live=True)
    return tuple(series[i] for i in range(terms))
