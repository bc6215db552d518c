"""What pairing knows of rows of embeddings: their class, or several, or what a rule compares."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from hcl_jax.own_pair_rules import PairKeys, PairRule, checked_rule
from hcl_jax.padding import padding
from hcl_jax.pair_rules import Rows, check_rows
from hcl_jax.validation.arrays import check_array, check_booleans
from hcl_jax.validation.batches import check_labels, check_no_negative_labels
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import check_integer

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
        check_classes(labels, labelled)
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
        >>> from hcl_jax.pairs import masks, supervised
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


def rows_by_rule(
    rule: PairRule,
    keys: PairKeys,
    *,
    groups: Int[Array, " n"] | None = None,
    first: Int[Array, ""] | int = 0,
) -> Rows:
    """Describes rows whose pairs follow from a rule of one's own.

    The negatives of `supervised` are those of the rule, and those of `unsupervised` everyone.
    Memory is linear in the rows; positives may be anywhere, so they are looked for in all pairs.

    Args:
        rule: two functions that compare keys; see `PairRule`, which says what they must be like.
        keys: what they compare: an array (n,), or a dictionary or tuple of such arrays, of any
            dtype. Numbers of 64 bits are rounded as JAX does.
        groups: rows with equal numbers are each other's positives, whatever the rule says.
        first: the number of the first row in its batch, as in `rows`.

    Returns:
        `Rows` with the keys.

    Raises:
        ValueError, TypeError: as `PairRule` says, and if keys are no arrays (n,), or as `rows`.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import masks, supervised
        >>> def soon_after(anchors, candidates):
        ...     return abs(anchors - candidates) <= 1.0
        >>> frames = rows_by_rule(PairRule(soon_after), jnp.array([0.0, 0.9, 1.8]))
        >>> positives, negatives = masks(supervised(frames))
        >>> positives.astype(int).tolist(), negatives.astype(int).tolist()
        ([[0, 1, 0], [1, 0, 1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    """
    rules, own = checked_rule(rule, keys)
    count = len(jax.tree.leaves(own)[0])
    of_rows = rows(jnp.zeros(count, jnp.int32), groups=groups, first=first)
    if groups is not None:
        rules = dataclasses.replace(rules, is_positive=None)
    return of_rows._replace(own=own, rules=rules)


def joined(batch: Rows, stored: Rows) -> Rows:
    """Describes the rows of a batch and, after them, other candidates, such as those of a bank.

    Args:
        batch: rows of a batch.
        stored: other rows, with instances that the batch does not have.

    Returns:
        All of them, as candidates of the rows of the batch with ``same_batch=True``.

    Raises:
        ValueError, TypeError: unless both are `Rows`, with keys of one kind.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import masks, supervised
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
    own = [(side.rules, jax.tree.structure(side.own)) for side in (batch, stored)]
    if own[0] != own[1]:
        raise ValueError(
            "the rows of the batch and of the bank must have one pair rule, of equal functions, "
            "and keys of the same names"
        )
    sides = [_like(side, other) for side, other in ((batch, stored), (stored, batch))]
    if len(sides[0].classes or ()) != len(sides[1].classes or ()):
        raise ValueError("the rows of the batch and of the bank must have as many classes")
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *sides)


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


def check_classes(labels: Any, labelled: Any) -> None:
    """Raises ValueError if a concrete label is negative and of a row that has one."""
    if is_concrete(labels) and is_concrete(labelled):
        classes = np.asarray(labels)
        have_one = classes != NO_CLASS
        if labelled is not None:
            have_one &= np.asarray(labelled)
        classes = np.where(have_one, classes, 0)
        check_no_negative_labels("labels", classes, WAYS_OUT)


def _differ(labels: Any, ignore_label: Any) -> Bool[Array, " n"]:
    """Which labels are another, as numbers: 255 of uint8 is not -1; concrete where they are."""
    if not is_concrete(labels):
        wide = jnp.promote_types(labels.dtype, jnp.int32)
        return labels.astype(wide) != jnp.asarray(ignore_label).astype(wide)
    with jax.ensure_compile_time_eval():
        return jnp.asarray(np.asarray(labels) != ignore_label)
