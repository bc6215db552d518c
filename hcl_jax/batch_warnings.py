"""Warnings about batches whose loss says less than it seems to; only where numbers are concrete."""

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hcl_jax.losses import AnchorLosses
from hcl_jax.pairs import Keys, Pairs, Rows, is_negative, is_positive
from hcl_jax.precision import at_least_float32, norms
from hcl_jax.validation.concrete import is_concrete

PACKAGE = str(Path(__file__).parent)
NORM_TOLERANCE = 0.01
"""How far norms may exceed 1 before a warning: bfloat16 rounds by 0.004, and sums add up."""


class BatchWarning(UserWarning):
    """A batch without any loss, or outside the unit ball for which the paper's bounds hold."""


def warn_without_loss(
    losses: AnchorLosses,
    rows: Rows,
    pairs: Callable[[], Pairs],
    *,
    supervised: Any,
    weights: Any = None,
    has_bank: bool = False,
    **conventions: bool,
) -> None:
    """Warns if no anchor of the batch counts, where losses or labels are concrete; says why.

    `pairs` makes those that the losses are of, which are looked at only if there is no loss.
    """
    cause, shown = None, is_concrete(losses.defined) and is_concrete(weights)
    if shown and _any_counts(losses, weights):
        return
    if shown and _any_counts(losses):
        cause = "the weights of all anchors that have a loss are 0"
    elif all(map(is_concrete, (rows.label, rows.group, rows.labelled, supervised))):
        cause = _cause_by_labels(rows, supervised, has_bank=has_bank, **conventions)
    if cause is None and shown:
        cause = _cause_by_pairs(pairs(), rows, has_bank=has_bank)
    if cause is not None:
        _warn(f"{cause}, so the loss is 0")


def _any_counts(losses: AnchorLosses, weights: Any = None) -> bool:
    """Whether an anchor has a part in the mean."""
    with jax.ensure_compile_time_eval():
        counted = losses.defined if weights is None else losses.defined & (weights > 0)
        return bool(jnp.any(counted))


def _cause_by_labels(
    rows: Rows,
    supervised: Any,
    *,
    has_bank: bool,
    self_positives: bool,
    self_negatives: bool,
    ignored_negatives: bool,
) -> str | None:
    """Why no anchor has a positive, or none a negative, as far as one label a row tells."""
    kept = slice(None) if rows.labelled is None else np.asarray(rows.labelled)
    labels, groups = np.asarray(rows.label)[kept], np.asarray(rows.group)[kept]
    count, groups = len(groups), np.unique(groups)
    if count == 0:
        return "no row of this batch has a label"
    if has_bank or rows.classes is not None or rows.rules is not None:
        return None
    if len(groups) == count and not self_positives:
        return (
            f"no anchor of this batch has a positive, as the labels or groups of all {count} rows "
            "differ"
        )
    if supervised and len(np.unique(labels)) == 1 and not ignored_negatives:
        return f"no anchor of this batch has a negative, as all {count} labels are the same"
    if not supervised and count == 1 and not (self_negatives or ignored_negatives):
        return "no anchor of this batch has a negative, as it is a single row"
    return None


def _cause_by_pairs(pairs: Pairs, rows: Rows, *, has_bank: bool) -> str:
    """Why no anchor has a loss, from all pairs that there are."""
    positive, negative, both = map(bool, _found(jax.tree.map(np.asarray, pairs)))
    if both:
        return "the hardening function gives all negatives of this batch the weight 0"
    if positive and negative:
        return "no anchor of this batch has both a positive and a negative"
    kind = "negative" if positive else "positive"
    place = " in the batch or the bank" if has_bank else ""
    reason = ""
    if rows.rules is not None:
        reason = " by the pair rule"
    elif rows.classes is not None and not any(np.any(bits) for bits in rows.classes):
        reason = ", as no row has a class"
    elif rows.classes is not None and not has_bank:
        reason = ", as all rows share a class" if positive else ", as no two rows share a class"
    return f"no anchor of this batch has a {kind}{place}{reason}"


@jax.jit
def _found(pairs: Pairs) -> tuple[Bool[Array, ""], Bool[Array, ""], Bool[Array, ""]]:
    """Whether there is a positive pair, a negative one, and an anchor with both."""

    def of_anchor(anchor: Keys) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
        anchor = jax.tree.map(lambda key: key[None], anchor)
        candidates = pairs.candidates
        return jnp.any(is_positive(anchor, candidates)), jnp.any(is_negative(anchor, candidates))

    positive, negative = jax.lax.map(of_anchor, pairs.anchors)
    return jnp.any(positive), jnp.any(negative), jnp.any(positive & negative)


def warn_outside_ball(embeddings: Float[Array, "n dim"]) -> None:
    """Warns if concrete embeddings leave the unit ball."""
    if not is_concrete(embeddings):
        return
    with jax.ensure_compile_time_eval():  # concrete, but maybe a constant of a traced loop
        largest = float(jnp.max(norms(at_least_float32(embeddings))))
    if largest > 1 + NORM_TOLERANCE:
        _warn(
            f"embeddings have norms up to {largest:.4g}, and the losses are meant for the unit "
            "ball or sphere; hcl_jax.normalization has both"
        )


def _warn(message: str) -> None:
    """Warns at the line that called this package."""
    frames = list(_outwards(sys._getframe()))
    level = 1 + max(i for i, frame in enumerate(frames) if _is_own(frame))
    hint = "quiet=True, or a filter for hcl_jax.BatchWarning, silences this"
    warnings.warn(f"{message} ({hint})", BatchWarning, stacklevel=level + 1)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_own(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(PACKAGE)
