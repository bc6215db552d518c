"""The contrastive loss, and its four named corners SCL, HSCL, UCL and HUCL.

For an anchor x with a positive x+ and negatives x_1^- .. x_k^- the loss of the paper is

    E psi_k(v_1, .., v_k),    v_i = f(x) . f(x_i^-) - f(x) . f(x+),

with the negatives drawn from the law reweighted by eta (see `hcl_jax.hardening`). Two choices make
four objectives: supervised or unsupervised pairs (`hcl_jax.pairs`), a hardening function or none.

Two estimators replace the law by the batch. Here is the *weights* estimator, the limit k to
infinity: an exact mean over the anchor's negatives N in the batch, weighted by eta. For InfoNCE

    x   = logsumexp_N(log eta + s / temperature) - logsumexp_N(log eta) - s_positive / temperature
    loss = log(alpha + q e^x)                                (softplus(x) for alpha = q = 1),

all in log space; for separable losses it is ``sum_N w_n term(s_n - s_positive)`` with the weights w
proportional to eta. The *samples* estimator is in `hcl_jax.sampling`.

There are several implementations of the same numbers. "dense", here, is the definition: it writes
out (anchors, candidates) matrices and can be differentiated any number of times, by any argument.
"blockwise" never does: for InfoNCE see `hcl_jax.blockwise`; for separable losses it is the dense
form over a few anchors at a time. "pallas", for InfoNCE on TPUs, has the passes over negatives as
kernels (`hcl_jax.kernels`); it is taken on request only, as no measurement shows it to win.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hcl_jax import pairs as pairing
from hcl_jax.blockwise import Settings, blockwise_losses
from hcl_jax.hardening import Hardening, no_hardening
from hcl_jax.pairs import Pairs
from hcl_jax.psi import Psi, infonce
from hcl_jax.sides import law_of
from hcl_jax.tiling import pad_rows, padding
from hcl_jax.validation import (
    check_choice,
    check_embeddings,
    check_labels,
)

Average = Literal["pairs", "anchors"]
Implementation = Literal["dense", "blockwise", "pallas"]

SMALL = 2**18
"""At most this many (anchor, candidate) pairs are cheaper, or hardly dearer, in the dense form."""

ROWS_AT_ONCE = 64
"""Anchors at a time in the blockwise form of a separable loss."""


class AnchorLosses(NamedTuple):
    """The loss of every anchor, not yet averaged, so that it can be summed over devices first.

    Attributes:
        total: the sum of the losses of the anchor's (anchor, positive) pairs; 0 if undefined.
        positives: the number of those pairs; 0 if undefined.
        defined: False for an anchor without a positive or without a negative of positive weight,
            which has no loss.
    """

    total: Float[Array, " anchors"]
    positives: Int[Array, " anchors"]
    defined: Bool[Array, " anchors"]


def contrastive_loss(
    anchors: Float[Array, "anchors dim"],
    candidates: Float[Array, "candidates dim"],
    pairs: Pairs,
    *,
    psi: Psi | None = None,
    hardening: Hardening | None = None,
    stop_gradient_hardening: bool = True,
    implementation: Implementation | None = None,
) -> AnchorLosses:
    """The weights estimator of the loss of every anchor.

    Args:
        anchors: embeddings whose losses are wanted.
        candidates: embeddings that are their positives and negatives.
        pairs: which candidate is what to which anchor.
        psi: the loss function; by default InfoNCE with alpha = q = temperature = 1. It needs a
            limit for k to infinity, so it is InfoNCE or separable. For a separable psi the result
            is the loss of one negative (k = 1).
        hardening: a product hardening function; by default none.
        stop_gradient_hardening: whether the weights eta are constants to differentiation, as in the
            reference code. The value does not depend on it, the minimiser of HUCL does.
        implementation: "dense", "blockwise" or "pallas"; by default the one that
            `choose_implementation` names. If `candidates` is the same object as `anchors`, the
            last two use the symmetry of the similarities.

    Returns:
        The loss of every anchor. Similarities are computed and kept in at least float32. Memory:
        several (anchors, candidates) matrices if dense; linear in the rows otherwise.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, a joint hardening, or a psi without limit.
        NotImplementedError: if another form than the dense is differentiated twice, or by beta or
            temperature; or if "pallas" lacks what is asked for, see `hcl_jax.kernels.kernels_for`.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax import pairs
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> everyone = pairs.supervised(pairs.rows(jnp.array([0, 0, 1, 1])))
        >>> contrastive_loss(embeddings, embeddings, everyone).total.round(6).tolist()
        [0.12692800164222717, 0.12692800164222717, 0.12692800164222717, 0.12692800164222717]
    """
    psi = infonce() if psi is None else psi
    hardening = no_hardening() if hardening is None else hardening
    log_factor = _check_weights_estimator(psi, hardening)
    check_pairs_fit(anchors, candidates, pairs)
    if implementation is None:
        implementation = choose_implementation(len(anchors), len(candidates), psi).implementation
    check_choice("implementation", implementation, ("dense", "blockwise", "pallas"))
    options = {"psi": psi, "log_factor": log_factor, "detached": stop_gradient_hardening}
    if implementation == "dense":
        return _dense_loss(anchors, candidates, pairs, **options)
    kernels = _kernels(anchors, candidates, psi) if implementation == "pallas" else None
    if psi.link is None:
        return _rows_at_a_time(anchors, candidates, pairs, **options)
    law = law_of(psi, hardening)
    settings = Settings(detached=stop_gradient_hardening, kernels=kernels)
    return AnchorLosses(*blockwise_losses(law, anchors, candidates, pairs, settings))


class Choice(NamedTuple):
    """An implementation, and why it was chosen."""

    implementation: Implementation
    reason: str


def choose_implementation(anchors: int, candidates: int, psi: Psi | None = None) -> Choice:
    """The implementation that `contrastive_loss` takes by default.

    Args:
        anchors: the number of anchors.
        candidates: the number of candidates.
        psi: the loss function; by default InfoNCE.

    Returns:
        Its name and the reason.

    Example:
        >>> choose_implementation(8192, 8192).implementation
        'blockwise'
        >>> print(choose_implementation(256, 256).reason)
        65536 pairs are at most 262144: matrices of them are cheap and differentiable twice
    """
    size = anchors * candidates
    if size <= SMALL:
        return Choice(
            "dense",
            f"{size} pairs are at most {SMALL}: matrices of them are cheap and differentiable "
            "twice",
        )
    if psi is not None and psi.link is None:
        return Choice("blockwise", f"{size} pairs: a separable loss takes a few anchors at a time")
    return Choice("blockwise", f"{size} pairs are more than {SMALL}: tiles need no matrix of them")


def _dense_loss(anchors, candidates, pairs, *, psi, log_factor, detached):
    positives, negatives = pairing.masks(pairs)
    similarities = similarity(anchors, candidates)
    log_eta = log_factor(jax.lax.stop_gradient(similarities) if detached else similarities)
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


def _kernels(anchors, candidates, psi):
    from hcl_jax.kernels import kernels_for  # Pallas takes a while to import

    return kernels_for(anchors, candidates, psi)


def _rows_at_a_time(anchors, candidates, pairs, **options):
    """The dense form over a few anchors at a time, computed again in the backward pass."""
    count = len(anchors)
    rows = (anchors, pairs.anchors)
    blocks = jax.tree.map(
        lambda v: v.reshape(-1, ROWS_AT_ONCE, *v.shape[1:]),
        pad_rows(rows, padding(count, ROWS_AT_ONCE), mode="edge"),
    )

    @jax.checkpoint
    def losses_of_block(block):
        features, keys = block
        return _dense_loss(features, candidates, Pairs(keys, pairs.candidates), **options)

    losses = jax.lax.map(losses_of_block, blocks)
    return AnchorLosses(*(part.reshape(-1)[:count] for part in losses))


def average_loss(losses: AnchorLosses, average: Average = "pairs") -> Float[Array, ""]:
    """The mean loss of a batch.

    Args:
        losses: the losses of the anchors.
        average: "pairs" pools all (anchor, positive) pairs, as the reference code does; "anchors"
            is the mean over defined anchors of the mean over their positives.

    Returns:
        A scalar; 0 if no anchor is defined.

    Raises:
        ValueError: if `average` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = AnchorLosses(jnp.array([3.0, 1.0]), jnp.array([3, 2]), jnp.array([True, True]))
        >>> round(float(average_loss(losses)), 4), round(float(average_loss(losses, "anchors")), 4)
        (0.8, 0.75)
    """
    total, weight = sum_and_weight(losses, average)
    return total / jnp.maximum(weight, 1)


def sum_and_weight(
    losses: AnchorLosses, average: Average = "pairs"
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The two sums whose quotient is the mean loss; over devices, add each up before dividing.

    Args:
        losses: the losses of the anchors.
        average: as in `average_loss`.

    Returns:
        The sum of losses and the number of pairs or of anchors it is to be divided by.

    Raises:
        ValueError: if `average` is another word.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = AnchorLosses(jnp.array([3.0, 1.0]), jnp.array([3, 2]), jnp.array([True, True]))
        >>> [float(part) for part in sum_and_weight(losses)]
        [4.0, 5.0]
    """
    check_choice("average", average, ("pairs", "anchors"))
    if average == "pairs":
        return losses.total.sum(), losses.positives.sum().astype(losses.total.dtype)
    per_anchor = losses.total / jnp.maximum(losses.positives, 1)
    return per_anchor.sum(), losses.defined.sum().astype(losses.total.dtype)


def similarity(
    anchors: Float[Array, "anchors dim"], candidates: Float[Array, "candidates dim"]
) -> Float[Array, "anchors candidates"]:
    """Inner products, in at least float32 and at full precision of the inputs.

    Args:
        anchors: one embedding a row.
        candidates: one embedding a row.

    Returns:
        The matrix of inner products.

    Example:
        >>> import jax.numpy as jnp
        >>> similarity(jnp.eye(2, dtype=jnp.bfloat16), jnp.ones((1, 2), jnp.bfloat16)).tolist()
        [[1.0], [1.0]]
    """
    dtype = jnp.promote_types(jnp.result_type(anchors, candidates), jnp.float32)
    return jnp.matmul(
        anchors, candidates.T, precision=jax.lax.Precision.HIGHEST, preferred_element_type=dtype
    )


def check_pairs_fit(
    anchors: Float[Array, "anchors dim"], candidates: Float[Array, "candidates dim"], pairs: Pairs
) -> None:
    """Raises unless the embeddings agree in dimension and the pairs in length with both."""
    check_embeddings("anchors", anchors)
    if candidates is not anchors:
        check_embeddings("candidates", candidates)
    if anchors.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"anchors and candidates must have one dimension, got {anchors.shape[1]} and "
            f"{candidates.shape[1]}"
        )
    for name, embeddings, keys in zip(
        ("anchors", "candidates"), (anchors, candidates), pairs, strict=True
    ):
        for key in keys:
            check_labels(f"the pair keys of the {name}", key, length=embeddings.shape[0])


def _check_weights_estimator(psi: Psi, hardening: Hardening):
    if hardening.log_factor is None:
        raise ValueError(
            "the weights estimator needs a product hardening: under a joint one the negatives are "
            "not independent and no weight belongs to a single negative"
        )
    if psi.link is None and psi.term is None:
        raise ValueError(
            "this psi has no limit for k to infinity (it is neither InfoNCE nor separable); use "
            "the samples estimator, hcl_jax.sampling.sampled_contrastive_loss"
        )
    return hardening.log_factor


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
