"""The weights estimator as it is defined: matrices over all (anchor, candidate) pairs."""

import jax
import jax.numpy as jnp
from jax.lax import PrecisionLike
from jaxtyping import Array, Float

from hcl_jax import pairs as pairing
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.law import LogFactor
from hcl_jax.pairs import Pairs
from hcl_jax.psi import Psi


def dense_loss(
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"],
    psi: Psi,
    log_factor: LogFactor,
    detached: bool,
    precision: PrecisionLike,
) -> AnchorLosses:
    """The definition, by matrices of all pairs; `detached`: eta is constant to differentiation."""
    positives, negatives = pairing.masks(pairs)
    similarities = similarity(anchors, candidates, precision=precision)
    weighing = jax.lax.stop_gradient(similarities) if detached else similarities
    log_eta = log_factor(weighing)
    defined = positives.any(axis=1) & (negatives & (log_eta > -jnp.inf)).any(axis=1)
    positives = positives & defined[:, None]
    negatives = negatives & defined[:, None]
    if psi.link is not None:
        losses = _infonce_losses(psi, similarities, log_eta, negatives)
    else:
        losses = _separable_losses(psi, similarities, log_eta, negatives)
    return AnchorLosses(
        total=jnp.sum(losses, axis=1, where=positives),
        positives=jnp.sum(positives, axis=1, dtype=jnp.int32),
        defined=defined,
    )


def similarity(
    anchors: Float[Array, "anchors dim"],
    candidates: Float[Array, "candidates dim"],
    *,
    precision: PrecisionLike = jax.lax.Precision.HIGHEST,
) -> Float[Array, "anchors candidates"]:
    """Inner products, in at least float32.

    Args:
        anchors: one embedding a row.
        candidates: one embedding a row.
        precision: precision of the multiplication, by default full, see `jax.lax.Precision`.

    Returns:
        The matrix of inner products.

    Example:
        >>> import jax.numpy as jnp
        >>> similarity(jnp.eye(2, dtype=jnp.bfloat16), jnp.ones((1, 2), jnp.bfloat16)).tolist()
        [[1.0], [1.0]]
    """
    dtype = jnp.promote_types(jnp.result_type(anchors, candidates), jnp.float32)
    return jnp.matmul(anchors, candidates.T, precision=precision, preferred_element_type=dtype)


def _infonce_losses(psi, similarities, log_eta, negatives):
    logits = similarities / jnp.asarray(psi.temperature, similarities.dtype)
    log_mean = _masked_logsumexp(log_eta + logits, negatives) - _masked_logsumexp(
        log_eta, negatives
    )
    return psi.link(log_mean - logits, jnp.sum(negatives, axis=1, keepdims=True))


def _masked_logsumexp(values, mask):
    """Row-wise logsumexp over the mask; 0, with gradient 0, in rows where the mask is empty."""
    masked = jnp.where(mask, values, -jnp.inf)
    masked = jnp.where(mask.any(axis=1, keepdims=True), masked, 0)
    total = jax.nn.logsumexp(masked, axis=1, keepdims=True)
    return jnp.where(mask.any(axis=1, keepdims=True), total, 0)


def _separable_losses(psi, similarities, log_eta, negatives):
    """Losses of all (anchor, positive) pairs, a column of positives at a time to save memory."""
    log_weights = log_eta - _masked_logsumexp(log_eta, negatives)
    weights = jnp.where(negatives, jnp.exp(jnp.where(negatives, log_weights, 0)), 0)

    @jax.checkpoint
    def losses_of_candidate(similarity_to_candidate):
        terms = psi.term(similarities - similarity_to_candidate[:, None])
        return jnp.sum(weights * terms, axis=1)

    return jax.lax.map(losses_of_candidate, similarities.T).T
