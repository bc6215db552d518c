"""The collapse reduction: the proof of the floor of HUCL, step by step, on models.

Given an anchor x of label y put ``u = f(x) . mu_y - t`` for a negative of similarity t and
``w_c = -(1/beta) log E[e^{-beta u} | c]``. Then ``w_y <= 0``, the loss of the anchor is at least

    G_k(w) = E psi_k(-w_{c_1}, .., -w_{c_k}),   c_i iid with probabilities ~ e^{-beta w_c},

and that is at least the floor. Each of the three inequalities is compared in balls.
"""

import random
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

from flint import arb, ctx, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, compare
from theory.claims.theorem4_floor import BETAS, LOSSES, PRECISION, floor_of, hardness_of
from theory.exact.balls import conditional_losses
from theory.model.eta_kinds import Exponential
from theory.model.latent_classes import LatentClassModel
from theory.model.multisets import multisets
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import random_model
from theory.model.rationals import ball, rational

SEED = 2312


def reduction(
    model: LatentClassModel, anchor: int, label: int, *, self_positive: bool = False
) -> tuple[arb, arb, arb]:
    """The three numbers of the collapse reduction, for one anchor.

    Args:
        model: balanced, InfoNCE, exponential tilting with beta > 0.
        anchor: the number of a point.
        label: a class that has the point.
        self_positive: takes the anchor as its own positive, which breaks the hypothesis that
            positives are independent of it.

    Returns:
        The HUCL loss given anchor and label, ``G_k(w)``, and ``w_y``.

    Raises:
        ValueError: for another psi or eta.
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
    return loss, _reduced_loss(psi, model.k, masses, beta), -masses[label].log() / beta


def measure_reduction(effort: Effort) -> Measurement:
    """Checks the three inequalities of the reduction for every anchor of random models."""
    return _measure_reduction(effort.choose(10, 60, 600), self_positive=False)


def measure_self_positives(effort: Effort) -> Measurement:
    """The same with every anchor its own positive."""
    return _measure_reduction(effort.choose(10, 30, 100), self_positive=True)


def _measure_reduction(count, *, self_positive):
    generator = random.Random(SEED)
    verdicts, least, anchors = Counter(), float("inf"), 0
    with ctx.workprec(PRECISION):
        for _ in range(count):
            psi, eta = generator.choice(LOSSES[:3]), Exponential(generator.choice(BETAS))
            model = random_model(generator, psi=psi, eta=eta, balanced=True, joint=False)
            lowest = floor_of(model.num_classes, model.k, psi, hardness_of(model)).value
            for label, law in enumerate(model.class_laws):
                for anchor in (i for i, p in enumerate(law) if p > 0):
                    numbers = reduction(model, anchor, label, self_positive=self_positive)
                    loss, reduced, own = numbers
                    for left, right in ((loss, reduced), (arb(0), own), (reduced, lowest)):
                        verdicts[compare(left, right)] += 1
                    least = min(least, float(reduced - lowest))
                    anchors += 1
    return Measurement(verdicts, count, least, SEED, {"anchors": anchors})


def _reduced_loss(psi, k, masses, beta):
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
    return sum(numbers, arb(0))


CLAIMS = (
    Claim(
        name="collapse reduction",
        statement="the loss of an anchor is at least G_k(w), w_y <= 0, and G_k(w) is at least the "
        "floor",
        reference="docs/hucl_optimum.md, Lemmas 1 and 2",
        hypotheses="as for the floor; InfoNCE",
        evidence=Evidence.PROVED,
        measure=measure_reduction,
        controls=(
            Control("x+ = x", "positives independent of the anchor", measure_self_positives),
        ),
    ),
)
