"""The collapse reduction: the proof of the floor of HUCL, step by step, on models.

Given an anchor x of label y put ``u = f(x) . mu_y - t`` for a negative of similarity t and
``w_c = -(1/beta) log E[e^{-beta u} | c]``. Then ``w_y <= 0``, the loss of the anchor is at least

    G_k(w) = E psi_k(-w_{c_1}, .., -w_{c_k}),   c_i iid with probabilities ~ e^{-beta w_c},

and that is at least the floor. Each of the three inequalities is compared in balls.
"""

import random
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from flint import arb, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import conditional_losses
from theory.model.eta_kinds import Exponential
from theory.model.latent_classes import LatentClassModel
from theory.model.multisets import multisets
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import random_model
from theory.model.rationals import ball, rational
from theory.optimum.floor_of_models import floor_of

SEED = 2312
LOSSES = (InfoNCE(), InfoNCE(q=None), InfoNCE(alpha=Fraction(0), tau=Fraction(1, 2)))
BETAS = (Fraction(1, 2), Fraction(1), Fraction(5), Fraction(20))


class AnchorBounds(NamedTuple):
    """The three numbers that the reduction compares, for one anchor and one of its labels.

    Attributes:
        loss: the HUCL loss given anchor and label.
        reduced: ``G_k(w)``.
        own: ``w_y``.
    """

    loss: arb
    reduced: arb
    own: arb


def reduction(
    model: LatentClassModel, anchor: int, label: int, *, self_positive: bool = False
) -> AnchorBounds:
    """The collapse reduction for one anchor of a balanced model; InfoNCE, exp tilting, beta > 0.

    With `self_positive` the anchor is its own positive, which breaks a hypothesis.
    """
    psi, eta = model.psi, model.eta
    if not isinstance(psi, InfoNCE) or not isinstance(eta, Exponential) or eta.beta <= 0:
        raise ValueError(f"the reduction is written for InfoNCE and beta > 0, got {psi}, {eta}")
    similarities = [rational(t) for t in model.gram[anchor]]
    law = model.class_laws[label]
    if self_positive:
        law = tuple(Fraction(i == anchor) for i in range(model.num_points))
    hard = conditional_losses(model, similarities, model.marginal, range(model.num_classes)).hard
    loss, mean = arb(0), fmpq(0)
    for i, p in enumerate(law):
        if p > 0:
            loss += hard[similarities[i]] * rational(p)
            mean += similarities[i] * rational(p)
    beta = ball(eta.beta)
    masses = []
    for class_law in model.class_laws:
        terms = zip(class_law, similarities, strict=True)
        masses.append(_sum(((t - mean) * beta).exp() * rational(p) for p, t in terms if p > 0))
    reduced = _reduced_loss(psi, model.k, masses, beta)
    return AnchorBounds(loss, reduced, own=-masses[label].log() / beta)


@in_balls(bits=250)
def on_random_models(effort: Effort) -> Measurement:
    """The three inequalities of the reduction for every anchor of random models."""
    return _compare_anchors(effort.choose(10, 60, 600), self_positive=False)


@in_balls(bits=250)
def with_self_positives(effort: Effort) -> Measurement:
    """The same with every anchor its own positive."""
    return _compare_anchors(effort.choose(10, 30, 100), self_positive=True)


def _compare_anchors(count: int, *, self_positive: bool) -> Measurement:
    """Records the three inequalities for every anchor and label of `count` random models."""
    rng, tally, anchors = random.Random(SEED), Tally(seed=SEED), 0
    for _ in range(count):
        psi, eta = rng.choice(LOSSES), Exponential(rng.choice(BETAS))
        model = random_model(rng, psi=psi, eta=eta, balanced=True, joint=False)
        lowest = floor_of(model).value
        for label, law in enumerate(model.class_laws):
            for anchor in (i for i, p in enumerate(law) if p > 0):
                found = reduction(model, anchor, label, self_positive=self_positive)
                tally.at_least(found.loss, found.reduced)
                tally.at_least(arb(0), found.own)
                tally.at_least(found.reduced, lowest)
                anchors += 1
        tally.models += 1
    return tally.measurement(anchors=anchors)


def _reduced_loss(psi: InfoNCE, k: int, masses: Sequence[arb], beta: arb) -> arb:
    """``G_k(w)`` for InfoNCE, with ``masses[c] = e^{-beta w_c}``."""
    total = _sum(masses)
    decay = 1 / (beta * ball(psi.tau))
    each = [(mass.log() * decay).exp() for mass in masses]
    finish, result = psi.finisher(k), arb(0)
    for places, ways in multisets(len(masses), k):
        weight = arb(ways)
        for place in places:
            weight *= masses[place] / total
        result += weight * finish(_sum(each[place] for place in places))
    return result


def _sum(numbers: Iterable[arb]) -> arb:
    """The sum of balls, zero if there are none."""
    return sum(numbers, arb(0))


CLAIMS = (
    Claim(
        name="collapse reduction",
        statement=r"the loss of an anchor is at least $G_k(w)$, $w_y \le 0$, and $G_k(w)$ is at "
        "least the floor",
        reference="docs/hucl_optimum.md, Lemma 1 and Lemma 2",
        hypotheses="as for the floor; InfoNCE",
        evidence=Evidence.PROVED,
        measure=on_random_models,
        controls=(
            Control("$x^+ = x$", "positives independent of the anchor", with_self_positives),
        ),
    ),
)
