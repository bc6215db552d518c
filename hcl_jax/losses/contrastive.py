"""The contrastive loss of which SCL, HSCL, UCL and HUCL are the four corners.

For an anchor x with a positive x+ and negatives x_1^- .. x_k^- the loss of the paper is

    E psi_k(v_1, .., v_k),    v_i = f(x) . f(x_i^-) - f(x) . f(x+),

with the negatives drawn from the law reweighted by eta (see `hcl_jax.hardening`). Two choices make
four objectives: supervised or unsupervised pairs (`hcl_jax.pairs`), a hardening function or none.

Two estimators replace the law by the batch. Here is the *weights* estimator, the limit k to
infinity: an exact mean over the anchor's negatives N in the batch, weighted by eta. For InfoNCE

    x   = logsumexp_N(log eta + s / temperature) - logsumexp_N(log eta) - s_positive / temperature
    loss = log(alpha + q e^x)                                (softplus(x) for alpha = q = 1),

all in log space; for separable losses it is ``sum_N w_n term(s_n - s_positive)`` with the weights w
proportional to eta. The *samples* estimator is in `hcl_jax.losses.sampled`.

There are several implementations of the same numbers. "dense" (`hcl_jax.losses.dense`) is the
definition: it writes out (anchors, candidates) matrices. "blockwise" writes none: for InfoNCE see
`hcl_jax.losses._blockwise.loss`; for separable losses it is the dense form over a few anchors at a
time. "pallas", for InfoNCE on TPUs, has the passes over negatives as kernels
(`hcl_jax.losses._blockwise.pallas`); it is taken on request only, as no measurement shows it to
win.
"""

from typing import Any, Literal, NamedTuple

import jax
from jax.lax import PrecisionLike
from jaxtyping import Array, Float

from hcl_jax.hardening import Hardening
from hcl_jax.losses._blockwise.loss import blockwise_losses
from hcl_jax.losses._blockwise.options import Kernels, TileOptions
from hcl_jax.losses._checks import check_rows
from hcl_jax.losses._functions import psi_and_hardening
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.dense import dense_loss
from hcl_jax.losses.tilted_infonce import tilted_infonce
from hcl_jax.padding import pad_rows, padding
from hcl_jax.pairs import Keys, Pairs
from hcl_jax.psi import Psi
from hcl_jax.validation.options import check_choice, check_precision

Implementation = Literal["dense", "blockwise", "pallas"]

SMALL = {"gpu": 2**24}
"""At most so many (anchor, candidate) pairs are cheaper, or hardly dearer, in the dense form.

By backend; elsewhere `SMALL_ELSEWHERE`. On an H100 the dense form is 3.9 times faster at 2^22 pairs
and 1.3 times at 2^26 (benchmarks/losses-h100-float32.md), where its matrices take 512 MiB.
"""

SMALL_ELSEWHERE = 2**18

SMALL_ONE_SET = {"cpu": 2**16}
"""The same of anchors that are the candidates, by backend; elsewhere as of others.

With more than 256 rows a hand-written gradient takes less time than one that JAX makes of matrices.
"""

ROWS_AT_ONCE = 64
"""Anchors at a time in the blockwise form of a separable loss."""


def contrastive_loss(
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"] | None = None,
    *,
    psi: Psi | None = None,
    hardening: Hardening | None = None,
    stop_gradient_hardening: bool = True,
    implementation: Implementation | None = None,
    precision: PrecisionLike = jax.lax.Precision.HIGHEST,
    statistics: bool = False,
) -> AnchorLosses:
    """The weights estimator of the loss of every anchor.

    Args:
        anchors: embeddings whose losses are wanted.
        pairs: which candidates are positives and which negatives of each anchor.
        candidates: embeddings that are their positives and negatives; by default the anchors, and
            then the blockwise form uses the symmetry of the similarities, which halves its work.
        psi: the loss function; by default InfoNCE with alpha = q = temperature = 1. It needs a
            limit for k to infinity, so it is InfoNCE or separable. For a separable psi the result
            is the loss of one negative (k = 1).
        hardening: a product hardening function; by default none.
        stop_gradient_hardening: whether eta takes the similarities as constants, so that embeddings
            get no gradient through the weights, as in the reference code. The hyperparameters of
            eta, such as beta, keep their gradient. The value does not depend on it, the minimiser
            of HUCL does.
        implementation: "dense", "blockwise" or "pallas"; by default the one that
            `choose_implementation` names.
        precision: precision of the matrix multiplications, by default full, see
            `jax.lax.Precision`; a lower one is faster on GPUs and TPUs.
        statistics: whether the losses come with statistics of the pairs, from the same passes, see
            `hcl_jax.losses.loss_statistics`.

    Returns:
        The loss of every anchor. Similarities are computed and kept in at least float32. Memory:
        several (anchors, candidates) matrices if dense; linear in the rows otherwise, in
            derivatives of any order in either mode too.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, a joint hardening, or a psi without limit.
        NotImplementedError: if "pallas" lacks what is asked for, see
            `hcl_jax.losses._blockwise.pallas.kernels_for`.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax import pairs
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> everyone = pairs.supervised(pairs.rows(jnp.array([0, 0, 1, 1])))
        >>> contrastive_loss(embeddings, everyone).total.round(6).tolist()
        [0.12692800164222717, 0.12692800164222717, 0.12692800164222717, 0.12692800164222717]
    """
    check_rows(anchors, pairs, candidates)
    psi, hardening = psi_and_hardening(psi, hardening, anchors)
    check_weights_estimator(psi, hardening, implementation)
    check_precision(precision)
    check_choice("statistics", statistics, (False, True))
    return weights_estimator(
        anchors,
        pairs,
        candidates,
        psi=psi,
        hardening=hardening,
        stop_gradient_hardening=stop_gradient_hardening,
        implementation=implementation,
        precision=precision,
        statistics=statistics,
    )


def check_weights_estimator(
    psi: Psi, hardening: Hardening, implementation: Implementation | None = None
) -> None:
    """Raises unless `weights_estimator` is defined for these options."""
    if not hardening.is_product:
        raise ValueError(
            "the weights estimator needs a product hardening: under a joint one the negatives are "
            "not independent and no weight belongs to a single negative"
        )
    if psi.link is None and psi.term is None:
        raise ValueError(
            "this psi has no limit for k to infinity (it is neither InfoNCE nor separable); use "
            "the samples estimator, hcl_jax.losses.sampled_contrastive_loss"
        )
    if implementation is not None:
        check_choice("implementation", implementation, ("dense", "blockwise", "pallas"))


def weights_estimator(
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"] | None,
    *,
    psi: Psi,
    hardening: Hardening,
    stop_gradient_hardening: bool,
    implementation: Implementation | None,
    precision: PrecisionLike,
    statistics: bool = False,
) -> AnchorLosses:
    """`contrastive_loss` of arguments that have been checked."""
    others = anchors if candidates is None else candidates
    if implementation is None:
        sizes, one_set = (len(anchors), len(others)), candidates is None
        implementation = choose_implementation(*sizes, psi, one_set=one_set).implementation
    options = (psi, hardening, stop_gradient_hardening, precision)
    if implementation == "dense":
        return dense_loss(anchors, pairs, others, *options, statistics)
    if statistics and (implementation == "pallas" or psi.link is None):
        raise NotImplementedError(
            f"the {implementation} form of this loss has no statistics; "
            'implementation="dense" has them, and for InfoNCE "blockwise"'
        )
    kernels = None
    if implementation == "pallas":
        kernels = _kernels(anchors, others, psi, hardening, pairs)
    if psi.link is None:
        return _rows_at_a_time(anchors, pairs, others, *options)
    tiles = TileOptions(stop_gradient_hardening, precision, kernels=kernels, statistics=statistics)
    return blockwise_losses(tilted_infonce(psi, hardening), anchors, pairs, candidates, tiles)


class Choice(NamedTuple):
    """An implementation, and why it was chosen."""

    implementation: Implementation
    reason: str


def choose_implementation(
    anchors: int,
    candidates: int,
    psi: Psi | None = None,
    *,
    backend: str | None = None,
    one_set: bool = False,
) -> Choice:
    """The implementation that `contrastive_loss` takes by default.

    Without `one_set` it is that for candidates given apart from the anchors.

    Args:
        anchors: the number of anchors.
        candidates: the number of candidates.
        psi: the loss function; by default InfoNCE.
        backend: the backend that computes, such as "cpu" or "gpu"; by default the one JAX uses.
        one_set: whether the anchors are the candidates, as in `hcl_jax.hscl` on one
            device; on CPUs tiles are then chosen for smaller batches, as the pairs are symmetric.

    Returns:
        Its name and the reason.

    Raises:
        ValueError: if `one_set` is neither True nor False.

    Example:
        >>> choose_implementation(8192, 8192).implementation
        'blockwise'
        >>> print(choose_implementation(256, 256, backend="cpu").reason)
        65536 pairs are at most 262144: matrices of them are cheap
        >>> for one_set in (False, True):
        ...     choose_implementation(512, 512, backend="cpu", one_set=one_set).implementation
        'dense'
        'blockwise'
    """
    check_choice("one_set", one_set, (False, True))
    size, separable = anchors * candidates, psi is not None and psi.link is None
    backend = jax.default_backend() if backend is None else backend
    small = SMALL.get(backend, SMALL_ELSEWHERE)
    if one_set and not separable:
        small = SMALL_ONE_SET.get(backend, small)
    if size <= small:
        return Choice(
            "dense",
            f"{size} pairs are at most {small}: matrices of them are cheap",
        )
    if separable:
        return Choice("blockwise", f"{size} pairs: a separable loss takes a few anchors at a time")
    return Choice(
        "blockwise", f"{size} pairs are more than {small}: tiles take less time or memory"
    )


def _kernels(
    anchors: Float[Array, "anchors dim"],
    candidates: Float[Array, "candidates dim"],
    psi: Psi,
    hardening: Hardening,
    pairs: Pairs,
) -> Kernels:
    """The Pallas kernels, or an error that says what they lack."""
    from hcl_jax.losses._blockwise.pallas import kernels_for  # Pallas takes a while to import

    compared = [part for keys in pairs for part in (keys.in_negatives, keys.unshared, keys.rules)]
    if any(part is not None for part in compared):
        raise NotImplementedError(
            "the pallas implementation compares one class a row, and some rows have several or a "
            'rule, or are in no negative pair; implementation="blockwise" serves them'
        )
    if hardening.margin is not None:
        raise NotImplementedError(
            "the pallas implementation does not compare negatives with positives, as a margin asks "
            'for; implementation="blockwise" does'
        )
    return kernels_for(anchors, candidates, psi)


def _rows_at_a_time(
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"],
    *options: Any,
) -> AnchorLosses:
    """The dense form over a few anchors at a time, computed again in the backward pass."""
    count = len(anchors)
    rows = (anchors, pairs.anchors)
    blocks = jax.tree.map(
        lambda v: v.reshape(-1, ROWS_AT_ONCE, *v.shape[1:]),
        pad_rows(rows, padding(count, ROWS_AT_ONCE), mode="edge"),
    )

    @jax.checkpoint
    def losses_of_block(block: tuple[Float[Array, "rows dim"], Keys]) -> AnchorLosses:
        features, keys = block
        return dense_loss(features, Pairs(keys, pairs.candidates), candidates, *options)

    losses = jax.lax.map(losses_of_block, blocks)
    return jax.tree.map(lambda values: values.reshape(-1)[:count], losses)
