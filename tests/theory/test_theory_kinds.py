"""Every psi and eta: the function that it names in the library, its random instances, its JSON."""

import random
from fractions import Fraction

import jax.numpy as jnp
import pytest
from flint import arb, ctx, fmpq

from theory.exact.tuple_laws import psi_of
from theory.model import eta_kinds, psi_kinds
from theory.model.eta_kinds import ETA_KINDS
from theory.model.kinds import EtaForm, unweighted
from theory.model.psi_kinds import PSI_KINDS
from theory.model.random_models import eta_choices, psi_choices, some_psi
from theory.model.rationals import rational

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)
TUPLE = (fmpq(-3, 5), fmpq(1, 10), fmpq(7, 10))

PSIS = (
    psi_kinds.InfoNCE(HALF, THIRD, Fraction(3, 2)),
    psi_kinds.InfoNCE(q=None, tau=HALF),
    psi_kinds.InfoNCE(Fraction(0), tau=-HALF),
    psi_kinds.TripletSum(THIRD),
    psi_kinds.TripletMax(-THIRD),
    psi_kinds.LogisticSum(Fraction(3, 2)),
    psi_kinds.LogisticSum(-HALF),
    psi_kinds.SquaredHinge(HALF),
    psi_kinds.Linear(),
    psi_kinds.BadSquare(THIRD),
    psi_kinds.BadSigmoid(Fraction(3), HALF),
)
ETAS = (
    eta_kinds.Exponential(Fraction(3)),
    eta_kinds.WeightedExponential((Fraction(4), HALF, Fraction(-1))),
    eta_kinds.ReluPower(Fraction(1), Fraction(5, 2)),
    eta_kinds.SumReluPower(HALF, THIRD),
    eta_kinds.Threshold(Fraction(-7, 10)),
    eta_kinds.ThresholdAny(HALF),
    eta_kinds.Sigmoid(Fraction(6), THIRD),
    eta_kinds.DecreasingExponential(Fraction(2)),
)


def test_every_kind_is_tried():
    assert {type(psi) for psi in PSIS} == set(PSI_KINDS)
    assert {type(eta) for eta in ETAS} == set(ETA_KINDS)


@pytest.mark.parametrize("psi", PSIS, ids=str)
def test_the_shipped_psi_is_psi(psi, x64):
    expected = float(psi_of(psi, TUPLE))
    v = jnp.array([float(arb(x)) for x in TUPLE])
    assert psi.shipped().of_differences(v) == pytest.approx(expected, rel=1e-14)
    shift, unshifted = psi.float64()
    assert unshifted.of_differences(v + float(shift)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("psi", [psi for psi in PSIS if psi.separable], ids=str)
def test_place_weights_multiply_the_terms_of_the_shipped_psi(psi, x64):
    v = jnp.array([float(arb(x)) for x in TUPLE])
    weights = psi.place_weights(3)
    assert len(set(weights)) == 1
    assert float(weights[0]) * unweighted(psi.shipped(), v) == pytest.approx(
        float(psi_of(psi, TUPLE)), rel=1e-14
    )


@pytest.mark.parametrize("eta", ETAS, ids=str)
def test_the_shipped_eta_is_eta(eta, x64):
    expected = float(eta.of_tuple(TUPLE))
    assert expected > 0
    t = jnp.array([float(arb(x)) for x in TUPLE])
    assert jnp.exp(eta.shipped().log_eta(t)) == pytest.approx(expected, rel=1e-14)
    shift, unshifted = eta.float64()
    seen = t.sum(keepdims=True) if eta.of_sum else t
    assert jnp.exp(unshifted.log_eta(seen + float(shift))) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("eta", ETAS, ids=str)
def test_products_are_products_of_factors_and_joint_forms_have_none(eta):
    if eta.form is EtaForm.JOINT:
        with pytest.raises(TypeError, match="is not a product"):
            eta.factor(TUPLE[0], 0)
        return
    product = arb(1)
    for place, t in enumerate(TUPLE):
        product *= eta.factor(t, place)
    assert abs(product - eta.of_tuple(TUPLE)) < arb("1e-12")
    if eta.form is EtaForm.PRODUCT:
        assert str(eta.factor(TUPLE[0], 0)) == str(eta.factor(TUPLE[0], 2))


@pytest.mark.parametrize("psi", [psi for psi in PSIS if psi.kink is not None], ids=str)
def test_psi_turns_at_its_kink(psi):
    kink, step = rational(psi.kink), fmpq(1, 10**6)
    at, above, below = (psi.each(kink + move) for move in (fmpq(0), step, -step))
    assert at == below == 0
    assert above > 0


@pytest.mark.parametrize("psi", PSIS, ids=str)
@pytest.mark.parametrize("different", range(4))
def test_collapsed_psi_is_psi_of_two_values(psi, different):
    """Away from the kink, on both sides of it."""
    for delta in (fmpq(1, 5), fmpq(7, 5)):
        live = psi.kink is None or -delta > rational(psi.kink)
        v = [-delta] * different + [fmpq(0)] * (3 - different)
        with ctx.workprec(100):
            found = psi.collapsed(arb(delta), different, 3, live=live)
            assert abs(found - psi_of(psi, v)) < arb("1e-25")


def test_random_instances_are_legal_and_of_every_kind_but_the_controls():
    rng = random.Random(0)
    for _ in range(20):
        psis, etas = psi_choices(rng), eta_choices(rng, 3)
        assert all(psi.legal for psi in psis)
        assert all(eta.legal for eta in etas)
        legal = lambda kinds: {kind for kind in kinds if not kind.kind.startswith("BAD")}  # noqa: E731
        assert {type(psi) for psi in psis} == legal(PSI_KINDS)
        assert {type(eta) for eta in etas} == legal(ETA_KINDS)
        assert some_psi(rng, strict=True).strict


def test_strict_losses_are_strictly_increasing_and_strictly_convex():
    rng, step = random.Random(1), fmpq(1, 1000)
    with ctx.workprec(100):
        for psi in {some_psi(rng, strict=True) for _ in range(20)}:
            below, at, above = (psi_of(psi, [v] * 2) for v in (-step, fmpq(0), step))
            assert below < at < above
            assert below + above > 2 * at


def test_names_of_kinds_are_unique():
    for kinds in (PSI_KINDS, ETA_KINDS):
        assert len({kind.kind for kind in kinds}) == len(kinds)
