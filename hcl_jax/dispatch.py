"""The one function that computes every objective, on one device and many.

`hcl_jax.scl` .. `hcl_jax.hucl`, `hcl_jax.objective`, `hcl_jax.parallel.objective` and the training
step all reach their loss through `batch_losses`: what is minimised is an `Objective`, how it is
computed where the paper leaves a choice is a `Conventions`, and where the rows of the batch are is
a `hcl_jax.collectives.Collectives`. Arguments are checked here, once, alike for one device and
many.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from hcl_jax import pairs as pairing
from hcl_jax.collectives import SINGLE, Collectives
from hcl_jax.conventions import Conventions, Objective
from hcl_jax.hardening import Hardening
from hcl_jax.losses import AnchorLosses
from hcl_jax.losses._functions import psi_and_hardening
from hcl_jax.losses.contrastive import check_weights_estimator, weights_estimator
from hcl_jax.losses.sampled import check_samples_estimator, samples_estimator
from hcl_jax.losses.sharded import (
    check_sharded_weights_estimator,
    sharded_samples_estimator,
    sharded_weights_estimator,
)
from hcl_jax.meshes import with_auto_axes
from hcl_jax.pairs import Pairs, Rows
from hcl_jax.psi import Psi
from hcl_jax.validation.batches import check_embeddings, check_labels
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.options import check_choice


def batch_losses(
    embeddings: Float[Array, "n dim"],
    rows: Rows,
    objective: Objective,
    conventions: Conventions = Conventions(),
    *,
    key: PRNGKeyArray | None = None,
    collectives: Collectives = SINGLE,
    bank: tuple[Float[Array, "m dim"], Rows] | None = None,
    statistics: bool = False,
) -> AnchorLosses:
    """The loss of every anchor of a batch: the one door through which every objective is computed.

    Args:
        embeddings: normalised embeddings, one a row; on several devices, the rows of this device.
        rows: what pairs the rows, see `hcl_jax.pairs.rows`; on several devices, numbered over the
            whole batch.
        objective: what is minimised; its hyperparameters may be traced.
        conventions: how it is computed.
        key: randomness for the samples estimator, the same on every device; None for the weights
            estimator.
        collectives: where the rows of the batch are.
        bank: embeddings that are candidates and no anchors, and what pairs them: rows that are
            numbered after those of the whole batch.
        statistics: whether the losses come with statistics of the pairs, see
            `hcl_jax.losses.loss_statistics`; the samples estimator has none.

    Returns:
        The loss of each row as an anchor, to be averaged by `hcl_jax.losses.average_loss`.

    Raises:
        ValueError, TypeError: on wrong shapes, dtypes or options, or options that exclude each
            other; on NaN where the numbers are concrete (not traced).

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax import pairs
        >>> from hcl_jax.hardening import exponential
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> rows = pairs.rows(jnp.array([0, 0, 1, 1]))
        >>> losses = batch_losses(embeddings, rows, Objective(True, exponential(5.0)))
        >>> losses.positives.tolist()
        [1, 1, 1, 1]
    """
    check_embeddings("embeddings", embeddings)
    _check_rows(rows, length=embeddings.shape[0])
    stored = None
    if bank is not None:
        check_embeddings("embeddings of the bank", bank[0])
        _check_rows(bank[1], length=bank[0].shape[0], of=" of the bank")
        if bank[0].shape[1] != embeddings.shape[1]:
            raise ValueError(
                f"embeddings and those of the bank must have one dimension, got "
                f"{embeddings.shape[1]} and {bank[0].shape[1]}"
            )
        stored = jnp.asarray(bank[0])
    psi, hardening = psi_and_hardening(
        objective.psi, objective.hardening, embeddings, conventions.num_negatives
    )
    _check_combination(psi, hardening, conventions, key, collectives)
    check_choice("statistics", statistics, (False, True))
    if statistics and key is not None:
        raise NotImplementedError(
            "the samples estimator has no statistics; the weights estimator (no num_negatives) has"
        )
    pairs = pairs_of(rows, None if bank is None else bank[1], objective.supervised, conventions)
    compute = partial(
        _losses, conventions=conventions, collectives=collectives, statistics=statistics
    )
    return with_auto_axes(compute, jnp.asarray(embeddings), stored, pairs, psi, hardening, key)


def _check_rows(rows: Rows, *, length: int, of: str = "") -> None:
    """Raises unless there are integers of every kind for each of so many rows."""
    for name, integers in zip(("labels", "groups", "instances"), rows[:3], strict=True):
        check_labels(f"{name}{of}", integers, length=length)


def _losses(
    embeddings: Float[Array, "n dim"],
    bank: Float[Array, "m dim"] | None,
    pairs: Pairs,
    psi: Psi,
    hardening: Hardening,
    key: PRNGKeyArray | None,
    *,
    conventions: Conventions,
    collectives: Collectives,
    statistics: bool,
) -> AnchorLosses:
    """`batch_losses` of arguments that have been checked."""
    terms: dict[str, Any] = {
        "psi": psi,
        "hardening": hardening,
        "stop_gradient_hardening": conventions.stop_gradient_hardening,
        "precision": conventions.precision,
    }
    candidates = None
    if bank is not None and collectives.axis_name is None:
        candidates = jnp.concatenate([embeddings, bank])
    if key is not None:
        terms["num_negatives"] = conventions.num_negatives
        if collectives.axis_name is None:
            return samples_estimator(key, embeddings, pairs, candidates, **terms)
        return sharded_samples_estimator(
            key, embeddings, pairs, axis_name=collectives.axis_name, bank=bank, **terms
        )
    terms["statistics"] = statistics
    if collectives.axis_name is None:
        implementation = conventions.implementation
        return weights_estimator(
            embeddings, pairs, candidates, implementation=implementation, **terms
        )
    return sharded_weights_estimator(
        embeddings,
        pairs,
        axis_name=collectives.axis_name,
        exchange=collectives.exchange,
        bank=bank,
        **terms,
    )


def pairs_of(
    rows: Rows, stored: Rows | None, supervised: Bool[Array, ""] | bool, conventions: Conventions
) -> Pairs:
    """Supervised or unsupervised pairs; which of them may be traced."""
    candidates = None
    if stored is not None:
        candidates = pairing.joined(rows, stored)
    options = {
        "same_batch": candidates is not None,
        "self_positives": conventions.self_positives,
        "ignored_negatives": conventions.ignored_negatives,
    }
    of_classes = partial(pairing.supervised, rows, candidates, **options)
    of_everyone = partial(
        pairing.unsupervised,
        rows,
        candidates,
        self_negatives=conventions.self_negatives,
        **options,
    )
    if (rows.classes is not None or rows.rules is not None) and not is_concrete(supervised):
        raise ValueError(
            "with several classes a row, or a pair rule, supervised must be known when traced"
        )
    if is_concrete(supervised):
        return of_classes() if supervised else of_everyone()
    return jax.tree.map(partial(jnp.where, supervised), of_classes(), of_everyone())


def _check_combination(
    psi: Psi,
    hardening: Hardening,
    conventions: Conventions,
    key: PRNGKeyArray | None,
    collectives: Collectives,
) -> None:
    """Raises where one of the arguments cannot be served or would be ignored."""
    num_negatives, implementation = conventions.num_negatives, conventions.implementation
    if (num_negatives is None) != (key is None):
        raise ValueError(
            "the samples estimator needs both num_negatives and key; "
            f"got num_negatives={num_negatives!r} and {'no key' if key is None else 'a key'}"
        )
    if num_negatives is not None:
        check_samples_estimator(hardening, key)
    elif collectives.axis_name is None:
        check_weights_estimator(psi, hardening, implementation)
    else:
        check_sharded_weights_estimator(psi, hardening, collectives.exchange)
    if collectives.axis_name is None:
        return
    if implementation not in (None, "blockwise"):
        raise ValueError(
            f"over several devices the loss has the blockwise form, not {implementation!r}; leave "
            "implementation out"
        )
    if key is not None and collectives.exchange == "ring":
        raise ValueError(
            "the samples estimator gathers the candidates of all devices; leave exchange out, or "
            'leave num_negatives out to compute the weights estimator with exchange="ring"'
        )
