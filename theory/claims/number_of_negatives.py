"""The number of negatives: ``L_1 <= L_2 <= .. <= L_oo`` for InfoNCE with q fixed.

The mean over k negatives is an average of means over k - 1 of them, and the logarithm is concave.
The limit is ``L_oo = E log(alpha + q E e^{v/tau})``, with the inner expectation under the tilted
law. The weights estimator computes it of the law of a batch: with an anchor among its own positives
and negatives (`hcl_jax.REFERENCE_CONVENTIONS`) if that law is to be the population's for UCL and
HUCL, and otherwise of the law that leaves the anchor out (Theorem C). The gap closes like 1/k.
"""

import itertools
import random
from dataclasses import replace
from fractions import Fraction

from flint import arb, fmpq

from theory.checking import Claim, Control, Effort, Evidence, Measure, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses, expected_losses, limit_of_losses
from theory.model.eta_kinds import Exponential, ThresholdAny
from theory.model.kinds import EtaForm, EtaKind
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import Rng, eta_choices, neural_collapse, random_model

SEED = 6
ONE = Fraction(1)


@in_balls()
def monotone_in_k(effort: Effort) -> Measurement:
    """L_1 <= L_2 <= L_3 <= L_4 <= L_oo for all four losses."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(5, 50, 400)):
        _along_k(tally, _infonce_model(rng))
    return tally.measurement()


def _infonce_model(rng: Rng) -> LatentClassModel:
    """A random model with InfoNCE and a product eta."""
    alpha, q, tau = (Fraction(rng.choice(("1/2", "1", "2"))) for _ in range(3))
    product = [eta for eta in eta_choices(rng, 1) if eta.form is EtaForm.PRODUCT]
    return random_model(rng, psi=InfoNCE(alpha, q, tau), eta=rng.choice(product), k=1)


def _along_k(tally: Tally, model: LatentClassModel, *, limit: bool = True) -> None:
    """Records that the four losses do not decrease along k = 1 .. 4 and, if asked, infinity."""
    values = [exact_losses(replace(model, k=k)) for k in (1, 2, 3, 4)]
    if limit:
        values.append(exact_losses(model, limit=True))
    for fewer, more in itertools.pairwise(values):
        for left, right in zip(more[:4], fewer[:4], strict=True):
            assert left is not None
            assert right is not None
            tally.at_least(left, right)
    tally.models += 1


@in_balls()
def any_of_k_is_hard(effort: Effort) -> Measurement:
    """eta = 1[max t_i >= level]: with more negatives each of them is less hard."""
    tally = Tally()
    model = neural_collapse(num_classes=3, psi=InfoNCE(), eta=ThresholdAny(Fraction(1, 2)))
    _along_k(tally, model, limit=False)
    return tally.measurement()


@in_balls()
def reversed_jensen(effort: Effort) -> Measurement:
    """The opposite order: L_k >= L_oo."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(10):
        model = _infonce_model(rng)
        finite, infinite = exact_losses(replace(model, k=2)), exact_losses(model, limit=True)
        tally.at_least(finite.hucl, infinite.hucl)
        tally.models += 1
    return tally.measurement()


def _rate_of_approach(power: int) -> Measure:
    """Whether ``k^power (L_oo - L_k)`` tends to its limit for tau = 1."""

    @in_balls()
    def measure(effort: Effort) -> Measurement:
        rng, tally = random.Random(SEED), Tally(seed=SEED)
        for _ in range(effort.choose(3, 10, 40)):
            probability = fmpq(rng.randint(1, 9), 10)
            low, high = fmpq(rng.randint(-10, 0), 10), fmpq(rng.randint(1, 10), 10)
            _compare_rate(tally, {low: probability, high: 1 - probability}, power)
        return tally.measurement(**{"$k$": "16, 32, 64, 128"})

    return measure


def _compare_rate(tally: Tally, law: dict[fmpq, fmpq], power: int) -> None:
    """Records that the distance to the predicted limit falls to at most 0.6 when k doubles."""
    psi, eta, s = InfoNCE(), Exponential(Fraction(2)), fmpq(1)
    infinite = limit_of_losses(law, [s], psi=psi, eta=eta).hard[s]
    predicted = _predicted_rate(law, psi, eta, s)
    errors = []
    for k in (16, 32, 64, 128):
        finite = expected_losses(law, [s], k=k, psi=psi, eta=eta).hard[s]
        errors.append(abs((infinite - finite) * k**power - predicted))
    for at_k, at_2k in itertools.pairwise(errors):
        tally.at_least(at_k * arb("0.6"), at_2k)
    tally.models += 1


def _predicted_rate(law: dict[fmpq, fmpq], psi: InfoNCE, eta: EtaKind, s: fmpq) -> arb:
    """``Var(e^v) / (2 (1 + E e^v)^2)`` under the tilted law: that for alpha = q = tau = 1."""
    weights = [arb(p) * eta.factor(t, 0) for t, p in law.items()]
    total = sum(weights, arb(0))
    values = [psi.each(t - s) for t in law]
    mean = sum((w * x for w, x in zip(weights, values, strict=True)), arb(0)) / total
    square = sum((w * x * x for w, x in zip(weights, values, strict=True)), arb(0)) / total
    return (square - mean * mean) / (2 * (1 + mean) ** 2)


@in_balls()
def equal_at_collapse(effort: Effort) -> Measurement:
    """HSCL at NC does not depend on k: e^v is constant under the tilted law."""
    tally = Tally()
    for classes in (2, 3, 5):
        model = neural_collapse(num_classes=classes, eta=Exponential(Fraction(3)))
        infinite = exact_losses(model, limit=True).hscl
        for k in (1, 2, 4):
            tally.equal(exact_losses(replace(model, k=k)).hscl, infinite)
        tally.models += 1
    return tally.measurement()


@in_balls()
def not_equal_for_hucl(effort: Effort) -> Measurement:
    """HUCL at NC does depend on k, because of the collisions."""
    tally = Tally()
    model = neural_collapse(num_classes=3, eta=Exponential(Fraction(3)))
    infinite = exact_losses(model, limit=True).hucl
    tally.equal(exact_losses(replace(model, k=2)).hucl, infinite)
    tally.models = 1
    return tally.measurement()


CLAIMS = (
    Claim(
        name="more negatives, higher loss",
        statement=r"$L_1 \le L_2 \le \dots \le L_\infty$ for InfoNCE with $q$ fixed, in all four "
        "losses",
        reference="docs/theory.md, the number of negatives",
        hypotheses=r"InfoNCE, $q$ fixed; $\eta$ a product (the tilted negatives stay independent)",
        evidence=Evidence.PROVED,
        measure=monotone_in_k,
        controls=(
            Control(r"$\eta = 1[\max t_i \ge 1/2]$", r"$\eta$ a product", any_of_k_is_hard),
            Control(r"$L_k \ge L_\infty$", "the direction of Jensen's inequality", reversed_jensen),
        ),
    ),
    Claim(
        name="the limit is approached like 1/k",
        statement=r"$k (L_\infty - L_k) \to "
        r"q^2 \operatorname{Var}_H(e^{v/\tau}) / (2 (\alpha + q E_H e^{v/\tau})^2)$, averaged",
        reference="docs/theory.md, the number of negatives",
        hypotheses=r"InfoNCE, bounded features; $\alpha = q = \tau = 1$ and $\beta = 2$ are tried",
        evidence=Evidence.OBSERVED,
        measure=_rate_of_approach(1),
        controls=(Control("the rate $1/k^2$", "the power of $k$", _rate_of_approach(2)),),
    ),
    Claim(
        name="where the number of negatives is immaterial",
        statement=r"$L_k = L_\infty$ where $e^v$ is constant under the tilted law, as for HSCL at "
        "neural collapse",
        reference="docs/theory.md, the number of negatives",
        hypotheses=r"InfoNCE, $q$ fixed; HSCL at NC with $\beta = 3$, $C$ in "
        r"$\lbrace 2, 3, 5 \rbrace$, $k$ in $\lbrace 1, 2, 4 \rbrace$ are tried",
        evidence=Evidence.PROVED,
        measure=equal_at_collapse,
        controls=(
            Control("HUCL at NC", "$e^v$ constant under the tilted law", not_equal_for_hucl),
        ),
    ),
)
