"""Paley frames, at which the spectrum of S has a closed form: `docs/escape.md`, section 4.

A Paley frame of a prime ``p = 4 n + 1`` is p unit vectors in (p - 1) / 2 dimensions with zero sum
and the similarities ``-1 / (p - 1) +- sigma``, ``sigma = sqrt(p) / (p - 1)``, by whether the
difference of two numbers is a square modulo p.
"""

import math
from typing import NamedTuple

from flint import arb

from theory.escape.matrix import EscapeProblem
from theory.model.rationals import ball

PRIMES = (5, 13, 17, 29, 37, 101)


class Spectrum(NamedTuple):
    """The eigenvalues of S.

    Attributes:
        old: on the dimensions that the frame spans.
        offset: of a common coordinate of all classes.
        new: on all other (p - 1) / 2 dimensions.
    """

    old: arb
    offset: arb
    new: arb


def paley_spectrum(prime: int, problem: EscapeProblem) -> Spectrum:
    """The closed form; raises ValueError where there is no Paley frame."""
    _check_prime(prime)
    spread = arb(prime).sqrt() / (prime - 1)
    beta, kappa = ball(problem.beta), problem.kappa
    hard, tilted = (_others(prime, problem, b) for b in (kappa, beta))
    if problem.detached:
        even, signed = hard, hard * (kappa * spread).tanh()
    else:
        tau = ball(problem.psi.tau)
        even = tau * (kappa * hard - beta * tilted)
        signed = kappa * hard * (kappa * spread).tanh() - beta * tilted * (beta * spread).tanh()
        signed = tau * signed
    share = paley_share(prime, problem)
    gap = arb(prime) / (prime - 1)
    return Spectrum(arb(0), share * (even * gap - spread * signed), -2 * share * spread * signed)


def paley_share(prime: int, problem: EscapeProblem) -> arb:
    """P, the same for all classes; raises ValueError where there is no Paley frame."""
    _check_prime(prime)
    psi, beta, kappa = problem.psi, ball(problem.beta), problem.kappa
    spread, gap = arb(prime).sqrt() / (prime - 1), arb(prime) / (prime - 1)
    apart = (-gap / ball(psi.tau)).exp() * (kappa * spread).cosh() / (beta * spread).cosh()
    weighted = ball(psi.limit_weight) * (1 - _others(prime, problem, beta) * (1 - apart))
    return weighted / (ball(psi.alpha) + weighted) / ball(psi.tau)


def paley_signs(prime: int) -> list[int]:
    """The quadratic character of 0, 1, .., p - 1."""
    _check_prime(prime)
    squares = {x * x % prime for x in range(1, prime)}
    return [0, *(1 if x in squares else -1 for x in range(1, prime))]


def paley_gram(prime: int) -> list[list[arb]]:
    """The similarities of a Paley frame."""
    spread = arb(prime).sqrt()
    level = {0: arb(1), 1: (spread - 1) / (prime - 1), -1: (-spread - 1) / (prime - 1)}
    signs = paley_signs(prime)
    return [[level[signs[(i - j) % prime]] for j in range(prime)] for i in range(prime)]


def _check_prime(prime: int) -> None:
    """Refuses what is not a prime of the form 4 n + 1."""
    if prime < 5 or prime % 4 != 1 or any(prime % d == 0 for d in range(2, math.isqrt(prime) + 1)):
        raise ValueError(f"a Paley frame needs a prime of the form 4 n + 1, got {prime}")


def _others(prime: int, problem: EscapeProblem, multiplier: arb) -> arb:
    """n(b), the share of negatives of other classes under the weights ``e^{b t}``."""
    if problem.supervised:
        return arb(1)
    spread, gap = arb(prime).sqrt() / (prime - 1), arb(prime) / (prime - 1)
    odds = ball(problem.own_weight) * (multiplier * gap).exp() / (prime - 1)
    return 1 / (1 + odds / (multiplier * spread).cosh())
