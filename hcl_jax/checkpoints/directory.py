"""The directory of a run's checkpoints: its names, and changes that survive a SIGKILL.

    step_000000400/          the checkpoint of step 400
        arrays/              the arrays of the state, as Orbax writes them
        checkpoint.json      the caller's notes, dtype and shape of every array
        SHA256SUMS           the hash of every file (`hcl_jax.checkpoints.checksums`)
    step_000000500.1.saving  unfinished; removed at the next start, as is .removing
    step_000000400.replaced  made way for a new one of its step; renamed back if that is missing
    step_000000300.faulty    damaged; set aside when training resumed from an earlier one
    lock                     held by the process that saves here

A step is whatever the caller counts by: a loop its steps, or, as the runs of `scripts`, its epochs.

A checkpoint gets its name by one `rename`, after its files and their hashes have reached the disk.
Every other change keeps to that too: a directory that is not complete has a name that no reader
looks at.
"""

import contextlib
import errno
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hcl_jax.checkpoints import checksums
from hcl_jax.checkpoints.tree_spec import ArraySpec
from hcl_jax.system.atomic_files import remove, sync_directory
from hcl_jax.system.json_files import JsonError, json_bytes, read_json
from hcl_jax.system.locking import DirectoryLock, locked
from hcl_jax.validation.options import check_path

ARRAYS = "arrays"
CONTENT = "checkpoint.json"
STEP = r"step_([0-9]{9,})"

Mode = Literal["max", "min"]


class CheckpointError(Exception):
    """Checkpoints that cannot be saved or read."""


class Rejected(NamedTuple):
    """A checkpoint that was passed over because it is damaged.

    Attributes:
        step: the step of the checkpoint.
        path: its directory.
        reason: the file at fault, and what is wrong with it.
    """

    step: int
    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is not whole: {self.reason}"


class Content(NamedTuple):
    """The caller's notes, and dtype and shape of every array; read from `checkpoint.json`."""

    notes: dict[str, Any]
    arrays: dict[str, ArraySpec]


class CheckpointDirectory:
    """The checkpoints of one run on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = check_path("directory", path).absolute()
        self._lock: DirectoryLock | None = None

    def steps(self) -> list[int]:
        """The steps of all checkpoints, damaged ones too, in ascending order."""
        names = os.listdir(self.path) if self.path.is_dir() else []
        steps = (int(found[1]) for name in names if (found := re.fullmatch(STEP, name)))
        return sorted(step for step in set(steps) if self.path_of(step).name in names)

    def path_of(self, step: int) -> Path:
        """The directory of the checkpoint of a step."""
        return self.path / f"step_{step:09d}"

    def read_content(self, step: int) -> Content:
        """The notes and array specifications of a checkpoint; JsonError if there are none."""
        path = self.path_of(step) / CONTENT
        match read_json(path):
            case {"step": found, "notes": dict(notes), "leaves": dict(leaves)} if found == step:
                return Content(notes, {name: _array_spec(path, leaves[name]) for name in leaves})
        raise JsonError(f"{path} does not describe the checkpoint of step {step}")

    def steps_by_metric(self, metric: str, mode: Mode) -> list[int]:
        """The steps whose notes have a finite number of this name, from the best to the worst."""
        values = {step: self._metric(step, metric) for step in self.steps()}
        sign = 1 if mode == "max" else -1
        known = {step: sign * value for step, value in values.items() if value is not None}
        return sorted(known, key=lambda step: (known[step], step), reverse=True)

    def first_whole(self, steps: Sequence[int]) -> tuple[int | None, tuple[Rejected, ...]]:
        """The first of these steps whose checkpoint is whole, and the damaged ones before it."""
        rejected = []
        for step in steps:
            fault = self._fault(step)
            if fault is None:
                return step, tuple(rejected)
            rejected.append(Rejected(step, self.path_of(step), fault))
        return None, tuple(rejected)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the directory and locks it for this process; OSError says why it cannot be."""
        try:
            str(self.path).encode()
        except UnicodeEncodeError:  # Orbax takes no other paths
            raise OSError(errno.EILSEQ, "its path is not UTF-8", str(self.path)) from None
        with locked(self.path) as self._lock:
            yield

    def check_lock(self) -> None:
        """Raises OSError if the directory was locked, and is no longer the one that was."""
        if self._lock is not None:
            self._lock.check()

    def recover(self) -> None:
        """Completes or undoes the changes that a killed process had begun."""
        for path in self.path.glob("step_*.replaced"):
            if path.with_suffix("").exists() or not path.is_dir():
                remove(path)
            else:
                path.rename(path.with_suffix(""))
        for path in self.path.glob("step_*.removing"):
            remove(path)
        self.remove_unfinished()

    def remove_unfinished(self) -> None:
        """Removes checkpoints whose saving was given up."""
        for path in self.path.glob("step_*.saving"):
            remove(path)

    def staging_path(self, step: int, attempt: int) -> Path:
        """Where an attempt to save writes; no two share it, as a failed one may still write."""
        return self.path / f"{self.path_of(step).name}.{attempt}.saving"

    def publish(
        self, staging: Path, step: int, notes: Mapping[str, Any], arrays: Mapping[str, ArraySpec]
    ) -> None:
        """Adds notes and checksums to arrays that are written, and renames them to their step."""
        content = {"step": step, "notes": notes, "leaves": arrays}
        (staging / CONTENT).write_bytes(json_bytes(content))
        checksums.write(staging)
        self.check_lock()
        replaced = self.path_of(step).with_suffix(".replaced")
        if self.path_of(step).exists():
            self.path_of(step).rename(replaced)
        staging.rename(self.path_of(step))
        sync_directory(self.path)
        if replaced.exists():
            remove(replaced)

    def remove(self, step: int) -> None:
        """Removes a checkpoint."""
        removing = self.path_of(step).with_suffix(".removing")
        self.path_of(step).rename(removing)
        remove(removing)

    def set_aside(self, step: int) -> None:
        """Renames a damaged checkpoint, so that no reader tries it and the user can inspect it."""
        aside = self.path_of(step).with_suffix(".faulty")
        if os.path.lexists(aside):
            remove(aside)
        self.path_of(step).rename(aside)

    def _fault(self, step: int) -> str | None:
        """What is wrong with the checkpoint of a step, or None if it is whole."""
        directory = self.path_of(step)
        try:
            checksums.verify(directory)
            content = self.read_content(step)
        except checksums.ChecksumError as error:
            return str(error)
        except OSError as error:
            return f"{CONTENT} cannot be read: {error.strerror or error}"
        except JsonError as error:
            return str(error)
        filled = any(0 not in spec.shape for spec in content.arrays.values())
        return f"{ARRAYS} is missing" if filled and not (directory / ARRAYS).is_dir() else None

    def _metric(self, step: int, metric: str) -> float | None:
        """A finite number in the notes of a step, damaged or not; None where there is none."""
        with contextlib.suppress(OSError, JsonError, OverflowError):
            value = self.read_content(step).notes.get(metric)
            if isinstance(value, (int, float)) and math.isfinite(value):
                return float(value)
        return None


def _array_spec(path: Path, found: Any) -> ArraySpec:
    """Dtype and shape of an array as they stand in a file."""
    match found:
        case [str(dtype), [*shape]] if all(type(size) is int and size >= 0 for size in shape):
            return ArraySpec(dtype, tuple(shape))
    raise JsonError(f"{path} does not have dtype and shape of every array")
