r"""The gradient of the samples estimator with respect to the numbers of psi and hardening.

In the words of `hcl_jax.losses._sampling`, a number of psi, such as the temperature, enters the
loss of a pair by ``psi(v)`` with the draws held. A number of hardening, such as beta, enters by the
law of the draws alone: the gradient of the expected loss is, by the score function,

    E sum_p psi_ip sum_k [ d log eta(s_{i n_k}) - sum_n p_i(n) d log eta(s_in) ],

of which the draws give an unbiased estimate, a sum over ``d log eta(s_in)`` with the coefficients
``sum_p psi_ip (#{k : n_k = n} - K p_i(n))``, which the gradient of the embeddings has as well.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

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
from hcl_jax.padding import varying_like

SMALLEST_TOTAL = 1e-30
"""Sums of weights are at least one where an anchor has negatives; this keeps 0 / 0 away."""

Values = list[Any]
"""Numbers, or their gradients."""

Scores = tuple[Float[Array, " entries"], Float[Array, " rows"]]
"""Losses of draws by (anchor, candidate), and losses by anchor."""


def number_gradients(
    options: SamplingOptions,
    wanted: tuple[bool, ...],
    inputs: SamplingInputs,
    embeddings: Embeddings,
    weight: Float[Array, " anchors"],
) -> SamplingInputs:
    """Gradients in the places of the leaves of the inputs that are wanted, None elsewhere."""
    candidates, portions = portions_of(options, inputs, embeddings, weight)
    of_law = len(jax.tree.leaves(inputs.log_factor))
    law_numbers, law_rebuilt = _split(inputs.log_factor, wanted[:of_law])
    psi_numbers, psi_rebuilt = _split(inputs.psi, wanted[of_law:])

    def add_portion(total: tuple[Values, Values], portion: Portion) -> tuple[Any, None]:
        law = negative_weights(options, inputs, portion, candidates)
        width = candidates.features.shape[0]

        def add(state: tuple[Scores, Values], block: PairBlock) -> tuple[Scores, Values]:
            (scores, sums), of_psi = state
            values, vjp = jax.vjp(
                lambda numbers: psi_rebuilt(numbers).of_differences(block.differences), psi_numbers
            )
            values = jnp.where(block.valid, values, 0)
            weights = jnp.where(block.valid, portion.weight[block.row].astype(values.dtype), 0)
            at = block.row[:, None] * width + block.draws
            scores = scores.at[at].add(jnp.broadcast_to(values[:, None], at.shape))
            return (scores, sums.at[block.row].add(values)), _added(of_psi, vjp(weights)[0])

        dtype = law.similarities.dtype
        nothing = (jnp.zeros(options.rows * width, dtype), jnp.zeros(options.rows, dtype))
        scores, of_psi = fold_pairs(
            options, inputs, portion, candidates, law, add, (nothing, total[1])
        )
        surplus = score_surplus(options, law, *scores) * portion.weight[:, None]
        surplus = jnp.where(law.drawable, surplus, 0)
        _, vjp = jax.vjp(lambda numbers: law_rebuilt(numbers)(law.similarities), law_numbers)
        return (_added(total[0], vjp(surplus.astype(dtype))[0]), of_psi), None

    start = (_zeros(law_numbers, weight), _zeros(psi_numbers, weight))
    start = varying_like(start, (candidates, portions))
    (of_law_numbers, of_psi_numbers), _ = lax.scan(add_portion, start, portions)
    return SamplingInputs(
        _placed(inputs.log_factor, wanted[:of_law], of_law_numbers),
        _placed(inputs.psi, wanted[of_law:], of_psi_numbers),
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


def _split(tree: Any, wanted: tuple[bool, ...]) -> tuple[Values, Callable[[Values], Any]]:
    """The numbers that are wanted, and a function that puts others in their places."""
    leaves, structure = jax.tree.flatten(tree)
    pairs = list(zip(leaves, wanted[: len(leaves)], strict=True))

    def rebuilt(values: Values) -> Any:
        given = iter(values)
        return structure.unflatten([next(given) if is_ else leaf for leaf, is_ in pairs])

    return [jnp.asarray(leaf) for leaf, is_ in pairs if is_], rebuilt


def _placed(tree: Any, wanted: tuple[bool, ...], found: Values) -> Any:
    """Gradients in their places, in the dtypes of the numbers, and None in those of others."""
    leaves, structure = jax.tree.flatten(tree)
    given = iter(found)
    return structure.unflatten(
        [
            next(given).astype(jnp.result_type(leaf)) if is_ else None
            for leaf, is_ in zip(leaves, wanted[: len(leaves)], strict=True)
        ]
    )


def _zeros(numbers: Values, like: Float[Array, "*n"]) -> Values:
    """Sums of gradients before the first portion, in at least the dtype of `like`."""
    return [jnp.zeros(v.shape, jnp.promote_types(v.dtype, like.dtype)) for v in numbers]


def _added(total: Values, parts: Values) -> Values:
    return [old + part.astype(old.dtype) for old, part in zip(total, parts, strict=True)]
