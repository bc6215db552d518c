"""Reading checkpoints: the latest or the best that is whole, with the arrays a program expects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from hcl_jax.checkpoints import arrays
from hcl_jax.checkpoints.directory import (
    ARRAYS,
    CheckpointDirectory,
    CheckpointError,
    Mode,
    Rejected,
)
from hcl_jax.checkpoints.tree_spec import differences, named_leaves, specs_of
from hcl_jax.system.processes import broadcast_from_first, is_first
from hcl_jax.validation.options import check_choice


class CheckpointMismatchError(CheckpointError):
    """A checkpoint that is whole but holds other arrays than the program expects."""


class Restored(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        step: the step under which it was saved.
        state: the saved arrays, bit for bit, in a tree of the requested structure.
        notes: the saved notes.
        rejected: damaged checkpoints that would have been used instead of this one. They should be
            shown to the user, as training repeats the steps since this one.
    """

    step: int
    state: Any
    notes: dict[str, Any]
    rejected: tuple[Rejected, ...]


def restore_latest(directory: Path, like: Any) -> Restored | None:
    """Reads the latest checkpoint that is whole, without a lock: the run may still be saving.

    Args:
        directory: the directory of the checkpoints.
        like: the tree to restore, with the shapes and dtypes it must have: a pytree of `jax.Array`,
            or of `jax.ShapeDtypeStruct` as `jax.eval_shape` makes them. The restored arrays have
            the shardings of this tree, which may differ from those they were saved with.

    Returns:
        The checkpoint, or None if the directory holds none.

    Raises:
        CheckpointMismatchError: if the checkpoint holds other arrays; the message names them.
        CheckpointError: if there are checkpoints and all of them are damaged.

    Example:
        >>> restore_latest(Path("no-such-run"), {"kernel": jax.numpy.ones(3)}) is None
        True
    """
    checkpoints = CheckpointDirectory(directory)
    return restore_first_whole(checkpoints, checkpoints.steps()[::-1], like)


def restore_best(directory: Path, like: Any, *, metric: str, mode: Mode = "max") -> Restored | None:
    """Reads the checkpoint with the best metric among those that are whole, without a lock.

    Args:
        directory: the directory of the checkpoints.
        like: the tree to restore, as in `restore_latest`.
        metric: the name of a number in the notes.
        mode: "max" if the largest number is the best, "min" if the smallest is.

    Returns:
        The checkpoint, or None if no checkpoint has a finite number of that name.

    Raises:
        CheckpointMismatchError: if the checkpoint holds other arrays; the message names them.
        CheckpointError: if there are checkpoints with that number and all of them are damaged.

    Example:
        >>> like = {"kernel": jax.numpy.ones(3)}
        >>> restore_best(Path("no-such-run"), like, metric="accuracy") is None
        True
    """
    check_choice("mode", mode, ("max", "min"))
    checkpoints = CheckpointDirectory(directory)
    return restore_first_whole(checkpoints, checkpoints.steps_by_metric(metric, mode), like)


def restore_first_whole(
    checkpoints: CheckpointDirectory, steps: Sequence[int], like: Any
) -> Restored | None:
    """Reads the first of these steps whose checkpoint is whole; None if there are no steps."""
    expected = named_leaves(like)
    step, rejected = _first_whole(checkpoints, steps)
    if step is None and not rejected:
        return None
    if step is None:
        reasons = "\n".join(f"  {one}" for one in rejected)
        raise CheckpointError(f"no checkpoint in {checkpoints.path} is whole:\n{reasons}")
    content = checkpoints.read_content(step)
    if lines := differences(content.arrays, specs_of(expected)):
        raise CheckpointMismatchError(f"{checkpoints.path_of(step)} holds other arrays:\n{lines}")
    path = checkpoints.path_of(step) / ARRAYS
    try:
        leaves = arrays.read(path, expected)
    except Exception as error:  # of the file format; the hashes are right, the arrays are not
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    state = jax.tree.unflatten(jax.tree.structure(like), leaves.values())
    return Restored(step, state, content.notes, rejected)


def _first_whole(
    checkpoints: CheckpointDirectory, steps: Sequence[int]
) -> tuple[int | None, tuple[Rejected, ...]]:
    """What the first process finds by verifying checksums, made known to all processes."""
    step, rejected = checkpoints.first_whole(steps) if is_first() else (None, ())
    number = broadcast_from_first(-1 if step is None else step)
    tried = broadcast_from_first(len(rejected))
    if not is_first():
        reason = "found by the first process"
        rejected = tuple(Rejected(s, checkpoints.path_of(s), reason) for s in steps[:tried])
    return None if number < 0 else number, rejected
