"""Pairs: who is whose positive and who whose negative; the whole difference between UCL and SCL.

Everything pairing needs to know of a row of embeddings is three integers (`Rows`). From the rows
of the anchors and of the candidates, `supervised` and `unsupervised` make `Pairs`, which are still
three integers a row, compared by two rules:

    candidate j is a positive of anchor i  iff  group_i == group_j  and  instance_i != instance_j
    candidate j is a negative of anchor i  iff  excluded_i != excluded_j

So memory stays linear in the batch, anchors and candidates may be different sets (one device's
shard against the whole batch), and candidates can travel between devices with their keys.
`is_positive` and `is_negative` are the rules; `masks` writes them out as two boolean matrices.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from hcl_jax.validation import (
    check_array,
    check_choice,
    check_integer,
    check_integers,
    check_labels,
    check_no_negative_labels,
    is_concrete,
)

LARGEST = 2**31 - 1
"""The largest instance, in int32."""

WAYS_OUT = (
    "leave rows without a label out, give ucl and hucl other groups, or, where these are classes, "
    "number them by numpy.unique(labels, return_inverse=True)[1]"
)
"""What to do about rows without a label."""

NOBODY = -1
"""An instance number that no candidate has; an anchor that carries it is not kept from itself."""


class Rows(NamedTuple):
    """What pairing needs to know of n rows of embeddings.

    Attributes:
        label: the class of each row.
        group: rows of one group are each other's positives: the class, or, where positives are
            other views of the same image, the number of the image.
        instance: a number of its own for each row of the global batch, non-negative.
    """

    label: Int[Array, " n"]
    group: Int[Array, " n"]
    instance: Int[Array, " n"]


class Keys(NamedTuple):
    """The integers that are compared, for each row of embeddings; see the rules above."""

    group: Int[Array, "*n"]
    instance: Int[Array, "*n"]
    excluded: Int[Array, "*n"]


class Pairs(NamedTuple):
    """The positives and negatives of anchors among candidates."""

    anchors: Keys
    candidates: Keys


def rows(
    labels: Int[Array, " n"],
    *,
    groups: Int[Array, " n"] | None = None,
    first: Int[Array, ""] | int = 0,
) -> Rows:
    """Describes the rows of a batch, or of one shard of it.

    Args:
        labels: the class of each row.
        groups: rows with equal numbers are each other's positives; by default the labels (positives
            share the latent class, as in the paper's experiments). For two views of each image
            (SimCLR) pass the number of the image.
        first: the number of the first row in its batch; on device number m of several, ``m * n``.

    Returns:
        `Rows` with instances ``first, first + 1, ..``.

    Raises:
        ValueError, TypeError: if labels or groups are not integers of shape (n,), or `first` is not
            a non-negative integer that leaves instances in int32; if labels that are groups too are
            concrete and negative: rows without a class are no class.

    Example:
        >>> import jax.numpy as jnp
        >>> rows(jnp.array([7, 7, 9]), first=3).instance.tolist()
        [3, 4, 5]
    """
    check_array("labels", labels)
    length = jnp.shape(labels)[0] if jnp.ndim(labels) else 0
    check_labels("labels", labels, length=length)
    if groups is None:
        check_no_negative_labels("labels", labels, WAYS_OUT)
    else:
        check_labels("groups", groups, length=length)
    check_integer("first", first)
    if is_concrete(first) and not 0 <= first <= LARGEST - length:
        raise ValueError(f"first must lie in 0..{LARGEST - length}, got {first}")
    return Rows(
        label=jnp.asarray(labels),
        group=jnp.asarray(labels if groups is None else groups),
        instance=jnp.arange(length, dtype=jnp.int32) + jnp.asarray(first).astype(jnp.int32),
    )


def supervised(
    anchors: Rows,
    candidates: Rows | None = None,
    *,
    same_batch: bool = False,
    self_positives: bool = False,
) -> Pairs:
    """SCL and HSCL: negatives are the candidates of another class.

    Args:
        anchors: the rows whose losses are wanted.
        candidates: the rows they are compared with; by default the anchors. Others are another set,
            of which no row is the anchor itself.
        same_batch: whether given candidates are of the batch of the anchors, so that rows with the
            same instance number, see `first` of `rows`, are the same row.
        self_positives: whether an anchor is its own positive, as in the reference code.

    Returns:
        The pairs.

    Raises:
        TypeError: unless anchors and candidates are `Rows`.
        ValueError: if a concrete label is negative, as those of rows without a class often are.

    Example:
        >>> import jax.numpy as jnp
        >>> positives, negatives = masks(supervised(rows(jnp.array([0, 0, 1]))))
        >>> positives.astype(int).tolist(), negatives.astype(int).tolist()
        ([[0, 1, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    """
    others = anchors if candidates is None else candidates
    _check_rows(anchors=anchors, candidates=others)
    _check_flags(same_batch=same_batch, self_positives=self_positives)
    for labels in (anchors.label, others.label):
        check_no_negative_labels("labels", labels, WAYS_OUT)
    apart = candidates is not None and not same_batch
    return Pairs(
        Keys(anchors.group, _instance(anchors, itself=self_positives or apart), anchors.label),
        Keys(others.group, others.instance, others.label),
    )


def unsupervised(
    anchors: Rows,
    candidates: Rows | None = None,
    *,
    same_batch: bool = False,
    self_positives: bool = False,
    self_negatives: bool = False,
) -> Pairs:
    """UCL and HUCL: negatives are all candidates, collisions with the anchor's class included.

    Args:
        anchors: the rows whose losses are wanted.
        candidates: the rows they are compared with; by default the anchors. Others are another set,
            of which no row is the anchor itself.
        same_batch: whether given candidates are of the batch of the anchors, so that rows with the
            same instance number, see `first` of `rows`, are the same row.
        self_positives: whether an anchor is its own positive, as in the reference code.
        self_negatives: whether an anchor is also among its own negatives, as in the reference code.

    Returns:
        The pairs.

    Raises:
        TypeError: as `supervised`.

    Example:
        >>> import jax.numpy as jnp
        >>> _, negatives = masks(unsupervised(rows(jnp.array([0, 0, 1]))))
        >>> negatives.astype(int).tolist()
        [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    """
    others = anchors if candidates is None else candidates
    _check_rows(anchors=anchors, candidates=others)
    _check_flags(
        same_batch=same_batch, self_positives=self_positives, self_negatives=self_negatives
    )
    apart = candidates is not None and not same_batch
    return Pairs(
        Keys(
            anchors.group,
            _instance(anchors, itself=self_positives or apart),
            _instance(anchors, itself=self_negatives or apart),
        ),
        Keys(others.group, others.instance, others.instance),
    )


def masks(
    pairs: Pairs,
) -> tuple[Bool[Array, "anchors candidates"], Bool[Array, "anchors candidates"]]:
    """Writes pairs out as matrices.

    Args:
        pairs: the pairs.

    Returns:
        The matrix of positives and the matrix of negatives.

    Raises:
        TypeError: unless `pairs` are `Pairs`.

    Example:
        >>> import jax.numpy as jnp
        >>> pairs = unsupervised(rows(jnp.array([0, 1])), self_positives=True)
        >>> masks(pairs)[0].astype(int).tolist()
        [[1, 0], [0, 1]]
    """
    if not isinstance(pairs, Pairs):
        kind = type(pairs).__name__
        raise TypeError(f"pairs must be Pairs, such as supervised(rows) makes, got a {kind}")
    _check_keys(**pairs._asdict())
    for name, keys in pairs._asdict().items():
        if jnp.ndim(keys.group) != 1:
            raise ValueError(f"{name} must be rows, got numbers of shape {jnp.shape(keys.group)}")
    anchors = Keys(*(key[:, None] for key in pairs.anchors))
    candidates = Keys(*(key[None, :] for key in pairs.candidates))
    return is_positive(anchors, candidates), is_negative(anchors, candidates)


def is_positive(anchors: Keys, candidates: Keys) -> Bool[Array, "*pairs"]:
    """The rule for positives: of the anchor's group, and not the anchor itself.

    Args:
        anchors: keys as anchors.
        candidates: keys as candidates, of a shape that broadcasts with that of the anchors.

    Returns:
        Whether each pair is positive.

    Raises:
        TypeError: unless both are `Keys`.

    Example:
        >>> import jax.numpy as jnp
        >>> anchors, candidates = supervised(rows(jnp.array([0, 0, 1])))
        >>> first = Keys(*(key[:1] for key in anchors))
        >>> is_positive(first, candidates).tolist()
        [False, True, False]
    """
    _check_keys(anchors=anchors, candidates=candidates)
    return (anchors.group == candidates.group) & (anchors.instance != candidates.instance)


def is_negative(anchors: Keys, candidates: Keys) -> Bool[Array, "*pairs"]:
    """The rule for negatives: of another class, or, if unsupervised, of another instance.

    Args:
        anchors: keys as anchors.
        candidates: keys as candidates, of a shape that broadcasts with that of the anchors.

    Returns:
        Whether each pair is negative.

    Raises:
        TypeError: unless both are `Keys`.

    Example:
        >>> import jax.numpy as jnp
        >>> anchors, candidates = supervised(rows(jnp.array([0, 0, 1])))
        >>> first = Keys(*(key[:1] for key in anchors))
        >>> is_negative(first, candidates).tolist()
        [False, False, True]
    """
    _check_keys(anchors=anchors, candidates=candidates)
    return anchors.excluded != candidates.excluded


def _check_rows(**named: Any) -> None:
    """Raises unless all are `Rows` of integers."""
    _check_kind(Rows, "which rows(labels) makes", named)


def _check_keys(**named: Any) -> None:
    """Raises unless all are `Keys` of integers."""
    _check_kind(Keys, "such as the anchors of Pairs", named)


def _check_kind(kind: type[Rows] | type[Keys], origin: str, named: Mapping[str, Any]) -> None:
    """Raises unless all are of this kind, and of integers."""
    for name, found in named.items():
        if not isinstance(found, kind):
            expected = f"{name} must be {kind.__name__}, {origin}"
            raise TypeError(f"{expected}, got a {type(found).__name__}")
        _check_integers(name, found)


def _check_flags(**flags: bool) -> None:
    """Raises ValueError unless all are True or False."""
    for name, flag in flags.items():
        check_choice(name, flag, (False, True))


def _check_integers(name: str, numbers: Rows | Keys) -> None:
    """Raises unless all fields are integers of the shape of the first."""
    for field, found in numbers._asdict().items():
        check_integers(f"{field} of {name}", found)
        if jnp.shape(found) != jnp.shape(numbers[0]):
            raise ValueError(
                f"{name} must have numbers of one shape, got {jnp.shape(numbers[0])} and, for "
                f"{field}, {jnp.shape(found)}"
            )


def _instance(anchors: Rows, *, itself: bool) -> Int[Array, " n"]:
    """The instances of anchors: their own, or, if `itself` is not excluded, that of no row."""
    return jnp.full_like(anchors.instance, NOBODY) if itself else anchors.instance
