r"""The gradient of the samples estimator with respect to the hyperparameters of psi and hardening.

In the words of `hcl_jax.losses._sampling`, a hyperparameter of psi, such as the temperature, enters
the loss of a pair by ``psi(v)`` with the draws held. One of hardening, such as beta, enters by the
law of the draws alone: the gradient of the expected loss is, by the score function,

    E sum_p psi_ip sum_k [ d log eta(s_{i n_k}) - sum_n p_i(n) d log eta(s_in) ],

of which the draws give an unbiased estimate, a sum over ``d log eta(s_in)`` with the coefficients
``sum_p psi_ip (#{k : n_k = n} - K p_i(n))``, which the gradient of the embeddings has as well.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hcl_jax.losses._chosen_leaves import (
    Values,
    added,
    as_cotangents,
    chosen_leaves,
    no_gradients,
    with_leaves,
)
from hcl_jax.losses._differentiable_once import Embeddings
from hcl_jax.losses._sampled_pairs import (
    NegativeWeights,
    PairBlock,
    Portion,
    SamplingInputs,
    SamplingOptions,
    fold_pairs,
    negative_weights,
    portions_of,
)
from hcl_jax.losses.tilted_infonce import LogFactor
from hcl_jax.padding import varying_like
from hcl_jax.psi import Psi

SMALLEST_TOTAL = 1e-30
"""Sums of weights are at least one where an anchor has negatives; this keeps 0 / 0 away."""

Scores = tuple[Float[Array, " entries"], Float[Array, " rows"]]
"""Losses of draws by (anchor, candidate), and losses by anchor."""


def hyperparameter_gradients(
    options: SamplingOptions,
    wanted: tuple[bool, ...],
    inputs: SamplingInputs,
    embeddings: Embeddings,
    weight: Float[Array, " anchors"],
) -> SamplingInputs:
    """Gradients in the places of the leaves of the inputs that are wanted, None elsewhere."""
    candidates, portions = portions_of(options, inputs, embeddings, weight)
    of_law = len(jax.tree.leaves(inputs.log_factor))
    of_both = of_law + len(jax.tree.leaves(inputs.psi))
    wanted_of_law, wanted_of_psi = wanted[:of_law], wanted[of_law:of_both]
    law_values = chosen_leaves(inputs.log_factor, wanted_of_law)
    psi_values = chosen_leaves(inputs.psi, wanted_of_psi)

    def law_rebuilt(values: Values) -> LogFactor:
        return with_leaves(inputs.log_factor, wanted_of_law, values)

    def psi_rebuilt(values: Values) -> Psi:
        return with_leaves(inputs.psi, wanted_of_psi, values)

    def add_portion(total: tuple[Values, Values], portion: Portion) -> tuple[Any, None]:
        law = negative_weights(options, inputs, portion, candidates)
        width = candidates.features.shape[0]

        def add(state: tuple[Scores, Values], block: PairBlock) -> tuple[Scores, Values]:
            (scores, sums), of_psi = state
            values, vjp = jax.vjp(
                lambda values: psi_rebuilt(values).of_differences(block.differences), psi_values
            )
            values = jnp.where(block.valid, values, 0)
            weights = jnp.where(block.valid, portion.weight[block.row].astype(values.dtype), 0)
            at = block.row[:, None] * width + block.draws
            scores = scores.at[at].add(jnp.broadcast_to(values[:, None], at.shape))
            return (scores, sums.at[block.row].add(values)), added(of_psi, vjp(weights)[0])

        dtype = law.similarities.dtype
        nothing = (jnp.zeros(options.rows * width, dtype), jnp.zeros(options.rows, dtype))
        scores, of_psi = fold_pairs(
            options, inputs, portion, candidates, law, add, (nothing, total[1])
        )
        surplus = score_surplus(options, law, *scores) * portion.weight[:, None]
        surplus = jnp.where(law.drawable, surplus, 0)
        _, vjp = jax.vjp(lambda values: law_rebuilt(values)(law.similarities), law_values)
        return (added(total[0], vjp(surplus.astype(dtype))[0]), of_psi), None

    start = (no_gradients(law_values, weight), no_gradients(psi_values, weight))
    start = varying_like(start, (candidates, portions))
    (of_law, of_psi), _ = lax.scan(add_portion, start, portions)
    return SamplingInputs(
        as_cotangents(inputs.log_factor, wanted_of_law, of_law),
        as_cotangents(inputs.psi, wanted_of_psi, of_psi),
        None,  # pyright: ignore[reportArgumentType]  (no gradient)
        None,  # pyright: ignore[reportArgumentType]
    )


def score_surplus(
    options: SamplingOptions,
    law: NegativeWeights,
    scores: Float[Array, " entries"],
    total: Float[Array, " rows"],
) -> Float[Array, "rows candidates"]:
    """``sum_p psi_ip (#{k : n_k = n} - K p_i(n))`` from the losses of draws and of anchors."""
    share = law.weights / jnp.maximum(law.weights.sum(axis=1, keepdims=True), SMALLEST_TOTAL)
    return scores.reshape(share.shape) - options.num_negatives * share * total[:, None]
