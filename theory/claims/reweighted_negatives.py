"""The loss of a batch that reweights its own negatives, between the untilted loss and the limit.

On a batch the tilted expectation of `theory.claims.number_of_negatives` is itself estimated, from
the N negatives at hand:

    R_N = E log(alpha + q e^{-s/tau} sum eta(t_i) e^{t_i/tau} / sum eta(t_i)).

Chebyshev's sum inequality puts it above the untilted loss with N negatives; Jensen's, and a law of
the reweighted negative that is less tilted than the limit's, put it below L_oo.
"""

import random
from fractions import Fraction
from operator import add, mul
from typing import NamedTuple

from flint import arb, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measure, Measurement, Tally, in_balls
from theory.exact.balls import expected_losses, limit_of_losses
from theory.model.eta_kinds import Exponential
from theory.model.kinds import EtaKind
from theory.model.multisets import multisets, over_multisets
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import Rng

SEED = 6


class Pool(NamedTuple):
    """What negatives are drawn from, and the loss of the draws.

    Attributes:
        law: probabilities of the similarity t of a negative.
        s: the similarity of the positive.
        psi: the loss function.
        eta: the hardening function, a product that is positive on the law.
    """

    law: dict[fmpq, fmpq]
    s: fmpq
    psi: InfoNCE
    eta: EtaKind


def reweighted(pool: Pool, size: int) -> arb:
    """``R_N``: the loss of N = `size` draws that are reweighted among themselves, averaged."""
    ts = list(pool.law)
    masses = [arb(pool.law[t]) for t in ts]
    tilts = [pool.eta.factor(t, 0) for t in ts]
    raised = [w * pool.psi.each(t - pool.s) for t, w in zip(ts, tilts, strict=True)]
    chances = over_multisets(masses, size, mul)
    tops, bottoms = (over_multisets(each, size, add) for each in (raised, tilts))
    finish, total = pool.psi.finisher(1), arb(0)
    for (_, orders), p, top, bottom in zip(
        multisets(len(ts), size), chances, tops, bottoms, strict=True
    ):
        total += p * orders * finish(top / bottom)
    return total


def random_pool(rng: Rng, *, sign: int = 1) -> Pool:
    """A pool with three to five similarities and InfoNCE; ``sign = -1`` softens."""
    ts = rng.sample(range(-10, 11), rng.randint(3, 5))
    weights = [rng.randint(1, 5) for _ in ts]
    law = {fmpq(t, 10): fmpq(w, sum(weights)) for t, w in zip(ts, weights, strict=True)}
    alpha, q, tau = (Fraction(rng.choice(("1/2", "1", "2"))) for _ in range(3))
    beta = sign * Fraction(rng.choice(("1/2", "1", "5", "20")))
    return Pool(law, fmpq(rng.randint(-10, 10), 10), InfoNCE(alpha, q, tau), Exponential(beta))


def _between_plain_and_limit(*, sign: int = 1, below: bool = True) -> Measure:
    """``L_N^0 <= R_N``, the former untilted, and, unless left out, ``R_N <= L_oo``; R_1 = L_1^0."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        rng, tally = random.Random(SEED), Tally(seed=SEED)
        for _ in range(effort.choose(5, 60, 400)):
            pool = random_pool(rng, sign=sign)
            law, s, psi, eta = pool
            limit = limit_of_losses(law, [s], psi=psi, eta=eta).hard[s]
            for size in (1, 2, 3, 5):
                found = reweighted(pool, size)
                plain = expected_losses(law, [s], k=size, psi=psi, eta=eta).plain[s]
                record = tally.equal if size == 1 else tally.at_least
                record(found, plain)
                if below:
                    tally.at_least(limit, found)
            tally.models += 1
        return tally.measurement(**{"$N$": "1, 2, 3, 5"})

    return measure


@in_balls()
def below_the_tilted_loss(effort: Effort) -> Measurement:
    """R_N against the tilted loss with k = N negatives, N = 2 .. 5: a conjecture."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(8, 80, 1000)):
        law, s, psi, eta = pool = random_pool(rng)
        for size in (2, 3, 4, 5):
            tilted = expected_losses(law, [s], k=size, psi=psi, eta=eta).hard[s]
            tally.at_least(tilted, reweighted(pool, size))
        tally.models += 1
    return tally.measurement(**{"$N$": "2, 3, 4, 5"})


@in_balls()
def against_finite_tilted(effort: Effort) -> Measurement:
    """Asks that R_5 be at most the tilted loss with one negative, which is not so in general."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(10, 30, 100)):
        law, s, psi, eta = pool = random_pool(rng)
        tilted = expected_losses(law, [s], k=1, psi=psi, eta=eta).hard[s]
        tally.at_least(tilted, reweighted(pool, 5))
        tally.models += 1
    return tally.measurement(**{"$N$": 5, "$k$": 1})


CLAIMS = (
    Claim(
        name="a batch that reweights its own negatives",
        statement=r"$L_N^0 \le R_N \le L_\infty$, $L_N^0$ untilted, $L_\infty$ tilted, for $N$ "
        "negatives that are reweighted among themselves, and $R_1 = L_1^0$",
        reference="docs/theory.md, the number of negatives",
        hypotheses=r"InfoNCE, $q$ fixed; $N$ independent negatives; $\eta = \prod h(t_i)$, "
        r"$h > 0$ non-decreasing ($h = e^{\beta t}$ with $\beta > 0$ is tried)",
        evidence=Evidence.PROVED,
        measure=_between_plain_and_limit(),
        controls=(
            Control(
                r"$\beta < 0$",
                r"$\beta \ge 0$",
                _between_plain_and_limit(sign=-1, below=False),
            ),
            Control(
                "$R_5$ below the tilted loss with one negative",
                r"$k = \infty$: for $k < N$ no order holds",
                against_finite_tilted,
            ),
        ),
    ),
    Claim(
        name="reweighted negatives against as many tilted ones",
        statement=r"$R_N \le L_N$ tilted, for as many negatives: a conjecture, on random laws",
        reference="docs/theory.md, the number of negatives",
        hypotheses=r"as before, and $k = N$, $N = 2, \dots, 5$",
        evidence=Evidence.OBSERVED,
        measure=below_the_tilted_loss,
        controls=(Control("$N = 5$, $k = 1$", r"$k \ge N$", against_finite_tilted),),
    ),
)
