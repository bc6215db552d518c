"""Pairs: who is whose positive and who whose negative; the whole difference between UCL and SCL.

Everything pairing needs to know of a row of embeddings is three integers (`Rows`), or what a rule
of one's own compares (`PairRule`). From the rows of the anchors and of the candidates, `supervised`
and `unsupervised` make `Pairs`, which are still three integers a row, compared by two rules:
`is_positive` and `is_negative`. So memory stays linear in the batch, anchors and candidates may be
different sets (one device's shard against the whole batch), and candidates can travel between
devices with their keys. `masks` writes pairs out as two boolean matrices. Rows that take part in no
positive or in no negative pair, such as those without a label, are marked.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from hcl_jax.own_pair_rules import PairRule
from hcl_jax.pair_rows import check_classes, joined, multilabel_rows, rows, rows_by_rule
from hcl_jax.pair_rules import (
    Keys,
    OwnRules,
    Pairs,
    Rows,
    check_rows,
    is_negative,
    is_positive,
    masks,
)
from hcl_jax.validation.options import check_choice

__all__ = [
    "Keys",
    "PairRule",
    "Pairs",
    "Rows",
    "is_negative",
    "is_positive",
    "joined",
    "masks",
    "multilabel_rows",
    "rows",
    "rows_by_rule",
    "supervised",
    "unsupervised",
]


def __dir__() -> list[str]:
    return __all__


NOBODY = -1
"""An instance number that no candidate has; an anchor that carries it is not kept from itself."""


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
        check_classes(side.label, side.labelled)
    _check_alike(anchors, others)
    apart = candidates is not None and not same_batch
    of_anchors = _instance(anchors, itself=self_positives or apart)
    by_label = anchors.classes is None and anchors.rules is None
    return Pairs(
        Keys(
            anchors.group,
            of_anchors,
            anchors.label if by_label else _instance(anchors, itself=apart),
            *_taking_part(anchors, False),
            shared=anchors.shared,
            unshared=anchors.classes,
            own=anchors.own,
            rules=anchors.rules,
        ),
        Keys(
            others.group,
            others.instance,
            others.label if by_label else others.instance,
            *_taking_part(others, ignored_negatives),
            shared=others.shared,
            unshared=others.classes,
            own=others.own,
            rules=others.rules,
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
    _check_alike(anchors, others)
    apart = candidates is not None and not same_batch
    rules = None if anchors.rules is None else OwnRules(anchors.rules.is_positive)
    return Pairs(
        Keys(
            anchors.group,
            _instance(anchors, itself=self_positives or apart),
            _instance(anchors, itself=self_negatives or apart),
            *_taking_part(anchors, False),
            shared=anchors.shared,
            own=anchors.own,
            rules=rules,
        ),
        Keys(
            others.group,
            others.instance,
            others.instance,
            *_taking_part(others, ignored_negatives),
            shared=others.shared,
            own=others.own,
            rules=rules,
        ),
    )


def _taking_part(
    side: Rows, ignored_negatives: bool
) -> tuple[Bool[Array, " n"] | None, Bool[Array, " n"] | None]:
    """Which rows take part in positive, and which in negative pairs."""
    in_positives = side.labelled
    if side.grouped is not None:
        in_positives = side.grouped if in_positives is None else in_positives & side.grouped
    return in_positives, None if ignored_negatives else side.labelled


def _check_alike(anchors: Rows, others: Rows) -> None:
    """Raises ValueError unless both sides have one class a row, several, or one rule."""
    if (anchors.classes is None) != (others.classes is None):
        raise ValueError("anchors and candidates must both have one class a row, or both several")
    if anchors.rules != others.rules:
        raise ValueError("anchors and candidates must have one pair rule, made of equal functions")


def _check_flags(**flags: bool) -> None:
    """Raises ValueError unless all are True or False."""
    for name, flag in flags.items():
        check_choice(name, flag, (False, True))


def _instance(anchors: Rows, *, itself: bool) -> Int[Array, " n"]:
    """The instances of anchors: their own, or, if `itself` is not excluded, that of no row."""
    return jnp.full_like(anchors.instance, NOBODY) if itself else anchors.instance
