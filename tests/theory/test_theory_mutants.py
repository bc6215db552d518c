"""Every mutant of the evaluator or of the theory is caught by the checks that are to catch it."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from flint import arb, fmpq

from theory.checking import Effort, Tally, Verdict
from theory.claims import theorem1_hardening as theorem1
from theory.claims import theorem2_equality, theorem2_supervised
from theory.claims import theorem3_unsupervised as theorem3
from theory.exact import balls, bounds
from theory.model import eta_kinds, psi_kinds
from theory.model.kinds import EtaForm
from theory.model.latent_classes import LatentClassModel
from theory.model.model_files import read_models
from theory.model.random_models import neural_collapse
from theory.model.simplex import nc_gap

# Mutants. Each replaces one small named function of the evaluator or of the theory by a wrong one.
# The checks are the committed exact cases (CASES), the attainment of the bounds at neural collapse
# (SCL_AT_NC, UCL_AT_NC), strictness and equality in Theorem 1 (STRICT, EQUALITY), Theorems 1 and 2
# on random models (THEOREM_1, SCL_BOUND) and a similarity at the level of a threshold
# (THRESHOLD_TIE). A mutant lists the checks that kill it; docs/theory.md has the table.


def cases_agree() -> bool:
    """The exact values of the committed cases."""
    import json
    from pathlib import Path

    from theory.evaluation import evaluate

    file = Path(__file__).parents[1] / "references" / "theory_cases.json"
    expected = [case["expected"] for case in json.loads(file.read_text())["cases"]]
    return all(
        {key: found[key] for key in values} == values
        for values, found in zip(expected, map(evaluate, read_models(file)), strict=True)
    )


def claim_holds(module, name: str) -> bool:
    (claim,) = (claim for claim in module.CLAIMS if claim.name == name)
    return claim.holds(claim.measure(Effort.QUICK))


CHECKS: dict[str, Callable[[], bool]] = {
    "CASES": cases_agree,
    "SCL_AT_NC": lambda: claim_holds(theorem2_equality, "neural collapse attains the bound"),
    "UCL_AT_NC": lambda: claim_holds(theorem3, "neural collapse attains the UCL bound"),
    "SCL_BOUND": lambda: claim_holds(theorem2_supervised, "the bound of SCL and HSCL"),
    "THEOREM_1": lambda: claim_holds(theorem1, "hardening never lowers the loss"),
    "STRICT": lambda: claim_holds(theorem1, "hardening is strict where similarities vary"),
    "EQUALITY": lambda: claim_holds(theorem1, "hardening changes nothing where predicted"),
    "THRESHOLD_TIE": lambda: threshold_counts_a_tie(),
}


def threshold_counts_a_tie() -> bool:
    """1[t >= th] at t = th: E[eta] = 1 where all similarities are equal to the level."""
    eta = eta_kinds.Threshold(Fraction(1, 4))
    model = neural_collapse(num_classes=2, psi=psi_kinds.Linear(), eta=eta)
    half = Fraction(1, 2)
    losses = balls.exact_losses(replace(model, features=((half,), (half,))))
    return losses.zero_scl == 0


def drop_own_class_factor(monkeypatch):
    """The factor 1/(1 - lambda_y) of the law of negatives is dropped."""

    def other_classes(self, label):
        weights = tuple(Fraction(0) if c == label else p for c, p in enumerate(self.prior))
        return self.mixture(weights)

    monkeypatch.setattr(LatentClassModel, "other_classes", other_classes)


def uniform_prior(monkeypatch):
    """The prior in the law of negatives is replaced by the uniform one."""
    right = LatentClassModel.mixture

    def mixture(self, weights):
        alive = sum(w > 0 for w in weights)
        return right(self, tuple(Fraction(int(w > 0), alive) for w in weights))

    monkeypatch.setattr(LatentClassModel, "mixture", mixture)


def forget_positive(monkeypatch):
    """-s is forgotten: psi sees t in place of t - s."""
    right = balls.expected_losses

    def expected_losses(law, positives, **options):
        found = right(law, [fmpq(0)], **options)
        zero = fmpq(0)
        return balls.Conditional(
            dict.fromkeys(positives, found.plain[zero]),
            dict.fromkeys(positives, found.hard[zero]),
            found.eta_is_zero,
        )

    monkeypatch.setattr(balls, "expected_losses", expected_losses)


class Shifted:
    """eta of the differences v = t - s in place of t."""

    def __init__(self, eta, s):
        self.eta, self.s, self.form, self.legal = eta, s, eta.form, eta.legal

    def factor(self, t, place):
        return self.eta.factor(t - self.s, place)

    def of_tuple(self, ts):
        return self.eta.of_tuple([t - self.s for t in ts])


def eta_of_differences(monkeypatch):
    """eta is applied to v in place of t."""
    right = balls.expected_losses

    def expected_losses(law, positives, *, k, psi, eta):
        shifted: dict[Any, Any] = {s: Shifted(eta, s) for s in positives}
        found = {s: right(law, [s], k=k, psi=psi, eta=shifted[s]) for s in positives}
        return balls.Conditional(
            {s: x.plain[s] for s, x in found.items()},
            {s: x.hard[s] for s, x in found.items()},
            any(x.eta_is_zero for x in found.values()),
        )

    monkeypatch.setattr(balls, "expected_losses", expected_losses)


class FirstUntilted:
    """A product eta without the factor of the first negative."""

    def __init__(self, eta):
        self.eta, self.form, self.legal = eta, EtaForm.PLACES, eta.legal

    def factor(self, t, place):
        return arb(1) if place == 0 else self.eta.factor(t, place)


def tilt_of_one_negative_forgotten(monkeypatch):
    """The first negative of each tuple is not tilted."""
    right = balls.expected_losses

    def expected_losses(law, positives, *, k, psi, eta):
        changed: Any = eta if eta.form is EtaForm.JOINT else FirstUntilted(eta)
        return right(law, positives, k=k, psi=psi, eta=changed)

    monkeypatch.setattr(balls, "expected_losses", expected_losses)


def greater_for_at_least(monkeypatch):
    """> in place of >=: equality counts as a violation."""
    right = Tally.at_least

    def at_least(self, left, right_side):
        verdict = right(self, left, right_side)
        return self._replace(verdict, Verdict.VIOLATED) if verdict is Verdict.EQUAL else verdict

    monkeypatch.setattr(Tally, "at_least", at_least)


def strict_threshold(monkeypatch):
    """1[t > th] in place of 1[t >= th]."""
    monkeypatch.setattr(
        eta_kinds.Threshold,
        "factor",
        lambda self, t, place: arb(int(t > fmpq(self.th.numerator, self.th.denominator))),
    )


def wrong_gap(monkeypatch):
    """The bound uses 1 in place of C/(C-1)."""
    monkeypatch.setattr(bounds, "nc_gap", lambda num_classes: Fraction(1))


def untilted_collapse(monkeypatch):
    """The Bernoulli of the UCL bound uses 1/C in place of (C-1)/C."""

    def bound(num_classes, k, psi):
        return bounds.bernoulli_mixture(arb(1) / num_classes, nc_gap(num_classes), k, psi)

    monkeypatch.setattr(theorem3, "UCL", theorem3.UCL._replace(bound=bound))


MUTANTS = {
    greater_for_at_least: ("THEOREM_1", "SCL_BOUND"),
    drop_own_class_factor: ("CASES", "SCL_AT_NC"),
    uniform_prior: ("CASES",),
    forget_positive: ("CASES", "SCL_AT_NC", "UCL_AT_NC"),
    eta_of_differences: ("CASES",),
    tilt_of_one_negative_forgotten: ("CASES", "STRICT"),
    strict_threshold: ("THRESHOLD_TIE",),
    wrong_gap: ("SCL_AT_NC", "UCL_AT_NC"),
    untilted_collapse: ("UCL_AT_NC",),
}


def test_all_checks_pass_without_a_mutant():
    assert {name: check() for name, check in CHECKS.items()} == dict.fromkeys(CHECKS, True)


@pytest.mark.parametrize(
    ("mutate", "killers"), MUTANTS.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_mutant_is_killed(mutate, killers, monkeypatch):
    mutate(monkeypatch)
    assert {name: CHECKS[name]() for name in killers} == dict.fromkeys(killers, False)
