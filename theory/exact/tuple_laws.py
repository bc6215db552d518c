"""Losses under any law of the k-tuple of negatives, written out outcome by outcome.

The theorems are also asked about laws outside the data model: mixtures, sampling without
replacement, negatives that come with their second view, fixed batches. Here such a law is a list of
outcomes, given everything that the normaliser of the tilt conditions on.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations, product
from typing import NamedTuple

from flint import arb, fmpq

from theory.model.kinds import EtaKind, PsiKind
from theory.model.rationals import rational


class Outcome(NamedTuple):
    """One possible tuple: its probability, the negatives' t, and the positive's s.

    Attributes:
        tilting: the similarities that eta sees, where they are not those that psi sees.
    """

    probability: fmpq
    ts: tuple[fmpq, ...]
    s: fmpq
    tilting: tuple[fmpq, ...] | None = None


def plain_and_hard(outcomes: Sequence[Outcome], *, psi: PsiKind, eta: EtaKind) -> tuple[arb, arb]:
    """``E psi`` and ``E[psi eta] / E[eta]`` under one law; equal where ``E[eta] = 0``."""
    plain, hard, normaliser = arb(0), arb(0), arb(0)
    for probability, ts, s, tilting in outcomes:
        value = psi_of(psi, [t - s for t in ts])
        weight = eta.of_tuple(ts if tilting is None else tilting) * probability
        plain += value * probability
        hard += value * weight
        normaliser += weight
    return plain, plain if normaliser == 0 else hard / normaliser


def psi_of(psi: PsiKind, v: Sequence[fmpq]) -> arb:
    """psi_k of an ordered tuple, by the weights of its places."""
    k = len(v)
    if psi.of_maximum:
        return psi.each(max(v))
    total = arb(0)
    for weight, x in zip(psi.place_weights(k), v, strict=True):
        total += psi.each(x) * rational(weight)
    return psi.finisher(k)(total)


def independent(values: Sequence[fmpq], k: int, *, s: fmpq) -> list[Outcome]:
    """k independent negatives, each uniform on `values`: sampling with replacement."""
    share = fmpq(1, len(values) ** k)
    return [Outcome(share, ts, s) for ts in product(values, repeat=k)]


def without_replacement(values: Sequence[fmpq], k: int, *, s: fmpq) -> list[Outcome]:
    """k different members of `values`, in random order."""
    tuples = list(permutations(values, k))
    return [Outcome(fmpq(1, len(tuples)), ts, s) for ts in tuples]


def mixture(
    parts: Sequence[tuple[Fraction, Sequence[tuple[Fraction, Fraction]]]], k: int, *, s: Fraction
) -> list[Outcome]:
    """k negatives that are independent only given which part of a mixture they all come from.

    Parts are weights with laws, lists of (probability, t).
    """
    found = []
    for weight, law in parts:
        for draws in product(law, repeat=k):
            probability = weight
            for p, _ in draws:
                probability *= p
            ts = tuple(rational(t) for _, t in draws)
            found.append(Outcome(rational(probability), ts, rational(s)))
    return found
