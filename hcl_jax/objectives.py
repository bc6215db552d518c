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

import dataclasses
from typing import Any, TypedDict, Unpack

import jax.numpy as jnp
import numpy as np
from jax.lax import PrecisionLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax import pairs as pairing
from hcl_jax.batch_warnings import warn_outside_ball, warn_without_loss
from hcl_jax.collectives import SINGLE, Collectives
from hcl_jax.conventions import REFERENCE_CONVENTIONS, Conventions, Objective, batch_losses
from hcl_jax.hardening import Hardening, exponential, no_hardening
from hcl_jax.losses import Average, Implementation, average_loss
from hcl_jax.psi import Psi, infonce
from hcl_jax.validation import (
    check_choice,
    check_no_negative_labels,
    check_non_negative,
    fits_int32,
    is_concrete,
)

Scalar = Float[Array, ""] | float


class Options(TypedDict, total=False):
    """The options shared by the four objectives, so that one can stand in for another.

    Attributes:
        temperature: divisor of the differences of similarities inside InfoNCE; default 1. Hardening
            acts on similarities before the temperature, as in the paper.
        psi: another loss function than InfoNCE (then `temperature` is to be left out).
        groups: integers (n,); rows with equal numbers are positives. Default: the labels. For two
            views of each image pass the number of the image.
        key: randomness for the samples estimator, which needs `num_negatives` as well.
        self_positives: see `hcl_jax.Conventions`; default False.
        self_negatives: see `hcl_jax.Conventions`; default False. True is for UCL and HUCL only.
        stop_gradient_hardening: see `hcl_jax.Conventions`; default True.
        average: see `hcl_jax.Conventions`; default "pairs".
        num_negatives: see `hcl_jax.Conventions`; default None, the weights estimator.
        implementation: see `hcl_jax.Conventions`; default None.
        precision: see `hcl_jax.Conventions`; default `jax.lax.Precision.HIGHEST`.
        quiet: whether to say nothing of a batch without any loss, or of embeddings outside the unit
            ball (`hcl_jax.BatchWarning`); default False. Traced numbers are never looked at.
        reference_conventions: whether the defaults of the options above are those of the authors'
            code (`REFERENCE_CONVENTIONS`); an option that is given counts all the same. (The code
            also draws ``num_negatives=256``; without it the result is the limit of infinitely
            many.) Default False.
    """

    temperature: Scalar
    psi: Psi | None
    groups: Int[Array, " n"] | None
    key: PRNGKeyArray | None
    self_positives: bool
    self_negatives: bool
    stop_gradient_hardening: bool
    average: Average
    num_negatives: int | None
    implementation: Implementation | None
    precision: PrecisionLike
    quiet: bool
    reference_conventions: bool


def scl(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], **options: Unpack[Options]
) -> Float[Array, ""]:
    """Supervised contrastive learning: positives of the class, negatives of other classes.

    Args:
        embeddings: normalised embeddings, one a row.
        labels: the class of each row.
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
    return objective(embeddings, labels, supervised=True, hardening=no_hardening(), **options)


def hscl(
    embeddings: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    *,
    beta: Scalar,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Hard supervised contrastive learning: `scl` with exponentially tilted negatives.

    Args:
        embeddings: normalised embeddings, one a row.
        labels: the class of each row.
        beta: the hardness, non-negative; 0 gives `scl`.
        **options: see `Options`.

    Returns:
        The mean loss; never below `scl` (Theorem 1).

    Raises:
        ValueError, TypeError: as `scl`, and for a negative or non-finite concrete `beta`.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> bool(hscl(embeddings, labels, beta=5.0) > scl(embeddings, labels))
        True
    """
    check_non_negative("beta", beta)
    return objective(embeddings, labels, supervised=True, hardening=exponential(beta), **options)


def ucl(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], **options: Unpack[Options]
) -> Float[Array, ""]:
    """Unsupervised contrastive learning: negatives are everyone, the anchor's class included.

    Args:
        embeddings: normalised embeddings, one a row.
        labels: the latent class of each row; it picks the positives unless `groups` is given.
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
    return objective(embeddings, labels, supervised=False, hardening=no_hardening(), **options)


def hucl(
    embeddings: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    *,
    beta: Scalar,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Hard unsupervised contrastive learning: `ucl` with exponentially tilted negatives.

    Args:
        embeddings: normalised embeddings, one a row.
        labels: the latent class of each row; it picks the positives unless `groups` is given.
        beta: the hardness, non-negative; 0 gives `ucl`.
        **options: see `Options`.

    Returns:
        The mean loss; never below `ucl` (Theorem 1).

    Raises:
        ValueError, TypeError: as `hscl`.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> bool(hucl(embeddings, labels, beta=1.0) > ucl(embeddings, labels))
        True
    """
    check_non_negative("beta", beta)
    return objective(embeddings, labels, supervised=False, hardening=exponential(beta), **options)


def objective(
    embeddings: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    *,
    supervised: bool,
    hardening: Hardening,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Any of the four, with any hardening function, on one device or several.

    Args:
        embeddings: normalised embeddings, one a row; on several devices, the rows of this device.
        labels: the class of each row.
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
    conventions = _conventions(options, supervised=supervised)
    groups = _ranks(options.get("groups"))
    labels = _ranks(labels, are_classes=supervised or groups is None)
    first = collectives.index() * sum(np.shape(labels)[:1])
    rows = pairing.rows(labels, groups=groups, first=first)
    losses = batch_losses(
        embeddings,
        rows,
        Objective(supervised, hardening, _psi(options)),
        conventions,
        key=options.get("key"),
        collectives=collectives,
    )
    if not options.get("quiet", False) and collectives.axis_name is None:
        warn_outside_ball(jnp.asarray(embeddings))
        warn_without_loss(
            rows,
            supervised,
            self_positives=conventions.self_positives,
            self_negatives=conventions.self_negatives,
        )
    return average_loss(losses, conventions.average, axis_name=collectives.axis_name)


def _conventions(options: Options, *, supervised: bool) -> Conventions:
    """The conventions that options ask for: those that are given, then those of a preset."""
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise TypeError(
            f"unknown options {sorted(unknown)}; known are {list(Options.__annotations__)}"
        )
    if supervised and options.get("self_negatives", False):
        raise ValueError(
            "self_negatives=True has no meaning for SCL and HSCL, whose negatives are of other "
            "classes than the anchor"
        )
    preset = options.get("reference_conventions", False)
    for name in ("reference_conventions", "quiet"):
        check_choice(name, options.get(name, False), (False, True))
    names = {field.name for field in dataclasses.fields(Conventions)}
    given: Any = {name: value for name, value in options.items() if name in names}
    return dataclasses.replace(REFERENCE_CONVENTIONS if preset else Conventions(), **given)


def _ranks(labels: Any, *, are_classes: bool = False) -> Any:
    """Concrete integers; their ranks, by which equal stay equal, if int32 cannot hold them.

    Classes have no negative numbers, while identifiers such as hashes may.
    """
    if is_concrete(labels) and hasattr(labels, "dtype") and not fits_int32(labels):
        if are_classes:
            check_no_negative_labels("labels", labels, pairing.WAYS_OUT)
        return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int32)
    return labels


def _psi(options: Options) -> Psi | None:
    """The loss function that options ask for; None for InfoNCE with all numbers 1."""
    psi = options.get("psi")
    if psi is not None and "temperature" in options:
        raise ValueError(
            "give the temperature to psi itself: temperature and psi exclude each other"
        )
    if psi is None and "temperature" in options:
        return infonce(temperature=options["temperature"])
    return psi
