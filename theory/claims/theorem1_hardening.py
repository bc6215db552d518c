"""Theorem 1: hardening never lowers the loss, ``HSCL >= SCL`` and ``HUCL >= UCL``.

Given the anchor, the positive and the label, psi_k and eta are non-decreasing functions of
independent negatives, so Harris' inequality gives ``E[psi eta] >= E[psi] E[eta]``. Convexity,
balance, the unit ball and conditional independence of the positives play no part. Independence
given everything the normaliser conditions on does, as the controls show.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from flint import fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measure, Measurement, Tally, in_balls
from theory.exact.balls import Losses, exact_losses
from theory.exact.tuple_laws import (
    Outcome,
    mixture,
    plain_and_hard,
)
from theory.model.eta_kinds import (
    DecreasingExponential,
    Exponential,
    ThresholdAny,
    WeightedExponential,
)
from theory.model.kinds import EtaKind, PsiKind
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE, LogisticSum
from theory.model.random_models import (
    Rng,
    eta_choices,
    neural_collapse,
    psi_choices,
    random_model,
    some_psi,
)

SEED = 1
ONE, HALF = Fraction(1), Fraction(1, 2)


def compare_all(tally: Tally, model: LatentClassModel) -> Losses:
    """Records Theorem 1 for one model, in every form that applies."""
    losses = exact_losses(model)
    tally.models += 1
    tally.at_least(losses.hscl, losses.scl)
    tally.at_least(losses.hucl, losses.ucl)
    if losses.hucl_joint is not None and losses.ucl_joint is not None:
        tally.at_least(losses.hucl_joint, losses.ucl_joint)
    return losses


@in_balls()
def on_random_models(effort: Effort) -> Measurement:
    """Every psi with every eta; priors, joint laws, overlaps and norms at random."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    zeros = 0
    for _ in range(effort.choose(1, 12, 60)):
        for i in range(len(psi_choices(rng))):
            for j in range(len(eta_choices(rng, 1))):
                losses = compare_all(tally, _random_model_with(rng, i, j))
                zeros += losses.zero_scl + losses.zero_ucl > 0
    return tally.measurement(**{r"models where $\eta$ vanishes": zeros})


def _random_model_with(rng: Rng, psi: int, eta: int) -> LatentClassModel:
    """A random model with the psi and the eta of these numbers."""
    k = rng.choice((1, 2, 2, 3))
    return random_model(
        rng, k=k, psi=psi_choices(rng)[psi], eta=eta_choices(rng, k)[eta], norm=_random_norm(rng)
    )


def _random_norm(rng: Rng) -> Fraction:
    """The largest norm of the features: one, or now and then two."""
    return rng.choice((ONE, ONE, ONE, Fraction(2)))


def _on_models_with(change: Callable[[LatentClassModel], LatentClassModel]) -> Measure:
    """Theorem 1 on random models in which `change` breaks a hypothesis."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        rng, tally = random.Random(SEED), Tally(seed=SEED)
        for _ in range(effort.choose(5, 20, 100)):
            compare_all(tally, change(random_model(rng)))
        return tally.measurement()

    return measure


def _decreasing_eta(model: LatentClassModel) -> LatentClassModel:
    """``eta = exp(-2 sum t)``."""
    return replace(model, eta=DecreasingExponential(Fraction(2)))


def _decreasing_psi(model: LatentClassModel) -> LatentClassModel:
    """The logistic loss of -v, under exponential tilting."""
    return replace(model, psi=LogisticSum(-ONE), eta=Exponential(Fraction(2)))


def _under_law(outcomes: Sequence[Outcome], psi: PsiKind, eta: EtaKind) -> Measure:
    """Theorem 1 under one explicit law of the tuple of negatives."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        tally = Tally()
        tally.models = 1
        plain, hard = plain_and_hard(outcomes, psi=psi, eta=eta)
        tally.at_least(hard, plain)
        return tally.measurement(plain=float(plain), hard=float(hard))

    return measure


MIXTURE = mixture(
    [
        (Fraction(9, 10), [(ONE, Fraction(7, 10))]),
        (Fraction(1, 10), [(Fraction(4, 5), -HALF), (Fraction(1, 5), Fraction(9, 10))]),
    ],
    2,
    s=ONE,
)
"""Two negatives that are independent only given a hidden class."""

PAIRED_VIEWS = [
    Outcome(fmpq(1, 2), (fmpq(9, 10), fmpq(-9, 10)), fmpq(1)),
    Outcome(fmpq(1, 2), (fmpq(1, 10), fmpq(1, 10)), fmpq(1)),
]
"""One image as a negative with both its views, which depend on each other."""


@in_balls()
def strictness(effort: Effort) -> Measurement:
    """Strict for InfoNCE and the logistic loss under exp tilting, wherever t varies."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    while tally.models < effort.choose(10, 60, 500):
        model = random_model(rng, psi=some_psi(rng, strict=True), k=rng.choice((1, 2)))
        model = replace(model, eta=Exponential(Fraction(rng.randint(1, 60), 10)))
        if _varies(model):
            _compare_strictly(tally, model)
    return tally.measurement()


@in_balls()
def strictness_where_constant(effort: Effort) -> Measurement:
    """The same prediction at neural collapse, where t is constant given x among other classes."""
    tally = Tally()
    for classes in (2, 3, 4):
        _compare_strictly(tally, neural_collapse(num_classes=classes, k=2))
    return tally.measurement()


def _compare_strictly(tally: Tally, model: LatentClassModel) -> None:
    """Records that both hardened losses are above the plain ones."""
    losses = exact_losses(model)
    tally.above(losses.hscl, losses.scl)
    tally.above(losses.hucl, losses.ucl)
    tally.models += 1


def _varies(model: LatentClassModel) -> bool:
    """Whether, for some anchor, t is not constant among the negatives of SCL."""
    for label, prior in enumerate(model.prior):
        negatives = [i for i, p in enumerate(model.other_classes(label)) if p > 0]
        for anchor, p in enumerate(model.class_laws[label]):
            if prior * p > 0 and len({model.gram[anchor][i] for i in negatives}) > 1:
                return True
    return False


@in_balls()
def equality(effort: Effort) -> Measurement:
    """Equal where psi and eta share no coordinate, where eta is constant, and at NC for SCL."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    disjoint = (LogisticSum(ONE, (Fraction(0), ONE)), WeightedExponential((ONE, Fraction(0))))
    constant = (InfoNCE(), Exponential(Fraction(0)))
    for _ in range(effort.choose(5, 30, 200)):
        for psi, eta in (disjoint, constant):
            _compare_equality(tally, random_model(rng, k=2, psi=psi, eta=eta))
        etf = neural_collapse(num_classes=rng.randint(2, 5), k=rng.choice((1, 2)))
        losses = exact_losses(replace(etf, eta=rng.choice(eta_choices(rng, etf.k))))
        tally.equal(losses.hscl, losses.scl)
        tally.models += 1
    return tally.measurement()


@in_balls()
def equality_with_shared_coordinate(effort: Effort) -> Measurement:
    """The prediction of equality for psi and eta that share the second coordinate."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    psi, eta = LogisticSum(ONE, (Fraction(0), ONE)), WeightedExponential((ONE, HALF))
    for _ in range(5):
        _compare_equality(tally, random_model(rng, k=2, psi=psi, eta=eta))
    return tally.measurement()


def _compare_equality(tally: Tally, model: LatentClassModel) -> None:
    """Records that both hardened losses equal the plain ones."""
    losses = exact_losses(model)
    tally.equal(losses.hscl, losses.scl)
    tally.equal(losses.hucl, losses.ucl)
    tally.models += 1


CLAIMS = (
    Claim(
        name="hardening never lowers the loss",
        statement=r"$\mathrm{HSCL} \ge \mathrm{SCL}$ and $\mathrm{HUCL} \ge \mathrm{UCL}$ for "
        "every representation, prior and joint law of the views",
        reference="docs/theory.md, Theorem 1",
        hypotheses=r"$\psi_k$ and $\eta$ argument-wise non-decreasing; negatives independent given "
        "$(x, x^+, y)$",
        evidence=Evidence.PROVED,
        measure=on_random_models,
        controls=(
            Control(
                r"decreasing $\eta$", r"$\eta$ non-decreasing", _on_models_with(_decreasing_eta)
            ),
            Control(
                r"decreasing $\psi$", r"$\psi$ non-decreasing", _on_models_with(_decreasing_psi)
            ),
            Control(
                "mixture negatives, $k = 2$",
                "negatives independent given what the normaliser conditions on",
                _under_law(MIXTURE, InfoNCE(), ThresholdAny(Fraction(4, 5))),
            ),
            Control(
                "both views of a negative, InfoNCE, exponential tilting",
                "negatives independent of each other",
                _under_law(PAIRED_VIEWS, InfoNCE(), Exponential(Fraction(5))),
            ),
        ),
    ),
    Claim(
        name="hardening is strict where similarities vary",
        statement=r"$\mathrm{HSCL} > \mathrm{SCL}$ and $\mathrm{HUCL} > \mathrm{UCL}$ under "
        "exponential tilting if $t$ is not constant given the anchor, for HSCL the anchor and its "
        "class",
        reference="docs/theory.md, Theorem 1",
        hypotheses=r"$\psi_k$ strictly increasing, $\eta = \exp(\beta \sum t_i)$ with $\beta > 0$, "
        "$t$ not constant",
        evidence=Evidence.PROVED,
        measure=strictness,
        controls=(
            Control(
                "neural collapse", "$t$ not constant given the anchor", strictness_where_constant
            ),
        ),
    ),
    Claim(
        name="hardening changes nothing where predicted",
        statement=r"$\mathrm{HSCL} = \mathrm{SCL}$ and $\mathrm{HUCL} = \mathrm{UCL}$ for constant "
        r"$\eta$ and where $\psi$ and $\eta$ depend on disjoint negatives; "
        r"$\mathrm{HSCL} = \mathrm{SCL}$ at NC",
        reference="docs/theory.md, Theorem 1",
        hypotheses="as stated",
        evidence=Evidence.PROVED,
        measure=equality,
        controls=(
            Control(
                "a negative that both depend on",
                "disjoint negatives",
                equality_with_shared_coordinate,
            ),
        ),
    ),
)
