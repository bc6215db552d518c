"""Every field of a program of training, and of what is in it, is in what is compiled."""

import dataclasses
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import optax
import pytest

from hcl_jax import Conventions, augmentation, networks, normalization, training
from hcl_jax.collectives import over_axis
from hcl_jax.data import Split
from hcl_jax.training import ClassBalance, Program

PROGRAM = Program(networks.mlp(4, 3, depth=1, width=4), optax.adam(1e-2), batch_size=8)
SPLIT = Split(jnp.zeros((16, 4)), jnp.arange(16) % 4)
TARGET = training.traced_objective(supervised=True, beta=2.0)

CHANGED = {
    "model": networks.mlp(4, 2, depth=1, width=4),
    "optimizer": optax.adam(2e-2),
    "batch_size": 4,
    "normalization": normalization.unit_sphere,
    "augmentation": augmentation.gaussian_noise(0.1),
    "standardization": lambda images: 2 * images,
    "positives": "views",
    "conventions": Conventions(average="anchors"),
    "parts": 2,
    "balance": ClassBalance(2, 4),
    "collectives": over_axis("devices"),
}
BALANCES = {"per_class": ClassBalance(4, 4), "num_classes": ClassBalance(2, 3)}
CONVENTIONS = {
    "num_negatives": [3],
    "implementation": ["blockwise"],
    "precision": [jax.lax.Precision.DEFAULT],
}
"""Values where types do not give them."""


def text(program):
    """An epoch as it is given to the compiler, or why it is refused."""

    def epoch(key):
        state = training.init_state(key, program)
        return training.train_epoch(state, SPLIT, TARGET, program)

    try:
        shared = jax.vmap(epoch, axis_name="devices")
        return jax.jit(shared).lower(jax.random.split(jax.random.key(0), 2)).as_text()
    except ValueError as error:
        return str(error)


@pytest.fixture(scope="module")
def usual():
    found = text(PROGRAM)
    assert "stablehlo" in found
    return found


def others(name, hint, value):
    """Other values of a field of the conventions."""
    choices = (False, True) if hint is bool else get_args(hint)
    return CONVENTIONS.get(name) or [choice for choice in choices if choice != value]


def test_equal_programs_have_one_text(usual):
    """The control: nothing but what is said makes a text another."""
    training.train_epoch.clear_cache()
    again = PROGRAM._replace(model=networks.mlp(4, 3, depth=1, width=4), optimizer=optax.adam(1e-2))
    assert text(again) == usual


def test_every_field_of_a_program_is_in_its_text(usual):
    assert set(CHANGED) == set(Program._fields)
    texts = {name: text(PROGRAM._replace(**{name: value})) for name, value in CHANGED.items()}
    assert all("stablehlo" in found for found in texts.values())
    assert not [name for name, found in texts.items() if found == usual]
    assert set(BALANCES) == set(ClassBalance._fields)
    balances = {name: text(PROGRAM._replace(balance=b)) for name, b in BALANCES.items()}
    assert not [name for name, found in balances.items() if found == texts["balance"]]


def test_every_convention_is_in_its_text_or_refused(usual):
    hints = get_type_hints(Conventions)
    texts = {
        (field.name, value): text(
            PROGRAM._replace(conventions=dataclasses.replace(Conventions(), **{field.name: value}))
        )
        for field in dataclasses.fields(Conventions)
        for value in others(field.name, hints[field.name], field.default)
    }
    assert {name for name, _ in texts} == {field.name for field in dataclasses.fields(Conventions)}
    assert not [name for name, found in texts.items() if found == usual]
    refused = {name for name, found in texts.items() if "stablehlo" not in found}
    assert refused == {("ignored_negatives", True)}
