r"""The samples estimator a few anchors at a time, with a hand-written gradient.

The pairs and their draws are those of `hcl_jax.losses._sampled_pairs`.

**The gradient.** With ``v_k = s_{i n_k} - s_ip`` for the draws ``n_k`` of the pair (i, p) and
``g_i`` the derivative of the final scalar with respect to the total of anchor i,

    G_in = g_i sum_p sum_k [n_k = n] d psi / d v_k          (n != p)
    G_ip = - g_i sum_k d psi / d v_k

are histograms of the draws, made again by the backward pass from the same counters, and
``dX = G Y``, ``dY = G^T X``. If the law of the draws is to be differentiated, the score function
adds ``g_i sum_p psi_ip sum_k (d/ds_in) log p_i(n_k)
= g_i (log eta)'(s_in) (sum_p psi_ip #{k : n_k = n} - K p_i(n) sum_p psi_ip)``. Gradients with
respect to hyperparameters are in `hcl_jax.losses._sampling_hyperparameters`.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from hcl_jax.losses._differentiable_once import Embeddings, differentiable_once
from hcl_jax.losses._sampled_pairs import (
    NegativeWeights,
    PairBlock,
    Portion,
    SamplingInputs,
    SamplingOptions,
    SortedCandidates,
    fold_pairs,
    negative_weights,
    portions_of,
)
from hcl_jax.losses._sampling_hyperparameters import hyperparameter_gradients, score_surplus
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.padding import varying_like
from hcl_jax.precision import weighted_sums, wide_dtype

Totals = tuple[Float[Array, " rows"], Int[Array, " rows"]]
"""Losses and numbers of positives of a few anchors."""

Histograms = tuple[Float[Array, " entries"], Float[Array, " _"], Float[Array, " rows"]]
"""Slopes and losses of draws by (anchor, candidate), and losses by anchor."""


def _forward(
    options: SamplingOptions, inputs: SamplingInputs, embeddings: Embeddings
) -> tuple[AnchorLosses, None]:
    """The losses; the backward pass makes the draws again, so nothing is kept."""
    candidates, portions = portions_of(options, inputs, embeddings, None)

    def losses_of(_: None, portion: Portion) -> tuple[None, AnchorLosses]:
        law = negative_weights(options, inputs, portion, candidates)

        def add(state: Totals, block: PairBlock) -> Totals:
            total, number = state
            values = inputs.psi.of_differences(block.differences)
            total = total.at[block.row].add(jnp.where(block.valid, values, 0))
            return total, number.at[block.row].add(block.valid.astype(jnp.int32))

        zeros = jnp.zeros(options.rows, law.similarities.dtype)
        start = (zeros, zeros.astype(jnp.int32))
        total, number = fold_pairs(options, inputs, portion, candidates, law, add, start)
        total = jnp.where(law.unknown, jnp.nan, total)
        has_negatives = law.drawable.any(axis=1) | law.unknown
        defined = (portion.positives > 0) & has_negatives & (number > 0)
        return None, AnchorLosses(
            jnp.where(defined, total, 0), jnp.where(defined, number, 0), defined
        )

    _, losses = lax.scan(losses_of, None, portions)
    count = len(embeddings[0])
    return jax.tree.map(lambda values: values.reshape(-1)[:count], losses), None


def _backward(
    options: SamplingOptions,
    inputs: SamplingInputs,
    embeddings: Embeddings,
    residuals: None,
    weight: Float[Array, " anchors"],
) -> Embeddings:
    """``G Y`` and ``G^T X``."""
    anchors, others = embeddings
    candidates, portions = portions_of(options, inputs, embeddings, weight)

    def gradients_of(
        of_candidates: Float[Array, "candidates dim"], portion: Portion
    ) -> tuple[Float[Array, "candidates dim"], Float[Array, "rows dim"]]:
        law = negative_weights(options, inputs, portion, candidates)
        tile = _portion_gradient(options, inputs, portion, candidates, law)
        tile *= portion.weight[:, None]
        of_candidates += weighted_sums(tile.T, portion.features, options.precision)
        return of_candidates, weighted_sums(tile, candidates.features, options.precision)

    start = jnp.zeros(others.shape, wide_dtype(others))
    start = varying_like(start, (candidates, portions))
    of_candidates, of_anchors = lax.scan(gradients_of, start, portions)
    of_anchors = of_anchors.reshape(-1, anchors.shape[1])[: len(anchors)]
    of_candidates = jnp.zeros_like(of_candidates).at[candidates.order].set(of_candidates)
    return of_anchors.astype(anchors.dtype), of_candidates.astype(others.dtype)


sampled_losses = differentiable_once(_forward, _backward, hyperparameter_gradients)
"""The losses of (options, inputs, (anchors, candidates))."""


def _portion_gradient(
    options: SamplingOptions,
    inputs: SamplingInputs,
    portion: Portion,
    candidates: SortedCandidates,
    law: NegativeWeights,
) -> Float[Array, "rows candidates"]:
    """``G / g`` of a few anchors, as histograms of their draws."""
    width = candidates.features.shape[0]
    attached = not options.detached
    empty = jnp.zeros(options.rows * width, law.similarities.dtype)
    zeros = jnp.zeros(options.rows, law.similarities.dtype)

    def add(state: Histograms, block: PairBlock) -> Histograms:
        histogram, scores, total = state
        values, vjp = jax.vjp(inputs.psi.of_differences, block.differences)
        values = jnp.where(block.valid, values, 0)
        (slopes,) = vjp(jnp.where(block.valid, jnp.ones_like(values), 0))
        at = block.row[:, None] * width + block.draws
        histogram = histogram.at[at].add(slopes, mode="promise_in_bounds")
        histogram = histogram.at[block.row * width + block.positive].add(-slopes.sum(axis=1))
        if attached:
            scores = scores.at[at].add(jnp.broadcast_to(values[:, None], at.shape))
            total = total.at[block.row].add(values)
        return histogram, scores, total

    start = (empty, empty if attached else zeros, zeros)
    histogram, scores, total = fold_pairs(options, inputs, portion, candidates, law, add, start)
    gradient = histogram.reshape(options.rows, width)
    if not attached:
        return gradient
    ones = jnp.ones_like(law.similarities)
    _, derivative = jax.jvp(inputs.log_factor, (law.similarities,), (ones,))
    surplus = score_surplus(options, law, scores, total)
    return gradient + jnp.where(law.drawable, surplus * derivative, 0)
