"""Theorem 1 where negatives come from a finite pool, and its counterpart for reweighted batches.

Draws with replacement from a pool are independent. Draws without replacement are not, but uniform
k-subsets satisfy the FKG inequality on the lattice of sorted k-subsets, which is enough if psi and
eta are symmetric. For the weights of one batch Chebyshev's sum inequality needs no probability.
"""

import random
from collections.abc import Sequence
from fractions import Fraction

from flint import arb, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.tuple_laws import independent, plain_and_hard, without_replacement
from theory.model.eta_kinds import WeightedExponential
from theory.model.kinds import EtaForm
from theory.model.psi_kinds import LogisticSum
from theory.model.random_models import eta_choices, psi_choices

SEED = 1
POOL = tuple(fmpq(t, 10) for t in (-9, -4, 1, 2, 8))


@in_balls()
def finite_pools(effort: Effort) -> Measurement:
    """Sampling from a finite pool: with replacement, and without it for symmetric psi and eta."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(5, 30, 200)):
        values = [fmpq(rng.randint(-10, 10), 10) for _ in range(4)]
        s, k = fmpq(rng.randint(-10, 10), 10), rng.choice((2, 3))
        etas = [eta for eta in eta_choices(rng, k) if eta.form is not EtaForm.PLACES]
        psi, eta = rng.choice(psi_choices(rng)), rng.choice(etas)
        for law in (independent, without_replacement):
            plain, hard = plain_and_hard(law(values, k, s=s), psi=psi, eta=eta)
            tally.at_least(hard, plain)
            tally.models += 1
    return tally.measurement()


@in_balls()
def finite_pool_without_symmetry(effort: Effort) -> Measurement:
    """Draws without replacement, psi of the first negative alone and eta of the second alone."""
    tally = Tally()
    law = without_replacement(POOL, 2, s=fmpq(1))
    psi = LogisticSum(Fraction(1), (Fraction(1), Fraction(0)))
    plain, hard = plain_and_hard(law, psi=psi, eta=WeightedExponential((Fraction(0), Fraction(3))))
    tally.at_least(hard, plain)
    tally.models = 1
    return tally.measurement(plain=float(plain), hard=float(hard))


@in_balls()
def reweighted_batches(effort: Effort) -> Measurement:
    """Chebyshev: ``sum e^{(beta+1)t} / sum e^{beta t} >= mean e^t`` in every batch."""
    return _reweighted(effort, signs=(1,))


@in_balls()
def reweighted_batches_softened(effort: Effort) -> Measurement:
    """The same with negative beta."""
    return _reweighted(effort, signs=(-1,))


def _reweighted(effort: Effort, signs: Sequence[int]) -> Measurement:
    """Records the inequality for random similarities and beta of one of these signs."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(20, 200, 2000)):
        ts = [fmpq(rng.randint(-100, 100), 100) for _ in range(rng.randint(2, 8))]
        beta = rng.choice(signs) * fmpq(rng.randint(1, 100), 10)
        weights = [arb(beta * t).exp() for t in ts]
        values = [arb(t).exp() for t in ts]
        hard = sum((w * v for w, v in zip(weights, values, strict=True)), arb(0))
        tally.at_least(hard / sum(weights, arb(0)), sum(values, arb(0)) / len(ts))
        tally.models += 1
    return tally.measurement()


CLAIMS = (
    Claim(
        name="hardening within a finite pool",
        statement=r"Theorem 1 holds for draws with replacement, and without it if $\psi$ and "
        r"$\eta$ are symmetric",
        reference="docs/theory.md, Theorem 1",
        hypotheses=r"uniform draws; $\psi_k$ and $\eta$ non-decreasing, and symmetric if without "
        "replacement",
        evidence=Evidence.PROVED,
        measure=finite_pools,
        controls=(
            Control(
                r"without replacement, non-symmetric $\psi$ and $\eta$",
                "symmetry",
                finite_pool_without_symmetry,
            ),
        ),
    ),
    Claim(
        name="reweighting raises the mean in every batch",
        statement=r"$\sum e^{(\beta+1)t} / \sum e^{\beta t} \ge$ the mean of $e^t$ for any numbers "
        r"$t$ and $\beta \ge 0$",
        reference="docs/theory.md, Theorem 1",
        hypotheses=r"$\beta \ge 0$; no independence",
        evidence=Evidence.PROVED,
        measure=reweighted_batches,
        controls=(Control(r"$\beta < 0$", r"$\beta \ge 0$", reweighted_batches_softened),),
    ),
)
