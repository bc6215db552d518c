"""The weights estimator for the rows of one device, with the candidates of all.

The mathematics is that of `hcl_jax.losses._blockwise.loss`; the candidates come as
`hcl_jax.losses._blockwise.exchange` has it. Since anchors and candidates are the same rows of the
global batch, ``dZ = (G + G^T) Z``: device m computes its rows of the sum from features and row
statistics of the others, so no gradient travels. In a ring candidates visit twice in the forward
pass, because the losses of positives need the sums over all negatives, and once in the backward
pass.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hcl_jax.hardening import Hardening
from hcl_jax.losses._blockwise.block import Side
from hcl_jax.losses._blockwise.exchange import Exchange, choose_exchange, meet_all
from hcl_jax.losses._blockwise.gradients import pull
from hcl_jax.losses._blockwise.negatives import (
    absorb,
    count_negatives,
    cut,
    nothing_absorbed,
    statistics,
)
from hcl_jax.losses._blockwise.positives import no_positives, positive_pull, positive_sums
from hcl_jax.losses._blockwise.vjp import (
    POSITIVE_BLOCK,
    Settings,
    cotangent_of_totals,
    finish,
    offsets,
    once_differentiable,
    sort_rows,
    unwrap,
    weigh,
    whole_blocks,
)
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.law import law_of
from hcl_jax.padding import varying_like
from hcl_jax.pairs import Pairs
from hcl_jax.psi import Psi


def sharded_contrastive_loss(
    embeddings: Float[Array, "n dim"],
    pairs: Pairs,
    *,
    axis_name: str,
    exchange: Exchange | None = None,
    psi: Psi | None = None,
    hardening: Hardening | None = None,
    stop_gradient_hardening: bool = True,
) -> AnchorLosses:
    """The weights estimator for the rows of this device, with the candidates of all devices.

    Args:
        embeddings: of this device.
        pairs: the keys of its rows, as anchors and as candidates; instances must differ over the
            global batch, see `first` of `hcl_jax.pairs.rows`.
        axis_name: the axis of the devices.
        exchange: "gather" or "ring"; by default
            `hcl_jax.losses._blockwise.exchange.choose_exchange`.
        psi: InfoNCE.
        hardening: a product hardening function; by default none.
        stop_gradient_hardening: as in `hcl_jax.losses.contrastive.contrastive_loss`.

    Returns:
        The losses of this device's anchors; average them with `mean_loss`. Memory: as
        `hcl_jax.losses._blockwise.loss`, and the rows of all devices (gather) or two shards (ring).

    Raises:
        ValueError: for a psi that is not InfoNCE, or a joint hardening.

    Example:
        >>> import jax
        >>> from hcl_jax.pairs import rows, supervised
        >>> def total(z, labels):
        ...     first = 2 * jax.lax.axis_index("devices")
        ...     keys = supervised(rows(labels, first=first))
        ...     return sharded_contrastive_loss(z, keys, axis_name="devices").total
        >>> z = jax.numpy.array([[[1.0], [-1.0]], [[1.0], [-1.0]]])
        >>> totals = jax.vmap(total, axis_name="devices")(z, jax.numpy.array([[0, 1], [0, 1]]))
        >>> totals.round(4).tolist()
        [[0.12690000236034393, 0.12690000236034393], [0.12690000236034393, 0.12690000236034393]]
    """
    law = law_of(psi, hardening)
    if exchange is None:
        (rows, dim), itemsize = embeddings.shape, embeddings.dtype.itemsize
        exchange = choose_exchange(rows, dim, lax.axis_size(axis_name), itemsize)
    settings = Settings(stop_gradient_hardening)
    where = (settings, exchange, axis_name)
    losses: Any = _spread(where, law, embeddings, pairs)
    return AnchorLosses(*losses)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _spread(where, law, features, pairs):
    return _spread_forward(where, law, features, pairs)[0]


def _spread_fwd(where, *arguments):
    law, features, pairs = unwrap(arguments)
    losses, memory = _spread_forward(where, law, features, pairs)
    return losses, (law, features, pairs, memory)


def _spread_bwd(where, residuals, cotangents):
    weight = cotangent_of_totals(cotangents, residuals[-1].slope)
    return None, _spread_backward(where, *residuals, weight), None


_spread.defvjp(_spread_fwd, _spread_bwd, symbolic_zeros=True)


@once_differentiable
def _spread_forward(where, law, features, pairs):
    settings, exchange, axis_name = where
    order, ranks, rows = sort_rows(features, pairs)
    padded, block = whole_blocks(rows, settings)
    offer = Side(rows.features, as_candidate=rows.as_candidate)

    def meet_negatives(state, visiting):
        sums, count = state
        others, length = whole_blocks(visiting, settings)
        sums = absorb(sums, law, padded, others, (block, length), settings.precision)
        return sums, count + count_negatives(pairs.anchors, visiting.as_candidate)[order]

    nobody = jnp.zeros(len(order), jnp.int32)
    start = varying_like((nothing_absorbed(padded.features), nobody), rows)
    sums, count = meet_all(exchange, axis_name, offer, meet_negatives, start)
    stats = statistics(law, cut(sums, len(order)), count)
    anchors = rows._replace(offsets=offsets(stats))

    def meet_positives(state, visiting):
        visiting = _by_group(exchange, visiting)
        sums = positive_sums(law, anchors, visiting, POSITIVE_BLOCK, settings.precision)
        return jax.tree.map(jnp.add, state, sums)

    none = varying_like(no_positives(stats.tilted), rows)
    sums = meet_all(exchange, axis_name, offer, meet_positives, none)
    losses, memory = finish(stats, sums, jnp.zeros((), bool))
    return jax.tree.map(lambda values: values[ranks], losses), memory


@once_differentiable
def _spread_backward(where, law, features, pairs, memory, weight):
    settings, exchange, axis_name = where
    order, ranks, rows = sort_rows(features, pairs)
    rows = weigh(rows, memory, weight[order])
    padded, block = whole_blocks(rows, settings)

    def meet(gradient, visiting):
        others, length = whole_blocks(visiting, settings)
        gradient += pull(
            law,
            padded,
            others,
            (block, length),
            detached=settings.detached,
            precision=settings.precision,
        )[: len(order)]
        visiting = _by_group(exchange, visiting)
        return gradient + positive_pull(law, rows, visiting, POSITIVE_BLOCK, settings.precision)

    start = varying_like(jnp.zeros(features.shape, memory.slope.dtype), rows)
    gradient = meet_all(exchange, axis_name, rows, meet, start)
    return gradient[ranks].astype(features.dtype)


def _by_group(exchange, side):
    """Shards are sorted; all of them together are not yet."""
    if exchange == "ring":
        return side
    order = jnp.argsort(side.as_candidate.group)
    return jax.tree.map(lambda values: values[order], side)
