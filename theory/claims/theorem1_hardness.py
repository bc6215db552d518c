"""The loss as a function of the hardness: non-decreasing in beta for exponential tilting.

``d/dbeta E_beta psi = Cov_beta(psi, sum t) >= 0``, because an exponentially tilted product law is
again a product law, for every real beta. A general increasing family of hardening functions need
not have this property: the control is ``exp(beta phi)`` with phi increasing but not supermodular.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import ClassVar

from flint import arb, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses, expected_losses
from theory.model.eta_kinds import Exponential, ReluPower
from theory.model.kinds import EtaForm, EtaKind
from theory.model.psi_kinds import Linear
from theory.model.random_models import random_model

SEED = 2
POWERS = tuple(Fraction(b) for b in ("1/2", "1", "2", "5", "20"))
HARDNESSES = (0, 10, 100)
BETAS = tuple(Fraction(b) for b in ("-20", "-3", "-1/2", "0", "1/2", "2", "8", "30"))


@in_balls()
def on_random_models(effort: Effort) -> Measurement:
    """HSCL and HUCL along a grid of beta from -20 to 30."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(5, 60, 400)):
        model = random_model(
            rng, eta=Exponential(BETAS[0]), norm=rng.choice((Fraction(1), Fraction(2)))
        )
        before = exact_losses(model)
        for beta in BETAS[1:]:
            after = exact_losses(replace(model, eta=Exponential(beta)))
            tally.at_least(after.hscl, before.hscl)
            tally.at_least(after.hucl, before.hucl)
            before = after
        tally.models += 1
    return tally.measurement(**{r"$\beta$": ", ".join(map(str, BETAS))})


@in_balls()
def along_powers(effort: Effort) -> Measurement:
    """HSCL and HUCL for ``prod max(0, t_i + a)^beta``, that is g = log max(0, t + a)."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(5, 60, 400)):
        shift = Fraction(rng.randint(0, 15), 10)
        model = random_model(rng, eta=ReluPower(shift, POWERS[0]))
        before = exact_losses(model)
        for power in POWERS[1:]:
            after = exact_losses(replace(model, eta=ReluPower(shift, power)))
            tally.at_least(after.hscl, before.hscl)
            tally.at_least(after.hucl, before.hucl)
            before = after
        tally.models += 1
    return tally.measurement(**{r"$\beta$": ", ".join(map(str, POWERS))})


@dataclass(frozen=True)
class PlateauHardness(EtaKind):
    """``exp(beta phi(t_1, t_2))``, phi increasing but not supermodular; for balls only.

    phi is 1 if a similarity is 1, else 9/10 if both are at least 9/10, else 0: two fairly hard
    negatives come just below one that is hardest, though together they cost more.
    """

    b: int
    kind: ClassVar[str] = "plateau"
    form: ClassVar[EtaForm] = EtaForm.JOINT

    def of_tuple(self, ts: Sequence[fmpq]) -> arb:
        """eta of two similarities."""
        both_hard = fmpq(9, 10) if min(ts) >= fmpq(9, 10) else fmpq(0)
        level = fmpq(1) if max(ts) >= 1 else both_hard
        return arb(level * self.b).exp()


@in_balls()
def on_a_plateau(effort: Effort) -> Measurement:
    """The loss under `PlateauHardness` at growing beta, t in {0, 9/10, 1}, psi the mean of v."""
    law = {fmpq(0): fmpq(90, 100), fmpq(9, 10): fmpq(9, 100), fmpq(1): fmpq(1, 100)}
    s = fmpq(1)
    tally, losses = Tally(), []
    for b in HARDNESSES:
        hard = expected_losses(law, [s], k=2, psi=Linear(), eta=PlateauHardness(b)).hard[s]
        losses.append(hard)
    for before, after in pairwise(losses):
        tally.at_least(after, before)
    tally.models = 1
    return tally.measurement(
        **{rf"at $\beta = {b}$": float(loss) for b, loss in zip(HARDNESSES, losses, strict=True)}
    )


CLAIMS = (
    Claim(
        name="harder negatives, higher loss",
        statement=r"HSCL and HUCL are non-decreasing in $\beta$ for "
        r"$\eta = \exp(\beta \sum t_i)$, for every real $\beta$",
        reference="docs/theory.md, Theorem 1",
        hypotheses=r"$\psi_k$ argument-wise non-decreasing; negatives independent; exponential "
        "tilting",
        evidence=Evidence.PROVED,
        measure=on_random_models,
        controls=(
            Control(
                r"$\exp(\beta \varphi)$, $\varphi$ increasing but not supermodular",
                "exponential tilting (a log-supermodular family)",
                on_a_plateau,
            ),
        ),
    ),
    Claim(
        name="harder powers, higher loss",
        statement=r"HSCL and HUCL are non-decreasing in $\beta$ for "
        r"$\eta = \exp(\beta \sum g(t_i))$, $g$ non-decreasing; here "
        r"$\prod \max(0, t_i + a)^\beta$",
        reference="docs/theory.md, Theorem 1",
        hypotheses=r"$\psi_k$ argument-wise non-decreasing; negatives independent; $\beta > 0$",
        evidence=Evidence.PROVED,
        measure=along_powers,
        controls=(
            Control(
                r"$\exp(\beta \varphi)$, $\varphi$ increasing but not supermodular",
                r"$\varphi$ a sum over negatives",
                on_a_plateau,
            ),
        ),
    ),
)
