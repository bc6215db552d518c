"""SCL, HSCL, UCL and HUCL: scalar losses of a batch of embeddings and labels.

    =============  ==============  ==========================
    objective      pairs           negatives
    =============  ==============  ==========================
    `scl`          supervised      of other classes
    `hscl`         supervised      of other classes, hardened
    `ucl`          unsupervised    everyone
    `hucl`         unsupervised    everyone, hardened
    =============  ==============  ==========================

They drop into any training loop:

    >>> import jax, optax
    >>> embeddings = jax.random.normal(jax.random.key(0), (8, 3))
    >>> labels = jax.numpy.arange(8) % 2
    >>> value, gradient = jax.value_and_grad(hscl)(embeddings, labels, beta=5.0)
"""

from functools import partial
from typing import Unpack

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hcl_jax.batch_rows import (
    bank_of,
    batch_rows,
    check_groups_of,
    classes_of_groups,
    image_indices,
    normalized,
    ranks,
    stored_rows,
    without_ignored,
)
from hcl_jax.batch_warnings import warn_outside_ball, warn_without_loss
from hcl_jax.collectives import SINGLE, Collectives, check_collectives
from hcl_jax.conventions import Objective
from hcl_jax.dispatch import batch_losses, pairs_of
from hcl_jax.hardening import Hardening, exponential, no_hardening
from hcl_jax.losses import average_loss, loss_statistics
from hcl_jax.options import Labels, Options, Scalar, conventions_of, psi_of, refusing_unknown
from hcl_jax.validation.arrays import check_array
from hcl_jax.validation.batches import check_weights
from hcl_jax.validation.numbers import check_non_negative
from hcl_jax.validation.options import check_function
from hcl_jax.views_axis import without_views_axis


@refusing_unknown("scl")
def scl(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels | None = None,
    *,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Supervised contrastive learning: positives of the class, negatives of other classes.

    Args:
        embeddings: normalised embeddings, one a row, or the views of each image: (n, views, dim).
        labels: the class of each row, or of each image; or whether it has each, for several. None
            for every group, or image of views, to be a class of its own.
        collectives: where the rows of the batch are, see `hcl_jax.parallel.over_axis`; by default
            all on this device.
        **options: see `Options`.

    Returns:
        The mean loss; 0 if no anchor has both a positive and a negative.

    Raises:
        ValueError, TypeError: on wrong shapes, dtypes or options, and on NaN where the numbers are
            concrete (not traced).

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> round(float(scl(embeddings, jnp.array([0, 0, 1, 1]))), 6)  # log(1 + exp(-2))
        0.126928
    """
    return objective(
        embeddings,
        labels,
        supervised=True,
        hardening=no_hardening(),
        collectives=collectives,
        **options,
    )


@refusing_unknown("hscl")
def hscl(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels | None = None,
    *,
    beta: Scalar,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Hard supervised contrastive learning: `scl` with exponentially tilted negatives.

    Args:
        embeddings: normalised embeddings, one a row, or the views of each image: (n, views, dim).
        labels: the class of each row, or of each image; or whether it has each, for several. None
            for every group, or image of views, to be a class of its own.
        beta: the hardness, non-negative; 0 gives `scl`.
        collectives: where the rows of the batch are, as in `scl`.
        **options: see `Options`.

    Returns:
        The mean loss; for a non-decreasing `psi` never below `scl`, by Chebyshev's inequality in
            every batch or, with `num_negatives`, by Theorem 1 on average over draws.

    Raises:
        ValueError, TypeError: as `scl`, and for a concrete `beta` that is negative, not finite, or
            so large (10^6 in float32) that logits are lost beside it. A traced one makes the loss
            NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> bool(hscl(embeddings, labels, beta=5.0) > scl(embeddings, labels))
        True
    """
    beta = check_non_negative("beta", beta)
    return objective(
        embeddings,
        labels,
        supervised=True,
        hardening=exponential(beta),
        collectives=collectives,
        **options,
    )


@refusing_unknown("ucl")
def ucl(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels | None = None,
    *,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Unsupervised contrastive learning: negatives are everyone, the anchor's class included.

    Args:
        embeddings: normalised embeddings, one a row, or the views of each image: (n, views, dim).
        labels: the latent class of each row, which picks the positives; not needed where `groups`
            are given, or views.
        collectives: where the rows of the batch are, as in `scl`.
        **options: see `Options`.

    Returns:
        The mean loss; 0 if no anchor has both a positive and a negative.

    Raises:
        ValueError, TypeError: as `scl`.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> round(float(ucl(embeddings, jnp.array([0, 0, 1, 1]))), 6)
        0.353159
    """
    return objective(
        embeddings,
        labels,
        supervised=False,
        hardening=no_hardening(),
        collectives=collectives,
        **options,
    )


@refusing_unknown("hucl")
def hucl(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels | None = None,
    *,
    beta: Scalar,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Hard unsupervised contrastive learning: `ucl` with exponentially tilted negatives.

    Args:
        embeddings: normalised embeddings, one a row, or the views of each image: (n, views, dim).
        labels: the latent class of each row, which picks the positives; not needed where `groups`
            are given, or views.
        beta: the hardness, non-negative; 0 gives `ucl`.
        collectives: where the rows of the batch are, as in `scl`.
        **options: see `Options`.

    Returns:
        The mean loss; for a non-decreasing `psi` never below `ucl`, by Chebyshev's inequality in
            every batch or, with `num_negatives`, by Theorem 1 on average over draws.

    Raises:
        ValueError, TypeError: as `hscl`.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> bool(hucl(embeddings, labels, beta=1.0) > ucl(embeddings, labels))
        True
    """
    beta = check_non_negative("beta", beta)
    return objective(
        embeddings,
        labels,
        supervised=False,
        hardening=exponential(beta),
        collectives=collectives,
        **options,
    )


@refusing_unknown("objective")
def objective(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels | None = None,
    *,
    supervised: bool,
    hardening: Hardening,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Any of the four, with any hardening function, on one device or several.

    Args:
        embeddings: normalised embeddings, one a row, or the views of each image: (n, views, dim);
            on several devices, those of this device.
        labels: the class of each row, or of each image; or whether it has each, for several. None
            for every group, or image of views, to be a class of its own.
        supervised: whether negatives are of other classes (True) or everyone.
        hardening: a product hardening function, see `hcl_jax.hardening`.
        collectives: where the rows of the batch are; by default all on this device. See
            `hcl_jax.parallel.objective`.
        **options: see `Options`.

    Returns:
        The mean loss of the whole batch.

    Raises:
        ValueError, TypeError: as `scl`.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax import hardening
        >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> above_half = hardening.threshold(0.5)
        >>> loss = objective(
        ...     embeddings, jnp.array([0, 0, 1, 1]), supervised=True, hardening=above_half
        ... )
        >>> round(float(loss), 4)
        0.5414
    """
    check_collectives(collectives)
    conventions = conventions_of(options, supervised=supervised)
    by_rule = options.get("pair_rule") is not None
    if labels is None and options.get("ignore_label") is not None:
        raise ValueError("ignore_label is for labels, and none are given")
    if labels is not None and options.get("groups") is None:
        check_groups_of(bank_of(options))
    if labels is None and options.get("groups") is None and not by_rule:
        labels = image_indices(embeddings, collectives, "labels or groups")
    embeddings, of_rows = without_views_axis(
        embeddings,
        labels=labels,
        groups=options.get("groups"),
        weights=options.get("weights"),
    )
    for name in ("groups",) if by_rule else ("labels", "groups"):
        if of_rows[name] is not None:
            check_array(name, of_rows[name])
    if of_rows["weights"] is not None:
        check_weights(of_rows["weights"], length=len(embeddings))
    labels, groups, bank = of_rows["labels"], of_rows["groups"], bank_of(options)
    groups, of_bank = ranks(groups, bank and bank.groups)
    bank = bank and bank._replace(groups=of_bank)
    if labels is None and not by_rule:
        labels = classes_of_groups(groups, bank, length=len(embeddings))
    elif options.get("ignore_label") is None and not by_rule:
        are_classes = supervised or groups is None
        labels, of_bank = ranks(labels, bank and bank.labels, are_classes=are_classes)
        bank = bank and bank._replace(labels=of_bank)
    first = collectives.index() * sum(np.shape(embeddings)[:1])
    rows = batch_rows(labels, groups, first, options)
    embeddings = normalized("embeddings", without_ignored(embeddings, rows, options), options)
    report = options.get("report")
    stored = stored_rows(options, bank, rows, collectives)
    losses = batch_losses(
        embeddings,
        rows,
        Objective(supervised, hardening, psi_of(options)),
        conventions,
        key=options.get("key"),
        collectives=collectives,
        bank=stored,
        statistics=report is not None,
    )
    if report is not None:
        check_function("report", report)
        report(loss_statistics(losses, axis_name=collectives.axis_name))
    if not options.get("quiet", False) and collectives.axis_name is None:
        warn_outside_ball(jnp.asarray(embeddings))
        warn_without_loss(
            losses,
            rows,
            partial(pairs_of, rows, stored and stored[1], supervised, conventions),
            supervised=supervised,
            weights=of_rows["weights"],
            has_bank=stored is not None,
            self_positives=conventions.self_positives,
            self_negatives=conventions.self_negatives,
            ignored_negatives=conventions.ignored_negatives,
        )
    return average_loss(
        losses,
        conventions.average,
        weights=of_rows["weights"],
        axis_name=collectives.axis_name,
    )
