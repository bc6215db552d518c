"""Options that are not used cost nothing: not a flop and not a byte, in every form of the loss.

The programs are compared before they are compiled, to the letter, so that their costs are equal
whatever the compiler makes of them.
"""

import functools

import jax
import jax.numpy as jnp
import pytest

import hcl_jax
from hcl_jax import hardening, parallel, with_statistics, without_false_negatives
from hcl_jax.conventions import Conventions
from hcl_jax.options import Options
from hcl_jax.validation.numbers import check_non_negative

ROWS = jax.ShapeDtypeStruct((2, 12, 4), jnp.float32)
CLASSES = jax.ShapeDtypeStruct((2, 12), jnp.int32)

NEUTRAL = {
    "temperature": 1.0,
    "normalize": None,
    "psi": None,
    "groups": None,
    "pair_rule": None,
    "ignore_label": None,
    "ignored_negatives": False,
    "weights": None,
    "bank": None,
    "key": None,
    "self_positives": False,
    "self_negatives": False,
    "stop_gradient_hardening": True,
    "average": "pairs",
    "num_negatives": None,
    "implementation": None,
    "precision": jax.lax.Precision.HIGHEST,
    "quiet": False,
    "report": None,
    "reference_conventions": False,
}
"""Every option as it is where it is not given, apart from psi, which excludes a temperature."""


def unmasked(beta):
    """A hardening function without a bound, said with both bounds."""
    infinite = float("inf")
    return without_false_negatives(hardening.exponential(beta), above=infinite, margin=infinite)


def program(form, loss, **options):
    """The program of value and gradient with respect to embeddings and beta, not yet compiled."""
    if form in ("dense", "blockwise"):
        options["implementation"] = form
    else:
        options["collectives"] = parallel.over_axis("devices", exchange=form)

    def step(z, labels, beta):
        def of_one(z, labels):
            return jax.value_and_grad(
                lambda z, beta: loss(z, labels, beta, **options), argnums=(0, 1), has_aux=True
            )(z, beta)

        return jax.vmap(of_one, axis_name="devices")(z, labels)

    return jax.jit(step).lower(ROWS, CLASSES, jnp.float32(2.0))


def hucl(z, labels, beta, **options):
    return hcl_jax.hucl(z, labels, beta=beta, **options), ()


def objective(z, labels, beta, **options):
    eta = unmasked(check_non_negative("beta", beta))
    return hcl_jax.objective(z, labels, supervised=False, hardening=eta, **options), ()


def observed(z, labels, beta, **options):
    return with_statistics(hcl_jax.hucl)(z, labels, beta=beta, **options)


def test_every_option_is_here_with_its_default():
    assert set(NEUTRAL) == set(Options.__annotations__)
    defaults = vars(Conventions())
    assert {name: NEUTRAL[name] for name in defaults} == defaults


@pytest.mark.parametrize("form", ["dense", "blockwise", "gather", "ring"])
def test_neutral_options_leave_the_program_as_it_is(form):
    neutral = {name: value for name, value in NEUTRAL.items() if name != "implementation"}
    default = program(form, hucl).as_text()
    assert program(form, objective, **neutral).as_text() == default


def test_what_is_asked_for_costs_something():
    """The control: the comparison above would see it."""
    cost = functools.partial(program, "dense")
    flops = [
        cost(hucl).cost_analysis()["flops"],
        cost(hucl, normalize="unit_sphere").cost_analysis()["flops"],
        cost(observed).cost_analysis()["flops"],
    ]
    assert flops[0] < min(flops[1:])
