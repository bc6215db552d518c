"""Exact losses in float64, with the loss and hardening functions that the library ships.

The second evaluator beside `theory.exact.balls`, written separately. Every k-tuple is summed over,
in multisets of points; weights stay in log space, so that beta = 1000 is exact. Similarities,
margins and thresholds meet in exact rational arithmetic before they are rounded once, so that no
tuple is on the wrong side of a kink and no digits cancel.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from hcl_jax.hardening import Hardening
from hcl_jax.psi import Psi
from theory.model.kinds import EtaForm, unweighted
from theory.model.latent_classes import LatentClassModel
from theory.model.multisets import multisets
from theory.model.rationals import log_probabilities

Expectations = tuple[Float[Array, "*labels n positives"], Float[Array, "*labels n positives"]]
"""Plain and hardened."""

Expectation = Callable[
    [Float[Array, "positives n"], Float[Array, " inputs"], Float[Array, " n"]],
    tuple[Float[Array, " positives"], Float[Array, " positives"]],
]
"""Given an anchor: differences, inputs of eta and the log law to plain and hardened losses."""


class Losses64(NamedTuple):
    """The four losses in float64; the fields are those of `theory.exact.balls.Losses`."""

    scl: float
    hscl: float
    ucl: float
    hucl: float
    ucl_joint: float | None
    hucl_joint: float | None


class _Tables(NamedTuple):
    """The numbers of a model, for each anchor.

    Attributes:
        differences: ``t_negative - t_positive`` (plus the margin), exactly rounded.
        eta_inputs: what the hardening function sees: t (minus its level) of each point or, for an
            eta of the sum, the sum of each multiset.
        log_others: log law of a negative of SCL, for each label.
        log_everyone: log law of a negative of UCL.
    """

    differences: Float[Array, "n positives n"]
    eta_inputs: Float[Array, "n inputs"]
    log_others: Float[Array, "classes n"]
    log_everyone: Float[Array, " n"]


def losses_float64(model: LatentClassModel, *, limit: bool = False) -> Losses64:
    """SCL, HSCL, UCL and HUCL of a finite model; with `limit`, for k to infinity.

    Raises ValueError where there is no such limit: it needs InfoNCE with a number q and a product
    eta.
    """
    with jax.enable_x64(True):
        others, everyone = _all_conditionals(_expectation(model, limit), _tables(model))
        dependent = _positives(model, joint=True)
        independent = _positives(model, joint=False)
        scl, hscl = (float(jnp.sum(dependent * values)) for values in others)
        ucl, hucl = (float(jnp.sum(independent * values)) for values in everyone)
        joint = [float(jnp.sum(dependent * values)) for values in everyone]
    if model.joint is None:
        return Losses64(scl, hscl, ucl, hucl, None, None)
    return Losses64(scl, hscl, ucl, hucl, *joint)


def _tables(model: LatentClassModel) -> _Tables:
    """The numbers of a model, shifted exactly and rounded once."""
    margin, _ = model.psi.float64()
    level, _ = model.eta.float64()
    gram = np.array(model.gram, dtype=object)
    differences = gram[:, None, :] - gram[:, :, None] + margin
    inputs = gram
    if model.eta.of_sum:
        places = np.array([places for places, _ in multisets(model.num_points, model.k)])
        inputs = gram[:, places].sum(axis=2)
    others = [model.other_classes(label) for label in range(model.num_classes)]
    return _Tables(
        jnp.array(differences.astype(np.float64)),
        jnp.array((inputs + level).astype(np.float64)),
        jnp.array(log_probabilities(others)),
        jnp.array(log_probabilities(model.marginal)),
    )


def _positives(model: LatentClassModel, *, joint: bool) -> Float[Array, "classes n n"]:
    """``P(y, x, x+)``."""

    def row(label: int, prior: Fraction, anchor: int) -> list[float]:
        return [float(prior * p) for p in model.positives(label, anchor, joint=joint)]

    anchors = range(model.num_points)
    return jnp.array([[row(c, prior, x) for x in anchors] for c, prior in enumerate(model.prior)])


@jax.jit
def _all_conditionals(
    expectation: Expectation, tables: _Tables
) -> tuple[Expectations, Expectations]:
    """Expectations with the negatives of SCL, for each label, and with those of UCL."""
    others = jax.vmap(lambda law: _of_anchors(expectation, tables, law))(tables.log_others)
    return others, _of_anchors(expectation, tables, tables.log_everyone)


def _of_anchors(
    expectation: Expectation, tables: _Tables, log_law: Float[Array, " n"]
) -> Expectations:
    """Plain and hardened expectations for all anchors and positives."""
    return jax.lax.map(
        lambda row: expectation(row[0], row[1], log_law), (tables.differences, tables.eta_inputs)
    )


def _expectation(model: LatentClassModel, limit: bool) -> Expectation:
    """How the losses given an anchor are summed up for this psi and eta."""
    (_, psi), (_, hardening) = model.psi.float64(), model.eta.float64()
    form, k = model.eta.form, model.k
    if limit:
        if not model.psi.has_limit or form is not EtaForm.PRODUCT:
            raise ValueError("only InfoNCE with a number q and a product eta has a limit in k")
        return Partial(_limit, psi, hardening)
    weights = jnp.array([float(w) for w in model.psi.place_weights(k)])
    if model.psi.separable and form is not EtaForm.JOINT:
        return Partial(_separable, psi, hardening, weights)
    share = weights.mean()  # a weighted psi meets only symmetric laws in tuples
    tuples = multisets(model.num_points, k)
    places = jnp.array([place for place, _ in tuples])
    log_orders = jnp.log(jnp.array([float(orders) for _, orders in tuples]))
    if form is EtaForm.PLACES:
        tilt = Partial(partial(_log_weights_by_place, k=k), hardening)
    else:
        log_eta = _log_eta_of_sums if model.eta.of_sum else _log_eta_of_tuples
        tilt = Partial(_log_weights, Partial(log_eta, hardening, places), places, log_orders)
    return Partial(_of_tuples, psi, share, places, log_orders, tilt)


def _of_tuples(
    psi: Psi,
    share: Float[Array, ""],
    places: Int[Array, "tuples k"],
    log_orders: Float[Array, " tuples"],
    tilt: Callable[[Float[Array, " inputs"], Float[Array, " n"]], Float[Array, " tuples"]],
    differences: Float[Array, "positives n"],
    inputs: Float[Array, " inputs"],
    log_law: Float[Array, " n"],
) -> tuple[Float[Array, " positives"], Float[Array, " positives"]]:
    """Sums over all multisets of k points."""
    values = share * unweighted(psi, differences[:, places])
    plain = log_orders + log_law[places].sum(axis=1)
    return _both(values, plain, tilt(inputs, log_law))


def _both(
    values: Float[Array, "positives outcomes"],
    log_plain: Float[Array, " outcomes"],
    log_hard: Float[Array, " outcomes"],
) -> tuple[Float[Array, " positives"], Float[Array, " positives"]]:
    """Expectations under two unnormalised laws; the first also where the second vanishes."""
    expected = jnp.sum(jax.nn.softmax(log_plain) * values, axis=-1)
    vanishes = jnp.max(log_hard) == -jnp.inf
    hard = jax.nn.softmax(jnp.where(vanishes, log_plain, log_hard))
    return expected, jnp.sum(hard * values, axis=-1)


def _log_weights(
    log_eta: Callable[[Float[Array, " inputs"]], Float[Array, " tuples"]],
    places: Int[Array, "tuples k"],
    log_orders: Float[Array, " tuples"],
    inputs: Float[Array, " inputs"],
    log_law: Float[Array, " n"],
) -> Float[Array, " tuples"]:
    """Log weights of the multisets under the tilted law, for a symmetric eta."""
    return log_orders + log_law[places].sum(axis=1) + log_eta(inputs)


def _log_eta_of_tuples(
    hardening: Hardening, places: Int[Array, "tuples k"], similarities: Float[Array, " n"]
) -> Float[Array, " tuples"]:
    """``log eta`` of every multiset."""
    return hardening.log_eta(similarities[places])


def _log_eta_of_sums(
    hardening: Hardening, places: Int[Array, "tuples k"], sums: Float[Array, " tuples"]
) -> Float[Array, " tuples"]:
    """``log eta`` of every multiset where eta sees the sum alone, which is exact."""
    return hardening.log_eta(sums[:, None])


def _log_weights_by_place(
    hardening: Hardening, inputs: Float[Array, " n"], log_law: Float[Array, " n"], *, k: int
) -> Float[Array, " tuples"]:
    """Log weights of the multisets where each place has a factor: sums over their orders."""
    log_weights = jnp.zeros(1)
    for place, (targets, size) in enumerate(_transitions(len(log_law), k)):
        grown = log_weights[:, None] + log_law + _place_log_factor(hardening, k, place, inputs)
        top = jnp.full(size, -jnp.inf).at[targets].max(grown)
        finite = jnp.where(top > -jnp.inf, top, 0)
        log_weights = finite + jnp.log(
            jnp.zeros(size).at[targets].add(jnp.exp(grown - finite[targets]))
        )
    return log_weights


def _place_log_factor(
    hardening: Hardening, k: int, place: int, inputs: Float[Array, " n"]
) -> Float[Array, " n"]:
    """The factor of one place of a weighted exponential: all other places hold zero."""
    alone = jnp.zeros((len(inputs), k)).at[:, place].set(inputs)
    return hardening.log_eta(alone)


@lru_cache(maxsize=32)
def _transitions(size: int, k: int) -> list[tuple[Int[np.ndarray, "before n"], int]]:
    """For each place: where a multiset goes when a point is added, and how many there are then."""
    found, before = [], [()]
    for count in range(1, k + 1):
        after = [places for places, _ in multisets(size, count)]
        index = {places: i for i, places in enumerate(after)}
        targets = [[index[tuple(sorted((*p, j)))] for j in range(size)] for p in before]
        found.append((np.array(targets), len(after)))
        before = after
    return found


def _separable(
    psi: Psi,
    hardening: Hardening,
    weights: Float[Array, " k"],
    differences: Float[Array, "positives n"],
    inputs: Float[Array, " n"],
    log_law: Float[Array, " n"],
) -> tuple[Float[Array, " positives"], Float[Array, " positives"]]:
    """A sum over the places of one-variable expectations, for independent negatives."""
    assert psi.term is not None
    terms, k = psi.term(differences), len(weights)
    if hardening.log_factor is not None:
        plain, hard = _both(terms, log_law, log_law + hardening.log_factor(inputs))
        return weights.sum() * plain, weights.sum() * hard
    by_place = [
        _both(terms, log_law, log_law + _place_log_factor(hardening, k, place, inputs))
        for place in range(k)
    ]
    plain, hard = (jnp.stack(values, axis=-1) @ weights for values in zip(*by_place, strict=True))
    return plain, hard


def _limit(
    psi: Psi,
    hardening: Hardening,
    differences: Float[Array, "positives n"],
    inputs: Float[Array, " n"],
    log_law: Float[Array, " n"],
) -> tuple[Float[Array, " positives"], Float[Array, " positives"]]:
    """k to infinity: the mean of exp(v / tau) becomes its expectation."""
    assert psi.link is not None
    assert hardening.log_factor is not None
    tilted = log_law + hardening.log_factor(inputs)
    vanishes = jnp.max(tilted) == -jnp.inf
    scaled, one = differences / psi.temperature, jnp.ones(())
    plain, hard = (
        psi.link(jax.nn.logsumexp(scaled + jax.nn.log_softmax(law), axis=-1), one)
        for law in (log_law, jnp.where(vanishes, log_law, tilted))
    )
    return plain, hard
