"""Where checkpoints lie: names, what is whole, and changes that survive being cut short.

    step_000000400/          a checkpoint, of step 400
        arrays/              the arrays of the state, as Orbax writes them
        checkpoint.json      the notes of the caller, the dtype and shape of every array
        SHA256SUMS           the hash of every file (`hcl_jax.checkpoints.checksums`)
    step_000000500.1.saving  not finished; removed at the next start, as is .removing
    step_000000400.replaced  made way for a new checkpoint of its step; put back if that is missing
    step_000000300.faulty    was not whole; set aside when training went on from an earlier one
    lock                     held by the process that saves here

A checkpoint gets its name by one `rename`, after its files and their hashes have reached the disk.
Every change keeps to that: whatever is half done has a name that no reader looks at.
"""

import contextlib
import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from hcl_jax.checkpoints import checksums
from hcl_jax.checkpoints.tree_spec import Leaf
from hcl_jax.system.atomic_files import sync_directory

ARRAYS = "arrays"
CONTENT = "checkpoint.json"
STEP = r"step_(\d{9,})"


class CheckpointError(Exception):
    """Checkpoints that cannot be saved or read."""


class Rejected(NamedTuple):
    """A checkpoint that was not used, because it is not whole."""

    step: int
    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is not whole: {self.reason}"


class Content(NamedTuple):
    """What a checkpoint says of itself."""

    notes: dict[str, Any]
    leaves: dict[str, Leaf]


class CheckpointDirectory:
    """The checkpoints of one run."""

    def __init__(self, path: Path):
        self.path = path.absolute()

    def steps(self) -> list[int]:
        """The steps of all checkpoints, whole or not, from the first to the last."""
        names = os.listdir(self.path) if self.path.is_dir() else []
        return sorted(int(found[1]) for name in names if (found := re.fullmatch(STEP, name)))

    def of(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.path / f"step_{step:09d}"

    def content(self, step: int) -> Content:
        """What a checkpoint that is whole says of itself."""
        found = json.loads((self.of(step) / CONTENT).read_text())
        leaves = {
            name: Leaf(dtype, tuple(shape)) for name, (dtype, shape) in found["leaves"].items()
        }
        return Content(found["notes"], leaves)

    def by_metric(self, metric: str, sign: int) -> list[int]:
        """The steps whose notes have a number of this name, the largest `sign * number` first.

        Of equal ones the latest comes first; a number that is not finite counts as none.
        """
        values = {step: self._metric(step, metric) for step in self.steps()}
        known = {step: sign * value for step, value in values.items() if value is not None}
        return sorted(known, key=lambda step: (known[step], step), reverse=True)

    def first_whole(self, steps: Sequence[int]) -> tuple[int | None, tuple[Rejected, ...]]:
        """The first of these steps whose checkpoint is whole, and those that were tried before."""
        rejected = []
        for step in steps:
            reason = checksums.fault(self.of(step))
            if reason is None:
                return step, tuple(rejected)
            rejected.append(Rejected(step, self.of(step), reason))
        return None, tuple(rejected)

    def lock(self) -> IO[str]:
        """Makes the directory and takes it for this process, until the file is closed.

        Raises:
            CheckpointError: if another process has it.
            OSError: if it cannot be made or written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / "lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if isinstance(error, BlockingIOError):
                raise CheckpointError("another process is saving checkpoints there") from None
            raise
        return file

    def recover(self) -> None:
        """Ends what a killed process had begun."""
        for path in self.path.glob("step_*.replaced"):
            if path.with_suffix("").exists():
                shutil.rmtree(path)
            else:
                path.rename(path.with_suffix(""))
        for path in self.path.glob("step_*.removing"):
            shutil.rmtree(path)
        self.clear()

    def clear(self) -> None:
        """Removes what is left of checkpoints that will not be finished."""
        for path in self.path.glob("step_*.saving"):
            shutil.rmtree(path)

    def staging(self, step: int, attempt: int) -> Path:
        """Where a checkpoint is written; each attempt elsewhere, since a failed one may linger."""
        return self.path / f"{self.of(step).name}.{attempt}.saving"

    def finish(
        self, staging: Path, step: int, notes: Mapping[str, Any], leaves: Mapping[str, Leaf]
    ) -> None:
        """Seals a checkpoint whose arrays are written, and gives it its name."""
        content = {"step": step, "notes": notes, "leaves": leaves}
        (staging / CONTENT).write_text(json.dumps(content, indent=1) + "\n")
        checksums.seal(staging)
        replaced = self.of(step).with_suffix(".replaced")
        if self.of(step).exists():
            self.of(step).rename(replaced)
        staging.rename(self.of(step))
        sync_directory(self.path)
        if replaced.exists():
            shutil.rmtree(replaced)

    def remove(self, step: int) -> None:
        """Removes a checkpoint."""
        removing = self.of(step).with_suffix(".removing")
        self.of(step).rename(removing)
        shutil.rmtree(removing)

    def set_aside(self, step: int) -> None:
        """Takes a checkpoint that is not whole out of the way, and keeps it to be looked at."""
        aside = self.of(step).with_suffix(".faulty")
        if aside.exists():
            shutil.rmtree(aside)
        self.of(step).rename(aside)

    def _metric(self, step: int, metric: str) -> float | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            value = self.content(step).notes[metric]
            if isinstance(value, (int, float)) and math.isfinite(value):
                return float(value)
        return None
