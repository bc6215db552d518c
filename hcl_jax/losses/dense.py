"""The weights estimator as it is defined: matrices over all (anchor, candidate) pairs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.lax import PrecisionLike
from jaxtyping import Array, Bool, Float

from hcl_jax import pairs as pairing
from hcl_jax.hardening import Hardening
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.pair_statistics import PairStatistics, moments_of
from hcl_jax.losses.tilted_infonce import (
    TiltedInfoNCE,
    log_factor_of,
    margin_of,
    tilted_infonce,
    without_masked,
)
from hcl_jax.pairs import Pairs
from hcl_jax.precision import inner_products
from hcl_jax.psi import Psi


def dense_loss(
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"],
    psi: Psi,
    hardening: Hardening,
    detached: bool,
    precision: PrecisionLike,
    statistics: bool = False,
) -> AnchorLosses:
    """The definition, by matrices of all pairs; `detached`: eta takes similarities as constants."""
    positives, negatives = masks = pairing.masks(pairs)
    similarities = inner_products(anchors, candidates, precision)
    weighing = jax.lax.stop_gradient(similarities) if detached else similarities
    log_eta = log_factor_of(hardening)(weighing)
    log_eta = without_masked(log_eta, similarities, positives, margin_of(hardening))
    # NaN counts as weight, so that it is seen in the loss, also where eta of NaN is 0.
    weighted = negatives & ((log_eta != -jnp.inf) | jnp.isnan(similarities))
    defined = positives.any(axis=1) & weighted.any(axis=1)
    positives = positives & defined[:, None]
    negatives = negatives & defined[:, None]
    if psi.link is not None:
        logits = similarities / jnp.asarray(psi.temperature, similarities.dtype)
        losses = _infonce_losses(tilted_infonce(psi), logits, log_eta, negatives)
    elif psi.term is not None:
        losses = _separable_losses(psi.term, similarities, log_eta, negatives)
    else:
        raise ValueError("the dense form needs InfoNCE or a separable loss")
    return AnchorLosses(
        total=jnp.sum(losses, axis=1, where=positives),
        positives=jnp.sum(positives, axis=1, dtype=jnp.int32),
        defined=defined,
        statistics=_statistics(similarities, masks, log_eta, negatives) if statistics else None,
    )


def _statistics(
    similarities: Float[Array, "anchors candidates"],
    masks: tuple[Bool[Array, "anchors candidates"], Bool[Array, "anchors candidates"]],
    log_eta: Float[Array, "anchors candidates"],
    of_defined: Bool[Array, "anchors candidates"],
) -> PairStatistics:
    """Of all positives and negatives, and of the weights of negatives of anchors with a loss."""
    weights = _masked_softmax(jax.lax.stop_gradient(log_eta), of_defined)
    squares = jnp.sum(jnp.square(weights), axis=1)
    positives, negatives = (moments_of(similarities, mask) for mask in masks)
    return PairStatistics(
        positives, negatives, jnp.where(squares > 0, 1 / jnp.where(squares > 0, squares, 1), 0)
    )


def _infonce_losses(
    infonce: TiltedInfoNCE,
    logits: Float[Array, "anchors candidates"],
    log_eta: Float[Array, "anchors candidates"],
    negatives: Bool[Array, "anchors candidates"],
) -> Float[Array, "anchors candidates"]:
    """What every (anchor, candidate) pair would lose if it were positive, for InfoNCE."""
    log_mean = _masked_logsumexp(log_eta + logits, negatives) - _masked_logsumexp(
        log_eta, negatives
    )
    number = jnp.sum(negatives, axis=1, keepdims=True)
    number = jnp.maximum(number, 1)  # 0 has no finite derivative
    return infonce.pair_loss(log_mean, logits, number)


def _masked_logsumexp(
    values: Float[Array, "anchors candidates"], mask: Bool[Array, "anchors candidates"]
) -> Float[Array, "anchors 1"]:
    """Row-wise logsumexp over the mask; 0, with gradient 0, in rows where the mask is empty."""
    masked = jnp.where(mask, values, -jnp.inf)
    masked = jnp.where(mask.any(axis=1, keepdims=True), masked, 0)
    total = jax.nn.logsumexp(masked, axis=1, keepdims=True)
    return jnp.where(mask.any(axis=1, keepdims=True), total, 0)


def _masked_softmax(
    values: Float[Array, "anchors candidates"], mask: Bool[Array, "anchors candidates"]
) -> Float[Array, "anchors candidates"]:
    """Row-wise softmax over the mask, none above 1; 0 in rows where the mask is empty."""
    some = mask.any(axis=1, keepdims=True)
    masked = jnp.where(some, jnp.where(mask, values, -jnp.inf), 0)
    return jnp.where(some, jax.nn.softmax(masked, axis=1), 0)


def _separable_losses(
    term: Callable[[Float[Array, "*n"]], Float[Array, "*n"]],
    similarities: Float[Array, "anchors candidates"],
    log_eta: Float[Array, "anchors candidates"],
    negatives: Bool[Array, "anchors candidates"],
) -> Float[Array, "anchors candidates"]:
    """The same for separable losses, a column of positives at a time to save memory."""
    weights = _masked_softmax(log_eta, negatives)

    @jax.checkpoint
    def losses_of_candidate(
        similarity_to_candidate: Float[Array, " anchors"],
    ) -> Float[Array, " anchors"]:
        terms = term(similarities - similarity_to_candidate[:, None])
        return jnp.sum(weights * terms, axis=1)

    return jax.lax.map(losses_of_candidate, similarities.T).T
