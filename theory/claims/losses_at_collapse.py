"""The four losses at neural collapse in closed form, and what HUCL can never reach.

At NC a similarity is 1 within a class and ``-1/(C-1)`` between classes. SCL and HSCL are
``psi_k(-delta0, ..)``; UCL and HUCL are ``E psi_k(-delta0 b)`` with b_i iid Bernoulli, of
probability (C-1)/C for UCL and the tilted one for HUCL. The latter is strictly larger for every
beta > 0, so no representation attains the UCL bound under HUCL if psi is strict: equality would
force NC. Theorem 4(d) of `docs/hucl_optimum.md` says what the least HUCL in the unit ball is.
"""

import random
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses
from theory.exact.bounds import hucl_at_collapse, supervised_bound, unsupervised_bound
from theory.model.eta_kinds import Exponential, ReluPower, Sigmoid, Threshold
from theory.model.kinds import PsiKind
from theory.model.psi_kinds import InfoNCE, LogisticSum
from theory.model.random_models import neural_collapse, psi_choices
from theory.model.rationals import ball, rational
from theory.model.simplex import nc_gap
from theory.optimum.floor import floor

SEED = 5
ETAS = (
    Exponential(Fraction(1)),
    Exponential(Fraction(30)),
    ReluPower(Fraction(3, 2), Fraction(1, 2)),
    Sigmoid(Fraction(6), Fraction(1, 3)),
    Threshold(Fraction(0)),
)
BETAS = tuple(Fraction(b) for b in ("1/10", "1/2", "1", "5", "30"))


@in_balls()
def closed_forms(effort: Effort) -> Measurement:
    """All four losses of NC models, C = 2 .. 10, duplicates included."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for classes in range(2, effort.choose(4, 11, 11)):
        for psi in psi_choices(rng):
            for eta in ETAS:
                k, points = rng.choice((1, 2, 3) if classes < 5 else (1,)), 2 if classes < 6 else 1
                model = neural_collapse(num_classes=classes, points=points, k=k, psi=psi, eta=eta)
                losses, scl = exact_losses(model), supervised_bound(classes, k, psi)
                tally.equal(losses.scl, scl)
                tally.equal(losses.hscl, scl)
                tally.equal(losses.ucl, unsupervised_bound(classes, k, psi))
                tally.equal(losses.hucl, hucl_at_collapse(classes, k, psi, eta))
                tally.models += 1
    return tally.measurement()


@in_balls()
def closed_forms_off_collapse(effort: Effort) -> Measurement:
    """The closed form of HUCL at the ETF of radius 9/10."""
    tally = Tally()
    eta = ETAS[0]
    for classes in (2, 3, 4):
        model = neural_collapse(num_classes=classes, eta=eta, radius=Fraction(9, 10))
        tally.equal(exact_losses(model).hucl, hucl_at_collapse(classes, 1, model.psi, eta))
        tally.models += 1
    return tally.measurement()


@in_balls()
def floor_above_bound(effort: Effort) -> Measurement:
    """The least HUCL that Theorem 4 allows in the unit ball, against the UCL bound."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for classes in (2, 3, 4, 10, 100)[: effort.choose(2, 5, 5)]:
        for k in (1, 2, 4)[: effort.choose(2, 3, 3)]:
            for psi in (InfoNCE(), InfoNCE(q=None), *LogisticSum.random(rng, k)):
                for beta in BETAS:
                    _compare_inside_ball(tally, classes, k, psi, ball(beta))
    return tally.measurement(**{r"$\beta$": ", ".join(map(str, BETAS))})


def _compare_inside_ball(tally: Tally, classes: int, k: int, psi: PsiKind, beta: arb) -> None:
    """Records that the least HUCL in the unit ball is above the UCL bound."""
    edge = ball(nc_gap(classes))
    lowest = floor(num_classes=classes, k=k, psi=psi, beta=beta, within=edge)
    tally.above(lowest.value, unsupervised_bound(classes, k, psi))
    tally.models += 1


@in_balls()
def without_hardening(effort: Effort) -> Measurement:
    """beta = 0: HUCL is UCL and reaches the bound at NC."""
    tally = Tally()
    for classes in (2, 3, 4):
        model = neural_collapse(num_classes=classes, eta=Exponential(Fraction(0)))
        bound = unsupervised_bound(classes, 1, model.psi)
        tally.above(exact_losses(model).hucl, bound)
        tally.models += 1
    return tally.measurement()


@in_balls()
def above_at_collapse(effort: Effort) -> Measurement:
    """HUCL(NC) > UCL(NC) and HUCL(NC) increases in beta towards psi(0)."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for classes in (2, 3, 5, 10, 100)[: effort.choose(3, 5, 5)]:
        for psi in (*InfoNCE.random(rng, 2), *LogisticSum.random(rng, 2)):
            before = unsupervised_bound(classes, 2, psi)
            for beta in BETAS:
                value = hucl_at_collapse(classes, 2, psi, Exponential(beta))
                tally.above(value, before)
                before = value
            tally.above(psi.finisher(2)(psi.each(rational(Fraction(0))) * 2), before)
            tally.models += 1
    return tally.measurement()


CLAIMS = (
    Claim(
        name="the losses at neural collapse",
        statement=r"at NC $\mathrm{SCL} = \mathrm{HSCL} = \psi_k(-\delta_0, \dots)$, and UCL and "
        r"HUCL are $E \psi_k(-\delta_0 b)$, $b_i$ independent Bernoulli variables of probability "
        r"$p$: $p = (C-1)/C$ for UCL, $p = (C-1) h_- / ((C-1) h_- + h_+)$ with "
        "$h_- = h(-1/(C-1))$ and $h_+ = h(1)$ for HUCL",
        reference="docs/theory.md, the losses at NC",
        hypotheses=r"balanced classes; $\eta = \prod h(t_i)$; $C = 2, \dots, 10$ (quick runs: 2 "
        r"and 3) and $k \le 3$ are tried",
        evidence=Evidence.PROVED,
        measure=closed_forms,
        controls=(Control("ETF of radius 9/10", "unit norm", closed_forms_off_collapse),),
    ),
    Claim(
        name="HUCL at collapse exceeds UCL, grows with hardness",
        statement=r"$\mathrm{UCL(NC)} < \mathrm{HUCL(NC)} < \psi_k(0)$, its value where "
        r"$f$ is constant, for $\beta > 0$, and HUCL(NC) increases with $\beta$",
        reference="docs/theory.md, the losses at NC",
        hypotheses=r"$\psi_k(0) > \psi_k(-\delta_0, \dots)$; exponential tilting; $\beta$ in "
        r"$\lbrace .1, .5, 1, 5, 30 \rbrace$, $k = 2$, $C$ in $\lbrace 2, 3, 5, 10, 100 \rbrace$ "
        "(quick runs: 2, 3, 5) are tried",
        evidence=Evidence.PROVED,
        measure=above_at_collapse,
        controls=(Control(r"$\beta = 0$", r"$\beta > 0$", without_hardening),),
    ),
    Claim(
        name="no representation attains the UCL bound under HUCL",
        statement="the least of the HUCL profile within the unit ball is above the UCL bound "
        "(certified); by Theorem 4 (d), which is proved, so is every HUCL there",
        reference="docs/theory.md, the losses at NC",
        hypotheses=r"$\beta$ in $\lbrace .1, .5, 1, 5, 30 \rbrace$, balanced; InfoNCE or logistic "
        r"$\psi$; $k$ in $\lbrace 1, 2, 4 \rbrace$, $C$ in $\lbrace 2, 3, 4, 10, 100 \rbrace$ "
        "(quick runs: 1 and 2, 2 and 3)",
        evidence=Evidence.CERTIFIED,
        measure=floor_above_bound,
        controls=(Control(r"$\beta = 0$", r"$\beta > 0$", without_hardening),),
    ),
)
