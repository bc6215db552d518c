"""Exact losses in float64, with the loss and hardening functions that the library ships.

The second evaluator beside `theory.exact.balls`, written separately. Every k-tuple is summed over,
in multisets of points; weights stay in log space, so that beta = 1000 is exact. Similarities,
margins and thresholds meet in exact rational arithmetic before they are rounded once, so that no
tuple is on the wrong side of a kink and no digits cancel.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from hcl_jax.hardening import Hardening
from hcl_jax.psi import Psi
from theory.model.eta_kinds import EtaForm, SumReluPower
from theory.model.latent_classes import LatentClassModel
from theory.model.multisets import multisets


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
        eta_inputs: what the hardening function sees: t (minus its level) of each point, or of each
            multiset the sum.
        log_others: log law of a negative of SCL, for each label.
        log_everyone: log law of a negative of UCL.
    """

    differences: Float[Array, "n positives n"]
    eta_inputs: Float[Array, "n inputs"]
    log_others: Float[Array, "classes n"]
    log_everyone: Float[Array, " n"]


def losses_float64(model: LatentClassModel, *, limit: bool = False) -> Losses64:
    """SCL, HSCL, UCL and HUCL of a finite model.

    Args:
        model: the model.
        limit: whether to take k to infinity; InfoNCE with a product eta only.

    Returns:
        The values.

    Raises:
        ValueError: if there is no such limit.

    Example:
        >>> from theory.model.random_models import neural_collapse
        >>> round(losses_float64(neural_collapse(num_classes=4)).scl, 9)
        0.233962525
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
    size = model.num_points
    margin, _ = model.psi.float64()
    level, _ = model.eta.float64()
    gram = np.array(model.gram, dtype=object)
    differences = gram[:, None, :] - gram[:, :, None] + margin
    if isinstance(model.eta, SumReluPower):
        places = np.array([places for places, _ in multisets(size, model.k)])
        inputs = gram[:, places].sum(axis=2) + level
    else:
        inputs = gram + level
    others = [model.other_classes(label) for label in range(model.num_classes)]
    return _Tables(
        jnp.array(differences.astype(np.float64)),
        jnp.array(inputs.astype(np.float64)),
        _log(others),
        _log(model.marginal),
    )


def _log(probabilities) -> Array:
    with np.errstate(divide="ignore"):
        return jnp.array(np.log(np.array(probabilities, dtype=object).astype(np.float64)))


def _positives(model: LatentClassModel, *, joint: bool) -> Float[Array, "classes n n"]:
    """``P(y, x, x+)``."""
    return jnp.array(
        [
            [
                [float(prior * p) for p in model.positives(label, anchor, joint=joint)]
                for anchor in range(model.num_points)
            ]
            for label, prior in enumerate(model.prior)
        ]
    )


@jax.jit
def _all_conditionals(expectation: Callable, tables: _Tables):
    """Expectations with the negatives of SCL, for each label, and with those of UCL."""
    others = jax.vmap(lambda law: _of_anchors(expectation, tables, law))(tables.log_others)
    return others, _of_anchors(expectation, tables, tables.log_everyone)


def _of_anchors(expectation: Callable, tables: _Tables, log_law: Float[Array, " n"]):
    """Plain and hardened expectations for all anchors and positives."""
    step = lambda row: expectation(row[0], row[1], log_law)  # noqa: E731
    return jax.lax.map(step, (tables.differences, tables.eta_inputs))


def _expectation(model: LatentClassModel, limit: bool) -> Callable:
    """The expectation given an anchor: (differences, eta inputs, log law) to (plain, hardened)."""
    (_, psi), (_, hardening) = model.psi.float64(), model.eta.float64()
    form, k = model.eta.form, model.k
    if limit:
        if psi.link is None or getattr(model.psi, "q", 1) is None or form is not EtaForm.PRODUCT:
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
    elif isinstance(model.eta, SumReluPower):
        tilt = Partial(_log_weights_of_sums, hardening, places, log_orders)
    else:
        tilt = Partial(_log_weights, hardening, places, log_orders)
    return Partial(_of_tuples, psi, share, places, log_orders, tilt)


def _of_tuples(psi: Psi, share, places, log_orders, tilt, differences, inputs, log_law):
    values = share * psi.of_differences(differences[:, places])
    plain = log_orders + log_law[places].sum(axis=1)
    return _both(values, plain, tilt(inputs, log_law))


def _both(values, log_plain, log_hard):
    """Expectations under two unnormalised laws; the first also where the second vanishes."""
    expected = jnp.sum(jax.nn.softmax(log_plain) * values, axis=-1)
    dead = jnp.max(log_hard) == -jnp.inf
    hard = jax.nn.softmax(jnp.where(dead, log_plain, log_hard))
    return expected, jnp.sum(hard * values, axis=-1)


def _log_weights(hardening: Hardening, places, log_orders, inputs, log_law):
    return log_orders + log_law[places].sum(axis=1) + hardening.log_eta(inputs[places])


def _log_weights_of_sums(hardening: Hardening, places, log_orders, sums, log_law):
    assert hardening.log_factor is not None
    return log_orders + log_law[places].sum(axis=1) + hardening.log_factor(sums)


def _log_weights_by_place(hardening: Hardening, inputs, log_law, *, k: int):
    """Sums over the orders of each multiset, a place after the other."""
    log_weights = jnp.zeros(1)
    for place, (targets, size) in enumerate(_transitions(len(log_law), k)):
        grown = log_weights[:, None] + log_law + _place_log_factor(hardening, k, place, inputs)
        top = jnp.full(size, -jnp.inf).at[targets].max(grown)
        finite = jnp.where(top > -jnp.inf, top, 0)
        log_weights = finite + jnp.log(
            jnp.zeros(size).at[targets].add(jnp.exp(grown - finite[targets]))
        )
    return log_weights


def _place_log_factor(hardening: Hardening, k: int, place: int, inputs):
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


def _separable(psi: Psi, hardening: Hardening, weights, differences, inputs, log_law):
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
    plain = sum(w * values[0] for w, values in zip(weights, by_place, strict=True))
    return plain, sum(w * values[1] for w, values in zip(weights, by_place, strict=True))


def _limit(psi: Psi, hardening: Hardening, differences, inputs, log_law):
    """k to infinity: the mean of exp(v / tau) becomes its expectation."""
    assert psi.link is not None
    assert hardening.log_factor is not None
    tilted = log_law + hardening.log_factor(inputs)
    alive = jnp.max(tilted) > -jnp.inf
    scaled, one = differences / psi.temperature, jnp.ones(())
    plain, hard = (
        psi.link(jax.nn.logsumexp(scaled + jax.nn.log_softmax(law), axis=-1), one)
        for law in (log_law, jnp.where(alive, tilted, log_law))
    )
    return plain, hard
