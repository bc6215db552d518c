"""The samples estimator: K negatives drawn for every (anchor, positive) pair.

Each pair gets K fresh draws with replacement from the anchor's negatives in the batch, with
probabilities proportional to eta, and pays ``psi_K`` of the draws. This is what the reference code
does; its expectation tends to the weights estimator, `contrastive_loss`, as K grows, from below.
"""

from typing import Any

from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax.hardening import Hardening
from hcl_jax.losses._checks import check_rows
from hcl_jax.losses._functions import psi_and_hardening
from hcl_jax.losses._sampled_pairs import SamplingInputs, SamplingOptions, rows_at_once
from hcl_jax.losses._sampling import sampled_losses
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.tilted_infonce import log_factor_of, margin_of
from hcl_jax.padding import varying_like
from hcl_jax.pairs import Pairs
from hcl_jax.psi import Psi
from hcl_jax.validation.arrays import check_key
from hcl_jax.validation.options import check_precision

MOST_DRAWS = 2**33
"""Draws of one anchor that have bits of their own: each of 2^32 counters gives two words."""


def sampled_contrastive_loss(
    key: PRNGKeyArray,
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"] | None = None,
    *,
    num_negatives: int,
    psi: Psi | None = None,
    hardening: Hardening | None = None,
    stop_gradient_hardening: bool = True,
    precision: PrecisionLike = lax.Precision.HIGHEST,
) -> AnchorLosses:
    """The samples estimator of the loss of every anchor.

    Args:
        key: draws the negatives; the same key gives the same draws.
        anchors: embeddings whose losses are wanted.
        pairs: which candidates are positives and which negatives of each anchor.
        candidates: embeddings that are their positives and negatives; by default the anchors.
        num_negatives: K, the number of draws for each (anchor, positive) pair.
        psi: the loss function; by default InfoNCE with alpha = q = temperature = 1.
        hardening: a product hardening function; by default none.
        stop_gradient_hardening: whether the law of the draws takes the similarities as constants,
            as in the reference code. If not, the score function of the draws is added, so that the
            gradient is an unbiased estimate of the gradient of the expected loss.
        precision: precision of the matrix multiplications, by default full, see
            `jax.lax.Precision`.

    Returns:
        The loss of every anchor, as in `hcl_jax.losses.contrastive_loss`. Memory is bounded: a few
        times 2^19 similarities and 2^16 draws, and the embeddings. It can be differentiated once,
        in reverse mode. The gradient with respect to hyperparameters of psi, such as the
        temperature, is that of the loss of these draws; that of hyperparameters of hardening, such
        as beta, is an unbiased estimate of the gradient of the expected loss, by the score function
        of the draws.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, a joint hardening, K < 1, or so many draws
            for one anchor that its random bits would repeat.
        NotImplementedError: if differentiated twice, or in forward mode.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from hcl_jax import pairs
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> everyone = pairs.supervised(pairs.rows(jnp.array([0, 0, 1, 1])))
        >>> losses = sampled_contrastive_loss(
        ...     jax.random.key(0), embeddings, everyone, num_negatives=8
        ... )
        >>> losses.total.round(4).tolist()
        [0.12690000236034393, 0.12690000236034393, 0.12690000236034393, 0.12690000236034393]
    """
    check_rows(anchors, pairs, candidates)
    psi, hardening = psi_and_hardening(psi, hardening, anchors, num_negatives)
    check_samples_estimator(hardening, key)
    check_precision(precision)
    return samples_estimator(
        key,
        anchors,
        pairs,
        candidates,
        num_negatives=num_negatives,
        psi=psi,
        hardening=hardening,
        stop_gradient_hardening=stop_gradient_hardening,
        precision=precision,
    )


def check_samples_estimator(hardening: Hardening, key: Any) -> None:
    """Raises unless `samples_estimator` is defined for this hardening and this key."""
    check_key("key", key)
    if not hardening.is_product:
        raise ValueError(
            "the samples estimator needs a product hardening: under a joint one the draws of a "
            "tuple are not independent"
        )


def samples_estimator(
    key: PRNGKeyArray,
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"] | None,
    *,
    num_negatives: int,
    psi: Psi,
    hardening: Hardening,
    stop_gradient_hardening: bool,
    precision: PrecisionLike,
) -> AnchorLosses:
    """`sampled_contrastive_loss` of arguments that have been checked."""
    candidates = anchors if candidates is None else candidates
    if len(candidates) * num_negatives > MOST_DRAWS:
        raise ValueError(
            f"num_negatives={num_negatives} with {len(candidates)} candidates may need more than "
            f"{MOST_DRAWS} draws for one anchor, whose random bits would repeat; at most "
            f"{MOST_DRAWS // len(candidates)} are served, and the weights estimator (no "
            "num_negatives) is the limit of infinitely many"
        )
    rows = rows_at_once(len(anchors), len(candidates))
    options = SamplingOptions(num_negatives, stop_gradient_hardening, rows, precision)
    terms = (log_factor_of(hardening), psi)
    log_factor, psi = varying_like(terms, (anchors, candidates))
    inputs = SamplingInputs(log_factor, psi, key, pairs, margin_of(hardening))
    return sampled_losses(options, inputs, (anchors, candidates))
