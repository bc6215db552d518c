"""Theorem 3: ``UCL >= E psi_k(-C/(C-1) b)``, b_i iid Bernoulli((C-1)/C), in the unit ball.

Jensen given which negatives collide with the anchor's class: a collision contributes
``|mu_y|^2 - E[s | y]``, on average at least 0 by hypothesis, and 0 where positives are independent
of the anchor given the label; a negative of another class contributes at least ``-C/(C-1)``.
"""

import random
from dataclasses import replace
from fractions import Fraction
from itertools import product

from flint import arb, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.bounds import bernoulli_mixture, unsupervised_bound
from theory.exact.lower_bounds import LowerBound
from theory.exact.tuple_laws import Outcome, plain_and_hard
from theory.model.broken_hypotheses import (
    longer_features,
    positives_are_anchors,
    psi_that_falls,
    saturating_psi,
    with_a_heavy_class,
)
from theory.model.eta_kinds import Exponential
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE, TripletSum
from theory.model.random_models import (
    ball_features,
    collapsed_model,
    near_collapse,
    neural_collapse,
    own_points,
    psi_choices,
    random_model,
    some_psi,
    turned_collapse,
    uniform,
)
from theory.model.rationals import rational
from theory.model.simplex import nc_gap

SEED = 4
ONE, HALF = Fraction(1), Fraction(1, 2)
NO_TILT = Exponential(Fraction(0))
UNEQUAL = "prior .9, .05, .05, $k = 8$, triplet with maximum"

UCL = LowerBound(unsupervised_bound, ("ucl",))
BOTH = LowerBound(unsupervised_bound, ("ucl", "hucl"))
UCL_JOINT = LowerBound(unsupervised_bound, ("ucl_joint",))
"""For positives that depend on the anchor."""


@in_balls()
def on_random_models(effort: Effort) -> Measurement:
    """Balanced models in the unit ball, half of them near NC; HUCL too, by Theorem 1."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for i in range(effort.choose(30, 250, 2000)):
        features = near_collapse if i % 2 else None
        BOTH.is_met(tally, random_model(rng, balanced=True, joint=False, features=features))
    return tally.measurement()


@in_balls()
def at_collapse(effort: Effort) -> Measurement:
    """UCL = bound at NC, C = 2 .. 10, for every psi."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for classes in range(2, effort.choose(5, 11, 11)):
        for psi in psi_choices(rng):
            for k in (1, 3) if classes < 5 else (2,):
                model = neural_collapse(num_classes=classes, points=2, k=k, psi=psi)
                UCL.is_attained(tally, model)
    return tally.measurement()


@in_balls()
def at_collapse_unbalanced(effort: Effort) -> Measurement:
    """The same with priors 1/2, 1/4, 1/4."""
    tally = Tally()
    model = neural_collapse(num_classes=3)
    UCL.is_attained(tally, replace(model, prior=(HALF, HALF / 2, HALF / 2)))
    return tally.measurement()


@in_balls()
def only_at_collapse(effort: Effort) -> Measurement:
    """UCL > bound strictly away from NC for strict psi, on the sphere too."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(12, 120, 700)):
        psi, classes = some_psi(rng, strict=True), rng.choice((3, 3, 4))
        model = random_model(
            rng,
            balanced=True,
            joint=False,
            psi=psi,
            features=rng.choice((near_collapse, turned_collapse)),
            sizes=(classes, 2, classes - 1),
        )
        UCL.is_exceeded(tally, model)
    return tally.measurement()


@in_balls()
def with_a_slack_hinge(effort: Effort) -> Measurement:
    """The same prediction for a loss that is flat at the bound."""
    tally, features = Tally(), ((Fraction(9, 10),), (Fraction(-9, 10),))
    UCL.is_exceeded(tally, collapsed_model(features, psi=TripletSum(Fraction(0))))
    return tally.measurement()


@in_balls()
def other_instance(effort: Effort) -> Measurement:
    """x+ is another instance of the class, uniform, so that ``E[s | y] <= |mu_y|^2``."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    laws = own_points([uniform(3)] * 2)
    joint = tuple(
        tuple(
            tuple(p * q * 3 / 2 if i != j else 0 * ONE for j, q in enumerate(law))
            for i, p in enumerate(law)
        )
        for law in laws
    )
    for _ in range(effort.choose(10, 60, 400)):
        model = random_model(rng, balanced=True, joint=False, overlapping=False, sizes=(2, 3, 2))
        UCL_JOINT.is_met(tally, replace(model, class_laws=laws, joint=joint))
    return tally.measurement()


@in_balls()
def excluding_self(effort: Effort) -> Measurement:
    """Neither x+ nor x- may be x: two classes of two instances, collision probability 1/3."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(5, 60, 400)):
        model = random_model(rng, psi=some_psi(rng), sizes=(2, 2, 2), features=ball_features)
        _compare_instances(tally, model, positive_may_be_self=False)
    return tally.measurement()


@in_balls()
def excluding_self_from_negatives_only(effort: Effort) -> Measurement:
    """x+ may be x but x- may not: a little spread within the classes goes below the bound."""
    tally = Tally()
    x, y = Fraction(12, 13), Fraction(5, 13)
    spread = ((x, y), (x, -y), (-x, y), (-x, -y))
    psi = InfoNCE(tau=HALF)
    model = neural_collapse(num_classes=2, points=2, psi=psi, eta=NO_TILT)
    _compare_instances(tally, replace(model, features=spread), positive_may_be_self=True)
    return tally.measurement()


def _compare_instances(
    tally: Tally, model: LatentClassModel, *, positive_may_be_self: bool
) -> None:
    """All (anchor, positive, one negative) among two classes of two instances, equally likely."""
    gram = [[rational(t) for t in row] for row in model.gram]
    triples = [
        (i, j, n)
        for i, j, n in product(range(4), repeat=3)
        if i // 2 == j // 2 and n != i and (positive_may_be_self or i != j)
    ]
    share = fmpq(1, len(triples))
    outcomes = [Outcome(share, (gram[i][n],), gram[i][j]) for i, j, n in triples]
    plain, _ = plain_and_hard(outcomes, psi=model.psi, eta=NO_TILT)
    tally.at_least(plain, bernoulli_mixture(arb(2) / 3, nc_gap(2), 1, model.psi))
    tally.models += 1


CLAIMS = (
    Claim(
        name="the bound of UCL",
        statement=r"$\mathrm{UCL} \ge E \psi_k(-\delta_0 b_1, \dots, -\delta_0 b_k)$, $b_i$ "
        r"independent Bernoulli variables of probability $(C-1)/C$, in the unit ball, and so it is "
        "with HUCL",
        reference="docs/theory.md, Theorem 3",
        hypotheses=r"those of Theorem 2, and $E[s \mid y] \le \lvert\mu_y\rvert^2$ on average over "
        "classes, as where positives are independent of the anchor given the label (only such are "
        "tried); for HUCL those of Theorem 1 besides",
        evidence=Evidence.PROVED,
        measure=on_random_models,
        controls=(
            Control(
                "$x^+ = x$",
                r"$E[s \mid y] \le \lvert\mu_y\rvert^2$",
                UCL_JOINT.on(positives_are_anchors),
            ),
            Control(UNEQUAL, "balanced classes ($k > 1$)", UCL.on(with_a_heavy_class)),
            Control("norm 1.2", "unit ball", UCL.on(longer_features)),
            Control(r"a sigmoid as $\psi$", r"convex $\psi$", UCL.on(saturating_psi)),
            Control(
                r"a square as $\psi$",
                r"non-decreasing $\psi$",
                UCL.on(lambda: psi_that_falls(Fraction(3, 5))),
            ),
        ),
    ),
    Claim(
        name="neural collapse attains the UCL bound",
        statement="UCL equals its bound at neural collapse",
        reference="docs/theory.md, Theorem 3",
        hypotheses=r"$d \ge C - 1$; balanced classes; $C = 2, \dots, 10$ (quick runs: to 4) "
        r"and $k \le 3$ are tried",
        evidence=Evidence.PROVED,
        measure=at_collapse,
        controls=(Control("prior 1/2, 1/4, 1/4", "balanced classes", at_collapse_unbalanced),),
    ),
    Claim(
        name="only neural collapse attains the UCL bound",
        statement="UCL is above its bound away from neural collapse, however near",
        reference="docs/theory.md, Theorem 3",
        hypotheses=r"those of Theorem 3; $\psi_k$ strictly convex and strictly increasing",
        evidence=Evidence.PROVED,
        measure=only_at_collapse,
        controls=(Control("hinge, margin 0", r"strict $\psi$", with_a_slack_hinge),),
    ),
    Claim(
        name="positives that are another instance of the class",
        statement="the UCL bound also holds if $x^+$ is uniform among the other instances of the "
        "class",
        reference="docs/theory.md, Theorem 3",
        hypotheses=r"those of Theorem 2; $E[s \mid y] \le \lvert\mu_y\rvert^2$ on average over "
        "classes, which such positives imply",
        evidence=Evidence.PROVED,
        measure=other_instance,
        controls=(
            Control(
                "$x^+ = x$",
                r"$E[s \mid y] \le \lvert\mu_y\rvert^2$",
                UCL_JOINT.on(positives_are_anchors),
            ),
        ),
    ),
    Claim(
        name="instances that are not their own negatives",
        statement="if neither $x^+$ nor $x^-$ may be $x$, the bound holds with the actual "
        "probability of a collision",
        reference="docs/theory.md, Theorem 3",
        hypotheses="unit ball; balanced finite population, $k = 1$, both $x^+$ and $x^-$ uniform "
        "among other instances (two classes of two are tried)",
        evidence=Evidence.PROVED,
        measure=excluding_self,
        controls=(
            Control(
                "$x^+$ may be $x$, $x^-$ may not",
                "$x^+$ excludes $x$ where $x^-$ does",
                excluding_self_from_negatives_only,
            ),
        ),
    ),
)
