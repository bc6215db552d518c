"""The directory of a run: what was asked, what was measured, what came out.

    lock                held by the process that trains here
    config.json         the experiment, what was used where it says none, and the versions,
                        settings and commit it began with
    metrics.jsonl       one line for each evaluation and seed, appended and flushed
    class_means.npy     class means at each evaluation, as arrays one after the other
    events.out.*        the same numbers for TensorBoard
    checkpoints/        states from which the run resumes; step_000000012 is that after 12 epochs,
                        those in which the network is fitted first among them
    embeddings.npz      embeddings, labels and class means at the end
    diagnostic.json     what is known of a number that was not finite
    results.json        the last evaluation of every seed; its presence says the run is finished

Files other than metrics.jsonl, class_means.npy and the event file are whole or not there
(`hcl_jax.system.atomic_files`). A run that resumes from a checkpoint first takes back what was
appended after it (`RunDirectory.resume`). Reading is in `scripts.runs.run_files`.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from hcl_jax.system.atomic_files import atomic_open, atomic_write, remove, remove_partial_files
from hcl_jax.system.json_files import json_bytes, json_text, parse_json
from hcl_jax.system.locking import DirectoryLock, locked
from hcl_jax.system.processes import is_first, processes_where
from scripts.experiments.experiment import Experiment
from scripts.experiments.used import filled_in
from scripts.runs.exit_status import RefusedError
from scripts.runs.provenance import environment
from scripts.runs.run_files import (
    CLASS_MEANS,
    CONFIG,
    EMBEDDINGS,
    METRICS,
    RESULTS,
    RunDirectoryError,
    as_json,
    check_same_experiment,
    parsed_records,
    read_config,
    read_metrics,
)

CHECKPOINTS = "checkpoints"
DIAGNOSTIC = "diagnostic.json"

NOT_MEASURED = ("seed", "step", "epoch", "beta", "temperature", "dim")
"""Numbers of an evaluation that are no curves."""


class MetricsPosition(NamedTuple):
    """How far metrics.jsonl had been written.

    Attributes:
        length: number of bytes.
        digest: SHA-256 of those bytes.
    """

    length: int
    digest: str


NO_METRICS = MetricsPosition(0, hashlib.sha256().hexdigest())


class RunDirectory:
    """A run being written; use `open_run`."""

    def __init__(
        self, path: Path, experiment: Experiment, lock: DirectoryLock, *, shorter: bool
    ) -> None:
        self.path = path
        self._experiment, self._lock, self._shorter = experiment, lock, shorter
        self._metrics = (path / METRICS).open("ab+")
        self._class_means = (path / CLASS_MEANS).open("ab+")
        self._tensorboard: Any = None

    def begin(self) -> None:
        """Records the experiment and the environment, and takes back all that was measured.

        Raises:
            RefusedError: if a shorter run was to be continued.
        """
        _refuse_to_begin(self.path, self._shorter)
        experiment = self._experiment
        used = filled_in(experiment)
        config = {"experiment": as_json(experiment), "used": used, "environment": environment()}
        self._write(CONFIG, config)
        self.resume(NO_METRICS)

    def metrics_position(self) -> MetricsPosition:
        """How far the metrics are written; they are on the disk when this returns."""
        os.fsync(self._metrics.fileno())
        self._metrics.seek(0)
        written = self._metrics.read()
        return _position_after(written)

    def resume(self, position: MetricsPosition) -> None:
        """Takes back what was appended after a position, here and for TensorBoard.

        Raises:
            RunDirectoryError: if the metrics before it are not those that were written.
        """
        self._lock.check()
        self._metrics.seek(0)
        written = self._metrics.read(position.length)
        if _position_after(written) != position:
            raise RunDirectoryError(
                f"{self.path / METRICS} was changed since the checkpoint: its first "
                f"{position.length} bytes are not those that were written; put them back, or start "
                f"again in another directory"
            )
        if self._shorter:
            self._lengthen()
        self._metrics.truncate(position.length)
        self._metrics.seek(0, os.SEEK_END)
        self._begin_tensorboard()
        records = parsed_records(written, self.path / METRICS)
        for record in records:
            self._add_to_tensorboard(record)
        self._take_back_class_means(len({record["epoch"] for record in records}))

    def append(self, record: Mapping[str, Any]) -> None:
        """Appends one evaluation of one seed, and flushes it to the disk."""
        self._lock.check()
        line = json_text(record).encode()
        self._metrics.write(line + b"\n")
        self._metrics.flush()
        self._add_to_tensorboard(parse_json(line, METRICS))

    def append_class_means(self, means: Float[np.ndarray, "seed classes dim"]) -> None:
        """Appends the class means of an evaluation, before its records."""
        self._lock.check()
        np.save(self._class_means, means, allow_pickle=False)
        self._class_means.flush()

    def records(self) -> list[dict[str, Any]]:
        """Everything that was appended."""
        return read_metrics(self.path)

    def diagnose(self, facts: Mapping[str, Any]) -> None:
        """Writes what is known of a number that was not finite."""
        self._write(DIAGNOSTIC, facts)

    def finish(self, results: list[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the embeddings and, last, the results."""
        self._lock.check()
        (self.path / DIAGNOSTIC).unlink(missing_ok=True)  # of an attempt before this one
        with atomic_open(self.path / EMBEDDINGS) as (file,):
            np.savez_compressed(file, allow_pickle=False, **arrays)
        self._write(RESULTS, results)

    def close(self) -> None:
        """Closes the files."""
        self._metrics.close()
        self._class_means.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _write(self, name: str, value: Any) -> None:
        self._lock.check()
        write_json(self.path / name, value)

    def _lengthen(self) -> None:
        """Makes the shorter run an unfinished one of this experiment, which began where it did."""
        config = read_config(self.path)
        assert config is not None
        (self.path / RESULTS).unlink(missing_ok=True)
        self._write(CONFIG, config._replace(experiment=as_json(self._experiment))._asdict())
        self._shorter = False

    def _take_back_class_means(self, evaluations: int) -> None:
        """Keeps those of so many evaluations; none where the file does not have so many.

        It may have fewer after the machine went down: unlike the metrics it is not known to be on
        the disk when a checkpoint is saved.
        """
        self._class_means.seek(0)
        try:
            for _ in range(evaluations):
                np.load(self._class_means, allow_pickle=False)
        except (ValueError, EOFError):
            self._class_means.seek(0)
        self._class_means.truncate()

    def _begin_tensorboard(self) -> None:
        from tensorboardX import SummaryWriter

        for events in self.path.glob("events.out.*"):
            remove(events)
        self._tensorboard = SummaryWriter(str(self.path))

    def _add_to_tensorboard(self, record: Mapping[str, Any]) -> None:
        for name, value in record.items():
            if name not in NOT_MEASURED and isinstance(value, (int, float)):
                tag = f"seed{record['seed']}/{name}"
                self._tensorboard.add_scalar(tag, value, record["step"])


class UnwrittenDirectory(RunDirectory):
    """The directory in every process but the first, which alone writes it."""

    def __init__(self, path: Path, *, shorter: bool) -> None:
        self.path = path
        self._shorter = shorter
        self._records: list[dict[str, Any]] = []

    def begin(self) -> None:
        _refuse_to_begin(self.path, self._shorter)
        self._records = []

    def metrics_position(self) -> MetricsPosition:
        return NO_METRICS

    def resume(self, position: MetricsPosition) -> None:
        self._records = []

    def append(self, record: Mapping[str, Any]) -> None:
        self._records.append(dict(record))

    def append_class_means(self, means: Float[np.ndarray, "seed classes dim"]) -> None:
        pass

    def records(self) -> list[dict[str, Any]]:
        return self._records

    def diagnose(self, facts: Mapping[str, Any]) -> None:
        pass

    def finish(self, results: list[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> None:
        pass

    def close(self) -> None:
        pass


@contextlib.contextmanager
def open_run(path: Path, experiment: Experiment, *, longer: bool = False) -> Iterator[RunDirectory]:
    """Locks and opens the directory of a run, new or unfinished; call `begin` or `resume` first.

    With `longer`, a shorter run of the experiment is made longer when it resumes.

    Raises:
        RefusedError: if another process trains there.
        RunDirectoryError: if the directory holds a run of another experiment.
    """
    with _lock(path) as lock:
        shorter = check_same_experiment(path, experiment, longer=longer)
        if lock is None:
            yield UnwrittenDirectory(path, shorter=shorter)
            return
        remove_partial_files(path)
        directory = RunDirectory(path, experiment, lock, shorter=shorter)
        with contextlib.closing(directory):
            yield directory


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[DirectoryLock | None]:
    """The lock of the first process, None in others; RefusedError where another run has it."""
    with contextlib.ExitStack() as stack:
        lock, refused = None, False
        if is_first():
            try:
                lock = stack.enter_context(locked(path))
            except BlockingIOError:
                refused = True
        if processes_where(refused):
            raise RefusedError(f"another process is training in {path}")
        yield lock


def _refuse_to_begin(path: Path, shorter: bool) -> None:
    if shorter:
        raise RefusedError(f"{path} has no checkpoint to continue from: it was run with --keep 0")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is whole or not there."""
    atomic_write({path: json_bytes(value)})


def write_summary(out: Path, results: list[dict[str, Any]]) -> None:
    """Writes results of several runs as summary.json, without the spectra."""
    write_json(
        out / "summary.json", [{k: v for k, v in r.items() if k != "spectrum"} for r in results]
    )


def _position_after(written: bytes) -> MetricsPosition:
    return MetricsPosition(len(written), hashlib.sha256(written).hexdigest())
