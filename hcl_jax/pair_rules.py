"""What is compared of rows that form pairs, and the two rules that compare it.

    candidate j is a positive of anchor i  iff  group_i == group_j  and  instance_i != instance_j
    candidate j is a negative of anchor i  iff  excluded_i != excluded_j

and both take part in such pairs at all. Rows of several classes have those as bits: then positives
also share one, and negatives none. Rules of one's own come on top, and compare keys of one's own.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from hcl_jax.validation.arrays import check_array, check_booleans, check_integers

Comparison = Callable[[Any, Any], Bool[Array, "..."]]
"""A function of the keys of anchors and of candidates, which says whether they are a pair."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class OwnRules:
    """Comparisons of keys of one's own, beside those of this file; None where there is none."""

    is_positive: Comparison | None = None
    is_negative: Comparison | None = None


class Rows(NamedTuple):
    """What pairing needs to know of n rows of embeddings.

    Attributes:
        label: the class of each row.
        group: rows of one group are each other's positives: the class, or, where positives are
            other views of the same image, the number of the image.
        instance: a number of its own for each row of the global batch, non-negative.
        labelled: which rows have a label; None if all have.
        grouped: which rows have a group, so that they can be positives; None if all have.
        classes: the classes of each row as bits, 32 in each array, where rows have several; `label`
            is not looked at then.
        shared: the classes of which positives share one; None if they need not.
        own: what rules of one's own compare, an array (n,) or a tree of them; `label` is not looked
            at then.
        rules: those rules; None for none.
    """

    label: Int[Array, " n"]
    group: Int[Array, " n"]
    instance: Int[Array, " n"]
    labelled: Bool[Array, " n"] | None = None
    grouped: Bool[Array, " n"] | None = None
    classes: tuple[UInt32[Array, " n"], ...] | None = None
    shared: tuple[UInt32[Array, " n"], ...] | None = None
    own: Any = None
    rules: OwnRules | None = None


class Keys(NamedTuple):
    """What is compared, for each row of embeddings; see the rules of this file.

    Attributes:
        group: equal in positive pairs.
        instance: different in positive pairs.
        excluded: different in negative pairs.
        in_positives: whether a row takes part in positive pairs at all; None if all do.
        in_negatives: whether a row takes part in negative pairs at all; None if all do.
        shared: bits of which positive pairs share one; None if they need not.
        unshared: bits of which negative pairs share none; None if they may.
        own: what rules of one's own compare, a tree of arrays.
        rules: rules of one's own that pairs fulfil besides; None for none.
    """

    group: Int[Array, "*n"]
    instance: Int[Array, "*n"]
    excluded: Int[Array, "*n"]
    in_positives: Bool[Array, "*n"] | None = None
    in_negatives: Bool[Array, "*n"] | None = None
    shared: tuple[UInt32[Array, "*n"], ...] | None = None
    unshared: tuple[UInt32[Array, "*n"], ...] | None = None
    own: Any = None
    rules: OwnRules | None = None

    @property
    def have_own_negatives(self) -> bool:
        """Whether a rule of one's own says who is a negative."""
        return self.rules is not None and self.rules.is_negative is not None


class Pairs(NamedTuple):
    """The positives and negatives of anchors among candidates."""

    anchors: Keys
    candidates: Keys


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
        >>> from hcl_jax.pairs import rows, unsupervised
        >>> pairs = unsupervised(rows(jnp.array([0, 1])), self_positives=True)
        >>> masks(pairs)[0].astype(int).tolist()
        [[1, 0], [0, 1]]
    """
    if not isinstance(pairs, Pairs):
        kind = type(pairs).__name__
        raise TypeError(f"pairs must be Pairs, such as supervised(rows) makes, got a {kind}")
    check_keys(**pairs._asdict())
    for name, keys in pairs._asdict().items():
        if jnp.ndim(keys.group) != 1:
            raise ValueError(f"{name} must be rows, got numbers of shape {jnp.shape(keys.group)}")
    anchors = jax.tree.map(lambda key: key[:, None], pairs.anchors)
    candidates = jax.tree.map(lambda key: key[None, :], pairs.candidates)
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
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> anchors, candidates = supervised(rows(jnp.array([0, 0, 1])))
        >>> first = jax.tree.map(lambda key: key[:1], anchors)
        >>> is_positive(first, candidates).tolist()
        [False, True, False]
    """
    check_keys(anchors=anchors, candidates=candidates)
    match = (anchors.group == candidates.group) & (anchors.instance != candidates.instance)
    if anchors.shared is not None and candidates.shared is not None:
        match &= _share_a_bit(anchors.shared, candidates.shared)
    if anchors.rules is not None and anchors.rules.is_positive is not None:
        match &= anchors.rules.is_positive(anchors.own, candidates.own)
    return _among(match, anchors.in_positives, candidates.in_positives)


def is_negative(anchors: Keys, candidates: Keys) -> Bool[Array, "*pairs"]:
    """The rule for negatives: of another class, or, if unsupervised, of another instance.

    Args:
        anchors: as in `is_positive`.
        candidates: as in `is_positive`.

    Returns:
        Whether each pair is negative.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> anchors, candidates = supervised(rows(jnp.array([0, 0, 1])))
        >>> first = jax.tree.map(lambda key: key[:1], anchors)
        >>> is_negative(first, candidates).tolist()
        [False, False, True]
    """
    check_keys(anchors=anchors, candidates=candidates)
    differ = anchors.excluded != candidates.excluded
    if anchors.unshared is not None and candidates.unshared is not None:
        differ &= ~_share_a_bit(anchors.unshared, candidates.unshared)
    if anchors.rules is not None and anchors.rules.is_negative is not None:
        differ &= anchors.rules.is_negative(anchors.own, candidates.own)
    return _among(differ, anchors.in_negatives, candidates.in_negatives)


def _share_a_bit(
    anchors: tuple[UInt32[Array, "..."], ...], candidates: tuple[UInt32[Array, "..."], ...]
) -> Bool[Array, "*pairs"]:
    """Whether any bit of any word is set in both."""
    both = [a & c for a, c in zip(anchors, candidates, strict=True)]
    return functools.reduce(jnp.bitwise_or, both) != 0


def _among(
    pairs: Bool[Array, "*pairs"], *taking_part: Bool[Array, "*#pairs"] | None
) -> Bool[Array, "*pairs"]:
    """The pairs of rows that take part; None: all do."""
    for rows_do in taking_part:
        pairs = pairs if rows_do is None else pairs & rows_do
    return pairs


def check_rows(**named: Any) -> None:
    """Raises unless all are `Rows` of integers."""
    _check_kind(Rows, "which rows(labels) makes", named)


def check_keys(**named: Any) -> None:
    """Raises unless all are `Keys` of integers."""
    _check_kind(Keys, "such as the anchors of Pairs", named)


def _check_kind(kind: type[Rows] | type[Keys], origin: str, named: Mapping[str, Any]) -> None:
    """Raises unless all are of this kind, and of integers."""
    for name, found in named.items():
        if not isinstance(found, kind):
            expected = f"{name} must be {kind.__name__}, {origin}"
            raise TypeError(f"{expected}, got a {type(found).__name__}")
        _check_integers(name, found)


def _check_integers(name: str, numbers: Rows | Keys) -> None:
    """Raises unless fields are of the shape of the first: integers, booleans where rows count."""
    for field, found in numbers._asdict().items():
        if field in ("label", "group", "instance", "excluded"):
            check_integers(f"{field} of {name}", found)
        elif found is None:
            continue
        elif field == "rules":
            if not isinstance(found, OwnRules):
                raise TypeError(
                    f"rules of {name} must be those that hcl_jax.pairs.rows_by_rule makes, got a "
                    f"{type(found).__name__}"
                )
        elif field == "own":
            for part in jax.tree.leaves(found):
                check_array(f"own of {name}", part)
        elif field in ("classes", "shared", "unshared"):
            if not isinstance(found, tuple):
                raise TypeError(
                    f"{field} of {name} must be a tuple of arrays of bits, got a "
                    f"{type(found).__name__}"
                )
            for bits in found:
                check_integers(f"{field} of {name}", bits)
        else:
            check_booleans(f"{field} of {name}", found)
        for part in jax.tree.leaves(found):
            if jnp.shape(part) != jnp.shape(numbers[0]):
                raise ValueError(
                    f"{name} must have numbers of one shape, got {jnp.shape(numbers[0])} and, for "
                    f"{field}, {jnp.shape(part)}"
                )
