"""Pair rules of one's own: two functions that compare what is known of anchors and candidates."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int, Shaped

from hcl_jax.padding import pad_rows, padding
from hcl_jax.pair_rules import Comparison, OwnRules
from hcl_jax.validation.arrays import check_array, fits_int32
from hcl_jax.validation.concrete import NOT_TRACEABLE, is_concrete
from hcl_jax.validation.options import check_choice, check_function, check_kind

PairKeys = Shaped[Array, " n"] | Mapping[str, Any] | tuple[Any, ...]
"""What a rule compares: an array with an entry for each row, or a dictionary or tuple of such."""

AT_ONCE = 64
"""Anchors that are compared with all candidates at a time when a rule is looked at."""


class PairRule(NamedTuple):
    """Who is whose positive and who whose negative, by two functions of what is known of rows.

    Each is called as ``function(anchors, candidates)`` with the keys of rows, which are given to a
    loss in the place of labels: an array, or a dictionary or tuple of arrays. The axes of anchors
    and candidates broadcast with each other, ``(n, 1)`` with ``(1, m)`` in the dense form, other
    ones in others; the result is booleans that broadcast to the same. The functions

    - compare every pair by its own keys alone, elementwise, as they see tiles of the batch;
    - are pure, and written with jax.numpy; numbers that vary from call to call are keys;
    - need not be symmetric: the first argument is the anchor;
    - need not say that no row is a pair with itself;
    - are defined once, not in every step: equal functions are what tells JAX not to compile again.

    Shapes and dtypes are checked always, the first and the last two points of what is found, and
    whether a pair is both, where keys are concrete.

    Attributes:
        is_positive: whether candidates are positives of anchors.
        is_negative: whether they are negatives, for the losses whose negatives are not everyone;
            None for all that are no positives.
        overlapping: whether pairs may be both, as where a sum over negatives contains positives.

    Example:
        >>> import jax.numpy as jnp
        >>> import hcl_jax
        >>> def near(a, c):
        ...     return (a["video"] == c["video"]) & (abs(a["time"] - c["time"]) <= 2)
        >>> def of_another_video(a, c):
        ...     return a["video"] != c["video"]
        >>> keys = {"video": jnp.array([0, 0, 1, 1]), "time": jnp.array([0.0, 2.0, 0.0, 9.0])}
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> loss = hcl_jax.scl(embeddings, keys, pair_rule=PairRule(near, of_another_video))
        >>> round(float(loss), 6)
        0.126928
    """

    is_positive: Comparison
    is_negative: Comparison | None = None
    overlapping: bool = False


@dataclasses.dataclass(frozen=True)
class _Complement:
    """The pairs that a function says no to; equal for equal functions."""

    function: Comparison

    def __call__(self, anchors: Any, candidates: Any) -> Bool[Array, "..."]:
        return ~self.function(anchors, candidates)


def checked_rule(rule: Any, keys: Any) -> tuple[OwnRules, Any]:
    """The two functions and the keys as arrays of JAX; raises as `PairRule` says."""
    check_kind("the pair rule", rule, PairRule, "hcl_jax.PairRule(is_positive, is_negative)")
    check_choice("overlapping of the pair rule", rule.overlapping, (False, True))
    own = _checked_keys(keys)
    _check_comparison("is_positive", rule.is_positive, own)
    if rule.is_negative is not None:
        _check_comparison("is_negative", rule.is_negative, own)
    rules = OwnRules(rule.is_positive, rule.is_negative or _Complement(rule.is_positive))
    if all(map(is_concrete, jax.tree.leaves(own))):
        _check_values(rules, own, overlapping=rule.overlapping)
    return rules, own


def _checked_keys(keys: Any) -> Any:
    """Arrays of JAX without gradients; raises unless keys are arrays of one length."""
    leaves = jax.tree.leaves(keys)
    if not leaves:
        raise ValueError("a pair rule needs keys of the rows in the place of labels, got none")
    for leaf in leaves:
        check_array("each key of a pair rule", leaf)
        if jnp.ndim(leaf) != 1 or not leaf.size or jnp.shape(leaf) != jnp.shape(leaves[0]):
            raise ValueError(
                "the keys of a pair rule must be arrays (n,) of one length n >= 1, got shapes "
                f"{[jnp.shape(leaf) for leaf in leaves]}; give columns of a matrix one by one"
            )
        if is_concrete(leaf) and not fits_int32(leaf):
            raise ValueError(
                "integer keys of a pair rule must fit in int32, the integers of JAX; map others to "
                "ranks first: numpy.unique(values, return_inverse=True)[1]"
            )
    return jax.tree.map(lambda leaf: lax.stop_gradient(jnp.asarray(leaf)), keys)


def _check_comparison(name: str, function: Any, keys: Any) -> None:
    """Raises unless a function compares keys elementwise, as far as shapes tell."""
    name = f"{name} of the pair rule"
    check_function(name, function)
    try:
        hash(function)
    except TypeError as error:
        raise TypeError(f"{name} must be a function that has a hash, as functions have") from error
    anchors, candidates = (
        jax.tree.map(lambda key, shape=shape: jax.ShapeDtypeStruct(shape, key.dtype), keys)
        for shape in ((2, 3, 1), (2, 1, 4))
    )
    try:
        closed, found = jax.make_jaxpr(function, return_shape=True)(anchors, candidates)
    except (*NOT_TRACEABLE, ValueError) as error:
        if not isinstance(error, NOT_TRACEABLE) and "truth value" not in str(error):
            raise
        raise TypeError(
            f"{name} must be written with jax.numpy, without math, numpy or branches on its "
            f"arguments, as JAX traces it: {str(error).splitlines()[0]}"
        ) from error
    except (TypeError, LookupError, AttributeError) as error:
        raise TypeError(
            f"{name} of the pair rule cannot be called with these keys: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if any(isinstance(value, jax.core.Tracer) for value in closed.consts):
        raise TypeError(
            f"{name} closes over numbers that are traced; give them as keys, one for each row"
        )
    dtype, shape = getattr(found, "dtype", None), getattr(found, "shape", None)
    if dtype != jnp.bool_:
        got = type(found).__name__ if dtype is None else f"dtype {dtype}"
        raise TypeError(f"{name} must return booleans, got {got}")
    if not _broadcasts(shape, (2, 3, 4)):
        raise ValueError(
            f"{name} must return one boolean for each pair, of a shape that broadcasts to "
            f"(2, 3, 4) for keys (2, 3, 1) and (2, 1, 4), got shape {shape}"
        )


def _broadcasts(shape: Any, to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _check_values(rules: OwnRules, keys: Any, *, overlapping: bool) -> None:
    """Raises ValueError if a rule compares more than a pair, or concrete pairs are both."""
    with jax.ensure_compile_time_eval():
        uneven, both = jax.tree.map(np.asarray, _looked_at(rules, keys))
    for name, wrong in zip(("is_positive", "is_negative"), uneven, strict=True):
        if wrong:
            raise ValueError(
                f"{name} of the pair rule must compare every pair by its own keys, and its result "
                "for a pair depends on the other rows it is called with"
            )
    if both.any() and not overlapping:
        raise ValueError(
            f"is_positive and is_negative of the pair rule are both true of {both.sum()} pairs, "
            f"the first of anchor {(both > 0).argmax()}; PairRule(.., overlapping=True) allows it"
        )


@partial(jax.jit, static_argnums=0)
def _looked_at(rules: OwnRules, keys: Any) -> tuple[Bool[Array, " 2"], Int[Array, " n"]]:
    """Whether each function sees more than a pair, and how many pairs of each anchor are both."""
    count = len(jax.tree.leaves(keys)[0])
    functions: tuple[Any, Any] = (rules.is_positive, rules.is_negative)
    blocks = jax.tree.map(
        lambda key: key.reshape(-1, AT_ONCE),
        pad_rows((jnp.arange(count), keys), padding(count, AT_ONCE), mode="edge"),
    )
    across = jax.tree.map(lambda key: key[None, :], keys)

    def compared(function: Any, block: Any) -> Bool[Array, "rows n"]:
        down = jax.tree.map(lambda key: key[:, None], block)
        return jnp.broadcast_to(function(down, across), (AT_ONCE, count))

    def count_of_both(block: Any) -> Int[Array, " rows"]:
        indices, rows = block
        both = compared(functions[0], rows) & compared(functions[1], rows)
        return jnp.sum(both & (indices[:, None] != jnp.arange(count)[None, :]), axis=1)

    first = jax.tree.map(lambda key: key[0], blocks[1])
    uneven = []
    for function in functions:
        by_pair = jax.vmap(jax.vmap(function, (None, 0)), (0, None))(first, keys)
        uneven.append(jnp.any(by_pair != compared(function, first)))
    return jnp.stack(uneven), lax.map(count_of_both, blocks).reshape(-1)[:count]
