"""Pairs: who is whose positive and who whose negative; the whole difference between UCL and SCL.

Everything pairing needs to know of a row of embeddings is three integers (`Rows`). From the rows
of the anchors and of the candidates, `supervised` and `unsupervised` make `Pairs`, which are still
three integers a row, compared by two rules:

    candidate j is a positive of anchor i  iff  group_i == group_j  and  instance_i != instance_j
    candidate j is a negative of anchor i  iff  excluded_i != excluded_j

So memory stays linear in the batch, anchors and candidates may be different sets (one device's
shard against the whole batch), and candidates can travel between devices with their keys.
`is_positive` and `is_negative` are the rules; `masks` writes them out as two boolean matrices. Rows
that take part in no positive or in no negative pair, such as those without a label, are marked.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from hcl_jax.padding import padding
from hcl_jax.pair_rules import Keys, Pairs, Rows, check_rows, is_negative, is_positive, masks
from hcl_jax.validation import (
    check_array,
    check_booleans,
    check_choice,
    check_integer,
    check_labels,
    check_no_negative_labels,
    is_concrete,
)

__all__ = [
    "Keys",
    "Pairs",
    "Rows",
    "is_negative",
    "is_positive",
    "joined",
    "masks",
    "multilabel_rows",
    "rows",
    "supervised",
    "unsupervised",
]

LARGEST = 2**31 - 1
"""The largest instance, in int32."""

WAYS_OUT = (
    "leave rows without a label out, name their label as ignore_label, give ucl and hucl other "
    "groups, or, where these are classes, number them by "
    "numpy.unique(labels, return_inverse=True)[1]"
)
"""What to do about rows without a label."""

NO_CLASS = -(2**31)
"""The label of candidates that are negatives of every class."""

NOBODY = -1
"""An instance number that no candidate has; an anchor that carries it is not kept from itself."""


def rows(
    labels: Int[Array, " n"],
    *,
    groups: Int[Array, " n"] | None = None,
    first: Int[Array, ""] | int = 0,
    ignore_label: int | None = None,
) -> Rows:
    """Describes the rows of a batch, or of one shard of it.

    Args:
        labels: the class of each row.
        groups: rows with equal numbers are each other's positives; by default the labels (positives
            share the latent class, as in the paper's experiments). For two views of each image
            (SimCLR) pass the number of the image.
        first: the number of the first row in its batch; on device number m of several, ``m * n``.
        ignore_label: the label, often -1, of rows that have none; by default all have one. They are
            no anchors, no positives and no negatives.

    Returns:
        `Rows` with instances ``first, first + 1, ..``.

    Raises:
        ValueError, TypeError: if labels or groups are not integers of shape (n,), or `first` is not
            a non-negative integer that leaves instances in int32; if labels that are groups too are
            concrete and negative, and not `ignore_label`: rows without a class are no class.

    Example:
        >>> import jax.numpy as jnp
        >>> rows(jnp.array([7, 7, 9]), first=3).instance.tolist()
        [3, 4, 5]
    """
    check_array("labels", labels)
    length = jnp.shape(labels)[0] if jnp.ndim(labels) else 0
    check_labels("labels", labels, length=length)
    labelled = None
    if ignore_label is not None:
        check_integer("ignore_label", ignore_label)
        labelled = _differ(labels, ignore_label)
    if groups is None:
        _check_classes(labels, labelled)
    else:
        check_labels("groups", groups, length=length)
    check_integer("first", first)
    if is_concrete(first) and not 0 <= first <= LARGEST - length:
        raise ValueError(f"first must lie in 0..{LARGEST - length}, got {first}")
    return Rows(
        label=jnp.asarray(labels),
        group=jnp.asarray(labels if groups is None else groups),
        instance=jnp.arange(length, dtype=jnp.int32) + jnp.asarray(first).astype(jnp.int32),
        labelled=labelled,
    )


def multilabel_rows(
    classes: Bool[Array, "n classes"],
    *,
    groups: Int[Array, " n"] | None = None,
    first: Int[Array, ""] | int = 0,
) -> Rows:
    """Describes rows that have several classes each, or none.

    Positives share at least one class, and the negatives of `supervised` none. A row without a
    class has no positives and is a negative of all. For positives of equal classes only, give the
    numbers of the sets of classes as groups, ``numpy.unique(classes, axis=0,
    return_inverse=True)[1]``. Memory is linear in the rows, a bit for each class.

    Args:
        classes: whether each row has each class.
        groups: rows with equal numbers are each other's positives, whatever their classes; by
            default rows that share a class.
        first: the number of the first row in its batch, as in `rows`.

    Returns:
        `Rows` with the classes as bits.

    Raises:
        ValueError, TypeError: if classes are not booleans (n, classes), or as `rows`.

    Example:
        >>> import jax.numpy as jnp
        >>> some = multilabel_rows(jnp.array([[True, True], [False, True], [True, False]]))
        >>> positives, negatives = masks(supervised(some))
        >>> positives.astype(int).tolist(), negatives.astype(int).tolist()
        ([[0, 1, 1], [1, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    """
    check_booleans("classes", classes)
    if jnp.ndim(classes) != 2 or 0 in jnp.shape(classes):
        raise ValueError(
            f"classes must have shape (n, classes), a boolean for each, got {jnp.shape(classes)}"
        )
    count, number = jnp.shape(classes)
    bits = jnp.pad(jnp.asarray(classes), [(0, 0), (0, padding(number, 32))])
    powers = jnp.left_shift(jnp.uint32(1), jnp.arange(32, dtype=jnp.uint32))
    words = bits.reshape(count, -1, 32).astype(jnp.uint32) @ powers
    of_rows = rows(jnp.zeros(count, jnp.int32), groups=groups, first=first)
    have = tuple(words[:, k] for k in range(words.shape[1]))
    return of_rows._replace(classes=have, shared=have if groups is None else None)


def joined(batch: Rows, stored: Rows) -> Rows:
    """Describes the rows of a batch and, after them, other candidates, such as those of a bank.

    Args:
        batch: rows of a batch.
        stored: other rows, with instances that the batch does not have.

    Returns:
        All of them, as candidates of the rows of the batch with ``same_batch=True``.

    Raises:
        TypeError: unless both are `Rows`.

    Example:
        >>> import jax.numpy as jnp
        >>> batch = rows(jnp.array([0, 1]))
        >>> everyone = joined(batch, rows(jnp.array([1]), first=2))
        >>> masks(supervised(batch, everyone, same_batch=True))[0].astype(int).tolist()
        [[0, 0, 0], [0, 0, 1]]
    """
    check_rows(batch=batch, stored=stored)
    if batch.classes is None and stored.classes is not None:
        raise ValueError(
            "the bank has several classes a row and the batch has one; give both alike"
        )
    sides = [_like(side, other) for side, other in ((batch, stored), (stored, batch))]
    if len(sides[0].classes or ()) != len(sides[1].classes or ()):
        raise ValueError("the rows of the batch and of the bank must have as many classes")
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *sides)


def supervised(
    anchors: Rows,
    candidates: Rows | None = None,
    *,
    same_batch: bool = False,
    self_positives: bool = False,
    ignored_negatives: bool = False,
) -> Pairs:
    """SCL and HSCL: negatives are the candidates of another class.

    Args:
        anchors: the rows whose losses are wanted.
        candidates: the rows they are compared with; by default the anchors. Others are another set,
            of which no row is the anchor itself.
        same_batch: whether given candidates are of the batch of the anchors, so that rows with the
            same instance number, see `first` of `rows`, are the same row.
        self_positives: whether an anchor is its own positive, as in the reference code.
        ignored_negatives: whether rows without a label, see `ignore_label` of `rows`, are negatives
            of all anchors.

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
    check_rows(anchors=anchors, candidates=others)
    _check_flags(
        same_batch=same_batch, self_positives=self_positives, ignored_negatives=ignored_negatives
    )
    for side in (anchors, others):
        _check_classes(side.label, side.labelled)
    if (anchors.classes is None) != (others.classes is None):
        raise ValueError("anchors and candidates must both have one class a row, or both several")
    apart = candidates is not None and not same_batch
    of_anchors = _instance(anchors, itself=self_positives or apart)
    return Pairs(
        Keys(
            anchors.group,
            of_anchors,
            anchors.label if anchors.classes is None else _instance(anchors, itself=apart),
            *_taking_part(anchors, False),
            shared=anchors.shared,
            unshared=anchors.classes,
        ),
        Keys(
            others.group,
            others.instance,
            others.label if others.classes is None else others.instance,
            *_taking_part(others, ignored_negatives),
            shared=others.shared,
            unshared=others.classes,
        ),
    )


def unsupervised(
    anchors: Rows,
    candidates: Rows | None = None,
    *,
    same_batch: bool = False,
    self_positives: bool = False,
    self_negatives: bool = False,
    ignored_negatives: bool = False,
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
        ignored_negatives: as in `supervised`.

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
    check_rows(anchors=anchors, candidates=others)
    _check_flags(
        same_batch=same_batch,
        self_positives=self_positives,
        self_negatives=self_negatives,
        ignored_negatives=ignored_negatives,
    )
    apart = candidates is not None and not same_batch
    return Pairs(
        Keys(
            anchors.group,
            _instance(anchors, itself=self_positives or apart),
            _instance(anchors, itself=self_negatives or apart),
            *_taking_part(anchors, False),
            shared=anchors.shared,
        ),
        Keys(
            others.group,
            others.instance,
            others.instance,
            *_taking_part(others, ignored_negatives),
            shared=others.shared,
        ),
    )


def _like(side: Rows, other: Rows) -> Rows:
    """Rows with every field that others have: taking part by default, and of no class."""
    count = len(side.label)
    filled = {}
    for name in ("labelled", "grouped"):
        if getattr(side, name) is None and getattr(other, name) is not None:
            filled[name] = jnp.ones(count, bool)
    for name in ("classes", "shared"):
        found = getattr(other, name)
        if getattr(side, name) is None and found is not None:
            filled[name] = tuple(jnp.zeros(count, jnp.uint32) for _ in found)
    return side._replace(**filled)


def _taking_part(
    side: Rows, ignored_negatives: bool
) -> tuple[Bool[Array, " n"] | None, Bool[Array, " n"] | None]:
    """Which rows take part in positive, and which in negative pairs."""
    in_positives = side.labelled
    if side.grouped is not None:
        in_positives = side.grouped if in_positives is None else in_positives & side.grouped
    return in_positives, None if ignored_negatives else side.labelled


def _check_classes(labels: Any, labelled: Any) -> None:
    """Raises ValueError if a concrete label is negative and of a row that has one."""
    if is_concrete(labels) and is_concrete(labelled):
        classes = np.asarray(labels)
        have_one = classes != NO_CLASS
        if labelled is not None:
            have_one &= np.asarray(labelled)
        classes = np.where(have_one, classes, 0)
        check_no_negative_labels("labels", classes, WAYS_OUT)


def _differ(labels: Any, ignore_label: Any) -> Bool[Array, " n"]:
    """Which labels are another; concrete where they are."""
    if not is_concrete(labels):
        return labels != ignore_label
    with jax.ensure_compile_time_eval():
        return jnp.asarray(np.asarray(labels) != ignore_label)


def _check_flags(**flags: bool) -> None:
    """Raises ValueError unless all are True or False."""
    for name, flag in flags.items():
        check_choice(name, flag, (False, True))


def _instance(anchors: Rows, *, itself: bool) -> Int[Array, " n"]:
    """The instances of anchors: their own, or, if `itself` is not excluded, that of no row."""
    return jnp.full_like(anchors.instance, NOBODY) if itself else anchors.instance
