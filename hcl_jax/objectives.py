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

from typing import Any, TypedDict, Unpack

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax import pairs as pairing
from hcl_jax.hardening import Hardening, exponential, no_hardening
from hcl_jax.losses import (
    Average,
    Implementation,
    average_loss,
    contrastive_loss,
    sampled_contrastive_loss,
)
from hcl_jax.pairs import Pairs
from hcl_jax.psi import Psi, infonce
from hcl_jax.validation import check_embeddings, check_labels, check_non_negative

Scalar = Float[Array, ""] | float


class Options(TypedDict, total=False):
    """The options shared by the four objectives, so that one can stand in for another.

    Attributes:
        temperature: divides the differences of similarities inside InfoNCE; default 1. Hardening
            acts on similarities before the temperature, as in the paper.
        self_positives: whether an anchor is its own positive; default False.
        self_negatives: whether, in UCL and HUCL, an anchor is among its own negatives; default
            False. Members of its class always are.
        stop_gradient_hardening: whether, in HSCL and HUCL, the weights are constants to
            differentiation; default True, as in the reference code.
        average: "pairs" (default) or "anchors", see `hcl_jax.losses.average_loss`.
        groups: integers (n,); rows with equal numbers are positives. Default: the labels. For two
            views of each image pass the number of the image.
        psi: another loss function than InfoNCE (then `temperature` is to be left out).
        implementation: of the weights estimator: "dense" or "blockwise"; default None, see
            `hcl_jax.losses.choose_implementation`.
        num_negatives: K for the samples estimator; default None, the weights estimator.
        key: randomness for the samples estimator.
        reference_conventions: whether to follow the authors' code instead of the defaults:
            `self_positives` and `self_negatives` are True, weights are constants to
            differentiation, the average is over pairs. (It also draws ``num_negatives=256``;
            without `num_negatives` the result is the limit of infinitely many.) Default False.
    """

    temperature: Scalar
    self_positives: bool
    self_negatives: bool
    stop_gradient_hardening: bool
    average: Average
    groups: Int[Array, " n"] | None
    psi: Psi | None
    implementation: Implementation | None
    num_negatives: int | None
    key: PRNGKeyArray | None
    reference_conventions: bool


REFERENCE_CONVENTIONS = Options(
    self_positives=True, self_negatives=True, stop_gradient_hardening=True, average="pairs"
)
"""What the authors' code does; `reference_conventions=True` stands for it."""


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
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """Any of the four, with any hardening function.

    Args:
        embeddings: normalised embeddings, one a row.
        labels: the class of each row.
        supervised: whether negatives are of other classes (True) or everyone.
        hardening: a product hardening function, see `hcl_jax.hardening`.
        **options: see `Options`.

    Returns:
        The mean loss.

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
    options = resolve(options)
    check_embeddings("embeddings", embeddings)
    check_labels("labels", labels, length=embeddings.shape[0])
    embeddings = jnp.asarray(embeddings)
    pairs = pairs_of(labels, supervised, options)
    chosen = loss_options(hardening, options)
    num_negatives, key = options.get("num_negatives"), options.get("key")
    if num_negatives is None or key is None:
        implementation = options.get("implementation")
        losses = contrastive_loss(embeddings, pairs, implementation=implementation, **chosen)
    else:
        losses = sampled_contrastive_loss(
            key, embeddings, pairs, num_negatives=num_negatives, **chosen
        )
    return average_loss(losses, options.get("average", "pairs"))


def resolve(options: Options) -> Options:
    """Checks the names of options and puts in what a preset stands for.

    Args:
        options: as a user gave them.

    Returns:
        The same, with `REFERENCE_CONVENTIONS` where they are wanted.

    Raises:
        TypeError: for an unknown option.
        ValueError: if only one of `num_negatives` and `key` is given.

    Example:
        >>> resolve({"reference_conventions": True})["self_positives"]
        True
    """
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise TypeError(
            f"unknown options {sorted(unknown)}; known are {list(Options.__annotations__)}"
        )
    num_negatives, key = options.get("num_negatives"), options.get("key")
    if (num_negatives is None) != (key is None):
        raise ValueError(
            "the samples estimator needs both num_negatives and key; "
            f"got num_negatives={num_negatives!r} and {'no key' if key is None else 'a key'}"
        )
    if options.get("reference_conventions", False):
        return {**options, **REFERENCE_CONVENTIONS}
    return options


def loss_options(hardening: Hardening, options: Options) -> dict[str, Any]:
    """The options that every form of the loss takes.

    Args:
        hardening: the hardening function.
        options: see `Options`.

    Returns:
        Keyword arguments of `hcl_jax.losses.contrastive_loss` and its relatives.

    Raises:
        ValueError: if both `temperature` and `psi` are given.

    Example:
        >>> sorted(loss_options(no_hardening(), {}))
        ['hardening', 'psi', 'stop_gradient_hardening']
    """
    return {
        "psi": _psi(options),
        "hardening": hardening,
        "stop_gradient_hardening": options.get("stop_gradient_hardening", True),
    }


def pairs_of(
    labels: Int[Array, " n"],
    supervised: bool,
    options: Options,
    *,
    first: Int[Array, ""] | int = 0,
) -> Pairs:
    """The pairs that options ask for.

    Args:
        labels: the class of each row.
        supervised: whether negatives are of other classes (True) or everyone.
        options: see `Options`.
        first: the number of the first row in the global batch.

    Returns:
        The pairs.

    Example:
        >>> import jax.numpy as jnp
        >>> pairs_of(jnp.array([3, 4]), True, {}, first=2).candidates.instance.tolist()
        [2, 3]
    """
    everyone = pairing.rows(labels, groups=options.get("groups"), first=first)
    self_positives = options.get("self_positives", False)
    if supervised:
        return pairing.supervised(everyone, self_positives=self_positives)
    return pairing.unsupervised(
        everyone,
        self_positives=self_positives,
        self_negatives=options.get("self_negatives", False),
    )


def _psi(options):
    psi = options.get("psi")
    if psi is None:
        return infonce(temperature=options.get("temperature", 1.0))
    if "temperature" in options:
        raise ValueError(
            "give the temperature to psi itself: temperature and psi exclude each other"
        )
    return psi
