"""What claims are measured on: frames, points of the sphere, pools, remembered floors."""

from dataclasses import replace
from fractions import Fraction

import pytest
from flint import ctx, fmpq

from theory.claims.proposition6_sphere import WITNESSES, lifted, sphere_model
from theory.claims.reweighted_negatives import Pool, reweighted
from theory.claims.theorem4_floor import offset_frame, shrunk_frame
from theory.model.eta_kinds import Exponential, Threshold
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import collapsed_model
from theory.optimum.floor_of_models import floor_at, floor_of

ONE, HALF = Fraction(1), Fraction(1, 2)


def test_frames():
    assert shrunk_frame(2, HALF) == ((HALF,), (-HALF,))
    assert [row[-1] for row in offset_frame(2, Fraction(3, 5))] == [Fraction(4, 5)] * 2
    frame = offset_frame(3, HALF)
    norms = [float(sum(x * x for x in row)) for row in frame]
    assert norms == pytest.approx([1.0] * 3, abs=1e-15)
    model = collapsed_model(shrunk_frame(3, ONE))
    assert model.num_classes == model.num_points == 3
    assert model.hypotheses.balanced


def test_points_of_the_sphere():
    assert lifted((HALF,)) == (Fraction(4, 5), Fraction(-3, 5))
    for (classes, beta), shadows in WITNESSES.items():
        model = sphere_model(classes, Fraction(beta), shadows)
        assert model.hypotheses.unit_ball
        assert model.num_classes == classes
        assert all(sum(x * x for x in row) == 1 for row in model.features)


def test_reweighted_draws():
    pool = Pool(
        {fmpq(0): fmpq(1, 2), fmpq(1): fmpq(1, 2)}, fmpq(1), InfoNCE(), Exponential(2 * ONE)
    )
    found = [float(reweighted(pool, size)) for size in (1, 2, 3)]
    assert found == pytest.approx([0.5032, 0.579, 0.6119], abs=5e-5)


def test_floor_of_a_model_is_that_of_its_parameters_at_the_current_precision():
    model = collapsed_model(shrunk_frame(2, ONE))
    coarse = floor_of(model)
    assert coarse is floor_at(2, 1, InfoNCE(), ONE)
    assert float(coarse.value) == pytest.approx(0.59095804, abs=5e-9)
    with ctx.workprec(200):
        assert floor_of(model).value.rad() < 1e-50


def test_floor_needs_exponential_tilting():
    model = collapsed_model(shrunk_frame(2, ONE))
    with pytest.raises(ValueError, match="exponential tilting"):
        floor_of(replace(model, eta=Threshold(HALF)))
