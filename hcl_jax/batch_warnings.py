"""Warnings about batches whose loss says less than it seems to; only where numbers are concrete."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hcl_jax.pairs import Rows
from hcl_jax.precision import at_least_float32, norms
from hcl_jax.validation import is_concrete

PACKAGE = str(Path(__file__).parent)
NORM_TOLERANCE = 0.01
"""How far norms may exceed 1 before a warning: bfloat16 rounds by 0.004, and sums add up."""


class BatchWarning(UserWarning):
    """A batch without any loss, or outside the unit ball for which the paper's bounds hold."""


def warn_without_loss(
    rows: Rows,
    supervised: Any,
    *,
    self_positives: bool,
    self_negatives: bool,
    ignored_negatives: bool = False,
) -> None:
    """Warns if, by concrete labels, no anchor has a positive, or none has a negative."""
    if not all(map(is_concrete, (rows.label, rows.group, rows.labelled, supervised))):
        return
    kept = slice(None) if rows.labelled is None else np.asarray(rows.labelled)
    labels, groups = np.asarray(rows.label)[kept], np.asarray(rows.group)[kept]
    count, groups = len(groups), np.unique(groups)
    if count == 0:
        _warn("no row of this batch has a label, so the loss is 0")
        return
    if len(groups) == count and not self_positives:
        _warn(
            f"no anchor of this batch has a positive, as the labels or groups of all {count} rows "
            "differ, so the loss is 0"
        )
    elif supervised and len(np.unique(labels)) == 1 and not ignored_negatives:
        _warn(
            f"no anchor of this batch has a negative, as all {count} labels are the same, so the "
            "loss is 0"
        )
    elif not supervised and count == 1 and not (self_negatives or ignored_negatives):
        _warn("no anchor of this batch has a negative, as it is a single row, so the loss is 0")


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
