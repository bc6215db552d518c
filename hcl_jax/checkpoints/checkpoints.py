"""The state of a run on the disk: saved while training goes on, and whole whenever it is found.

    with Checkpoints(run / "checkpoints", keep=3, best="accuracy") as checkpoints:
        restored = checkpoints.restore_latest(state)
        for step in ...:
            state = train(state)
            checkpoints.save(step, state, {"accuracy": 0.9})

A process that is killed at any moment leaves the checkpoints it had, or those and a whole new one
(`hcl_jax.checkpoints.directory`). With several processes (`jax.distributed`) all of them make the
same calls, on a directory that they share.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import jax

from hcl_jax.checkpoints import arrays
from hcl_jax.checkpoints.directory import ARRAYS, CheckpointDirectory, CheckpointError, Rejected
from hcl_jax.checkpoints.tree_spec import describe, differences, named_leaves
from hcl_jax.system.processes import from_first, is_first, said_by
from hcl_jax.validation import check_choice, check_count

Mode = Literal["max", "min"]


class CheckpointMismatchError(CheckpointError):
    """A checkpoint that is whole, and holds other arrays than the program needs."""


class Restored(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        step: as it was saved.
        state: the arrays in the tree that was asked for, bit for bit as they were saved.
        notes: as they were saved.
        rejected: checkpoints that would have been used before this one, were they whole. To be
            shown to the user: training repeats what lies between.
    """

    step: int
    state: Any
    notes: dict[str, Any]
    rejected: tuple[Rejected, ...]


class Checkpoints:
    """The checkpoints that a run writes; a context manager that waits for the last one.

    Args:
        directory: of the checkpoints alone; made if it is not there. What a killed process left
            unfinished in it is removed.
        keep: how many of the latest checkpoints stay.
        best: the name of a number in the notes. The checkpoint where it is best stays too; notes
            without it, or where it is not finite, are passed over.
        mode: whether the best number is the largest or the smallest.

    Raises:
        CheckpointError: if the directory cannot be written to, or another process saves in it.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> state = {"kernel": jnp.arange(3.0)}
        >>> with tempfile.TemporaryDirectory() as run:
        ...     with Checkpoints(Path(run), best="accuracy") as checkpoints:
        ...         checkpoints.save(10, state, {"accuracy": 0.5})
        ...         restored = checkpoints.restore_latest(state)
        >>> restored.step, restored.notes, restored.state["kernel"].tolist()
        (10, {'accuracy': 0.5}, [0.0, 1.0, 2.0])
    """

    def __init__(
        self, directory: Path, *, keep: int = 3, best: str | None = None, mode: Mode = "max"
    ):
        check_count("keep", keep)
        check_choice("mode", mode, ("max", "min"))
        self._place = CheckpointDirectory(directory)
        self._keep, self._best, self._mode = keep, best, mode
        self._rejected: set[int] = set()
        self._attempts = 0
        self._pending: tuple[int, Future[None]] | None = None
        with contextlib.ExitStack() as closing:
            with _known_everywhere(f"checkpoints cannot be saved in {self._place.path}"):
                if is_first():
                    closing.enter_context(self._place.lock())
                    self._place.recover()
            self._thread = closing.enter_context(ThreadPoolExecutor(1, "checkpoints"))
            self._closing = closing.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        with self._closing:
            try:
                self.wait()
            except CheckpointError as failure:
                if error is None:
                    raise
                error.add_note(str(failure))

    def save(self, step: int, state: Any, notes: Mapping[str, Any], *, wait: bool = False) -> None:
        """Saves a checkpoint; returns when the state may be changed or donated.

        What is left to do is done in the background. There is one save at a time: this one waits
        for the one before.

        Args:
            step: not before that of the latest checkpoint; one of the same step is replaced.
            state: a pytree of `jax.Array`, typed PRNG keys among them.
            notes: what JSON can hold.
            wait: whether to return only when the checkpoint is on the disk.

        Raises:
            CheckpointError: if this checkpoint, or the one before, could not be saved. Those that
                were there are whole.
            TypeError: if a leaf of the state is no `jax.Array`, or JSON cannot hold the notes.
            ValueError: if there is a later checkpoint.
        """
        leaves, kept_notes = named_leaves(state), json.loads(json.dumps(dict(notes)))
        self.wait()
        self._check_step(step)
        self._attempts += 1
        staging = self._place.staging(step, self._attempts)
        with _known_everywhere(self._failure_to_save(step)):
            if is_first():
                self._place.clear()
                staging.mkdir()
            writing = arrays.begin_to_write(staging / ARRAYS, leaves)
        described = {name: describe(leaf) for name, leaf in leaves.items()}
        future = self._thread.submit(self._publish, staging, step, kept_notes, described, writing)
        self._pending = (step, future)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Returns when everything that was saved is on the disk.

        Raises:
            CheckpointError: if it could not be saved; those that were there are whole.
        """
        if self._pending is None:
            return
        step, future = self._pending
        with _known_everywhere(self._failure_to_save(step)):
            try:
                future.result()
            finally:
                self._pending = None if future.done() else self._pending

    def restore_latest(self, like: Any) -> Restored | None:
        """Reads the latest checkpoint that is whole; see the function of this name.

        Those that are not whole are set aside by the next save.
        """
        self.wait()
        return self._remembered(_restore(self._place, self._place.steps()[::-1], like))

    def restore_best(self, like: Any) -> Restored | None:
        """Reads the best checkpoint that is whole; see the function of this name.

        Raises:
            ValueError: if no `best` was chosen.
        """
        if self._best is None:
            raise ValueError("best must name a number in the notes, got None")
        self.wait()
        return self._remembered(_restore(self._place, self._by_metric(), like))

    def _remembered(self, restored: Restored | None) -> Restored | None:
        self._rejected |= {rejected.step for rejected in restored.rejected} if restored else set()
        return restored

    def _by_metric(self) -> list[int]:
        if self._best is None:
            return []
        return self._place.by_metric(self._best, 1 if self._mode == "max" else -1)

    def _check_step(self, step: int) -> None:
        check_count("step", step, minimum=0)
        latest = max(set(self._place.steps()) - self._rejected, default=step)
        if step < latest:
            raise ValueError(
                f"step must be at least {latest}, that of the latest checkpoint in "
                f"{self._place.path}, got {step}"
            )

    def _failure_to_save(self, step: int) -> str:
        return (
            f"the checkpoint of step {step} cannot be saved in {self._place.path}, "
            "where those before it stay as they are"
        )

    def _publish(
        self, staging: Path, step: int, notes: dict, leaves: dict, writing: arrays.Writing
    ) -> None:
        """Runs in the background: what comes after the arrays are written."""
        try:
            writing.result()
            rejected, self._rejected = self._rejected, set()
            if is_first():
                for faulty in rejected:
                    self._place.set_aside(faulty)
                self._place.finish(staging, step, notes, leaves)
                self._remove_old()
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def _remove_old(self) -> None:
        steps = self._place.steps()
        stay = {*steps[-self._keep :], *self._by_metric()[:1]}
        for step in steps:
            if step not in stay:
                self._place.remove(step)


def restore_latest(directory: Path, like: Any) -> Restored | None:
    """Reads the latest checkpoint that is whole, of a run that may still be writing.

    Args:
        directory: of the checkpoints.
        like: the tree to restore, with the shapes and dtypes it must have: of arrays, or of
            `jax.ShapeDtypeStruct` as `jax.eval_shape` makes them. Arrays are placed by the
            shardings in it, which need not be those they were saved with.

    Returns:
        The checkpoint, or None if the directory holds none.

    Raises:
        CheckpointMismatchError: if it holds other arrays; they are named.
        CheckpointError: if there are checkpoints and none is whole.

    Example:
        >>> restore_latest(Path("no-such-run"), {"kernel": jax.numpy.ones(3)}) is None
        True
    """
    place = CheckpointDirectory(directory)
    return _restore(place, place.steps()[::-1], like)


def restore_best(directory: Path, like: Any, *, metric: str, mode: Mode = "max") -> Restored | None:
    """Reads the best checkpoint that is whole, of a run that may still be writing.

    Args:
        directory: of the checkpoints.
        like: as in `restore_latest`.
        metric: the name of a number in the notes.
        mode: whether the best number is the largest or the smallest.

    Returns:
        The checkpoint, or None if no checkpoint has that number.

    Raises:
        CheckpointMismatchError: if it holds other arrays; they are named.
        CheckpointError: if there are checkpoints with that number and none is whole.

    Example:
        >>> like = {"kernel": jax.numpy.ones(3)}
        >>> restore_best(Path("no-such-run"), like, metric="accuracy") is None
        True
    """
    check_choice("mode", mode, ("max", "min"))
    place = CheckpointDirectory(directory)
    return _restore(place, place.by_metric(metric, 1 if mode == "max" else -1), like)


def _restore(place: CheckpointDirectory, steps: Sequence[int], like: Any) -> Restored | None:
    expected = named_leaves(like)
    step, rejected = _first_whole(place, steps)
    if step is None and not rejected:
        return None
    if step is None:
        reasons = "\n".join(f"  {one}" for one in rejected)
        raise CheckpointError(f"no checkpoint in {place.path} is whole:\n{reasons}")
    content = place.content(step)
    described = {name: describe(leaf) for name, leaf in expected.items()}
    if lines := differences(content.leaves, described):
        raise CheckpointMismatchError(f"{place.of(step)} holds other arrays:\n{lines}")
    leaves = arrays.read(place.of(step) / ARRAYS, expected)
    state = jax.tree.unflatten(jax.tree.structure(like), leaves.values())
    return Restored(step, state, content.notes, rejected)


def _first_whole(
    place: CheckpointDirectory, steps: Sequence[int]
) -> tuple[int | None, tuple[Rejected, ...]]:
    """What the first process finds, for all."""
    step, rejected = place.first_whole(steps) if is_first() else (None, ())
    number = from_first(-1 if step is None else step)
    tried = from_first(len(rejected))
    if not is_first():
        reason = "found by the first process"
        rejected = tuple(Rejected(s, place.of(s), reason) for s in steps[:tried])
    return None if number < 0 else number, rejected


@contextlib.contextmanager
def _known_everywhere(what: str) -> Iterator[None]:
    """Makes an error of any process a CheckpointError of all."""
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    failed = said_by(failure is not None)
    if failure is not None:
        raise CheckpointError(f"{what}: {_reason(failure)}") from failure
    if failed:
        raise CheckpointError(f"{what}: process {failed[0]} says why")


def _reason(error: Exception) -> str:
    """What the system says, also where it is only quoted in the text of the error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if quoted := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(quoted[1]))
    return str(error) or type(error).__name__
