"""Conventions: the preset of the authors' code, what beats it, and equality by value."""

import dataclasses

import jax
import numpy as np
import pytest
from references.places import EMBEDDINGS, LABELS, PLACES, on_one_device

from hcl_jax import hardening, pairs
from hcl_jax.collectives import SINGLE, over_axis
from hcl_jax.conventions import REFERENCE_CONVENTIONS, Conventions, Objective
from hcl_jax.dispatch import batch_losses
from hcl_jax.losses import average_loss

OPTIONS = ("reference_conventions", "average", "self_positives", "self_negatives")


@pytest.mark.parametrize("place", PLACES)
def test_an_explicit_option_beats_the_preset(place):
    loss = jax.jit(PLACES[place], static_argnames=OPTIONS)
    preset = {"self_positives": True, "self_negatives": True}
    for average in ("pairs", "anchors"):
        found = loss(EMBEDDINGS, LABELS, reference_conventions=True, average=average)
        np.testing.assert_array_equal(found, loss(EMBEDDINGS, LABELS, average=average, **preset))
    pooled, by_anchor = (
        loss(EMBEDDINGS, LABELS, reference_conventions=True, average=a)
        for a in ("pairs", "anchors")
    )
    assert abs(pooled - by_anchor) > 1e-3
    without = loss(EMBEDDINGS, LABELS, reference_conventions=True, self_negatives=False)
    assert abs(without - pooled) > 1e-3


@pytest.mark.parametrize("supervised", [True, False])
def test_the_reference_preset_is_for_all_four(supervised):
    found = on_one_device(EMBEDDINGS, LABELS, supervised=supervised, reference_conventions=True)
    rows = pairs.rows(LABELS)
    minimised = Objective(supervised, hardening.exponential(2.0))
    losses = batch_losses(EMBEDDINGS, rows, minimised, REFERENCE_CONVENTIONS)
    np.testing.assert_array_equal(found, average_loss(losses))


def test_conventions_are_static_and_collectives_equal_by_value():
    assert hash(Conventions()) == hash(
        dataclasses.replace(REFERENCE_CONVENTIONS, self_positives=False, self_negatives=False)
    )
    assert over_axis("devices") == over_axis("devices") != over_axis("devices", exchange="ring")
    assert SINGLE != over_axis("devices")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Conventions().average = "anchors"
