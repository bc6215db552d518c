"""Saving the state of a run while training continues.

    with Checkpoints(run / "checkpoints", keep=3, best="accuracy") as checkpoints:
        restored = checkpoints.restore_latest(state)
        for step in ...:
            state = train(state)
            checkpoints.save(step, state, {"accuracy": 0.9})

A process that is killed at any moment leaves the checkpoints it had, or those and a complete new
one (`hcl_jax.checkpoints.directory`). With several processes (`jax.distributed`) all of them make
the same calls, on a directory that they share.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from hcl_jax.checkpoints import arrays
from hcl_jax.checkpoints.directory import ARRAYS, CheckpointDirectory, CheckpointError, Mode
from hcl_jax.checkpoints.restoring import Restored, restore_first_whole
from hcl_jax.checkpoints.tree_spec import ArraySpec, named_leaves, specs_of
from hcl_jax.system.json_files import json_bytes, parse_json
from hcl_jax.system.processes import is_first, processes_where
from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_choice


class Checkpoints:
    """The checkpoints that a run saves; a context manager that waits for the last one.

    Args:
        directory: a directory for checkpoints alone, made if it does not exist. What a killed
            process left unfinished in it is removed.
        keep: how many of the latest checkpoints are kept.
        best: the name of a number in the notes, or None. The checkpoint where it is best is kept
            too; checkpoints without it, or where it is not finite, do not compete.
        mode: "max" if the largest number is the best, "min" if the smallest is.

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
    ) -> None:
        check_count("keep", keep)
        check_choice("mode", mode, ("max", "min"))
        self._directory = CheckpointDirectory(directory)
        self._keep, self._best = keep, best
        self._mode: Mode = mode
        self._rejected: set[int] = set()
        self._attempts = 0
        self._pending: tuple[int, Future[None]] | None = None
        with contextlib.ExitStack() as closing:
            with _raised_by_all(f"checkpoints cannot be saved in {self._directory.path}"):
                if is_first():
                    closing.enter_context(self._directory.lock())
                    self._directory.recover()
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

    def save(self, step: int, state: Any, notes: Mapping[str, Any]) -> None:
        """Starts to save a checkpoint; returns as soon as the state may be changed or donated.

        The rest is done in the background, one save at a time: this call waits for the save before
        it, and `wait` for this one.

        Args:
            step: a number that the caller counts by, of steps or, as in `scripts.train`, of epochs;
                at least that of the latest checkpoint. One of the same number is replaced.
            state: a pytree of `jax.Array`, which may be typed PRNG keys.
            notes: a dictionary that JSON can hold; numbers that are not finite become None.

        Raises:
            CheckpointError: if this checkpoint or the one before could not be saved. Those that
                were on the disk are intact.
            TypeError: if a leaf of the state is no `jax.Array`, or JSON cannot hold the notes.
            ValueError: if there is a later checkpoint.
        """
        leaves, kept_notes = named_leaves(state), parse_json(json_bytes(notes), "notes")
        self.wait()
        self._check_step(step)
        self._attempts += 1
        staging = self._directory.staging_path(step, self._attempts)
        with _raised_by_all(self._failure_to_save(step)):
            if is_first():
                self._directory.check_lock()
                self._directory.remove_unfinished()
                staging.mkdir()
            writing = arrays.start_writing(staging / ARRAYS, leaves)
        specs = specs_of(leaves)
        future = self._thread.submit(self._publish, staging, step, kept_notes, specs, writing)
        self._pending = (step, future)

    def wait(self) -> None:
        """Returns when every checkpoint whose saving was started is on the disk.

        Raises:
            CheckpointError: if it could not be saved. Those that were on the disk are intact.
        """
        if self._pending is None:
            return
        step, future = self._pending
        with _raised_by_all(self._failure_to_save(step)):
            try:
                future.result()
            finally:
                self._pending = None if future.done() else self._pending

    def steps(self) -> list[int]:
        """The steps of all checkpoints on the disk, damaged ones too, in ascending order."""
        return self._directory.steps()

    def restore_latest(self, like: Any) -> Restored | None:
        """Reads the latest checkpoint that is whole; the next save sets damaged ones aside.

        Args:
            like: the tree to restore, as in the function `restore_latest`, which is for programs
                that only read.

        Returns:
            The checkpoint, or None if the directory holds none.

        Raises:
            CheckpointMismatchError: if the checkpoint holds other arrays; the message names them.
            CheckpointError: if there are checkpoints and all of them are damaged, or if the save
                before could not be completed.
        """
        self.wait()
        restored = restore_first_whole(self._directory, self._directory.steps()[::-1], like)
        self._rejected |= {rejected.step for rejected in restored.rejected} if restored else set()
        return restored

    def _check_step(self, step: int) -> None:
        """Raises ValueError if there is a later checkpoint; damaged ones do not count."""
        check_count("step", step, minimum=0)
        latest = max(set(self._directory.steps()) - self._rejected, default=step)
        if step < latest:
            raise ValueError(
                f"step must be at least {latest}, that of the latest checkpoint in "
                f"{self._directory.path}, got {step}"
            )

    def _failure_to_save(self, step: int) -> str:
        """The first half of an error message."""
        return (
            f"the checkpoint of step {step} cannot be saved in {self._directory.path}, "
            "where those before it stay as they are"
        )

    def _publish(
        self,
        staging: Path,
        step: int,
        notes: Mapping[str, Any],
        specs: Mapping[str, ArraySpec],
        writing: arrays.PendingWrite,
    ) -> None:
        """Completes a save in the background, once its arrays are written."""
        try:
            writing.result()
            rejected, self._rejected = self._rejected, set()
            if is_first():
                for damaged in rejected:
                    self._directory.set_aside(damaged)
                self._directory.publish(staging, step, notes, specs)
                self._remove_old()
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def _remove_old(self) -> None:
        """Removes all checkpoints but the latest ones and the best."""
        steps = self._directory.steps()
        kept = set(steps[-self._keep :])
        if self._best is not None:
            kept.update(self._directory.steps_by_metric(self._best, self._mode)[:1])
        for step in steps:
            if step not in kept:
                self._directory.remove(step)


@contextlib.contextmanager
def _raised_by_all(what: str) -> Iterator[None]:
    """Turns an exception of any process into a CheckpointError of all of them."""
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    failed = processes_where(failure is not None)
    if failure is not None:
        raise CheckpointError(f"{what}: {_reason(failure)}") from failure
    if failed:
        raise CheckpointError(f"{what}: process {failed[0]} says why")


def _reason(error: Exception) -> str:
    """The operating system's message, even where it stands only in the text of the error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if quoted := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(quoted[1]))
    return str(error) or type(error).__name__
