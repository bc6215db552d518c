"""The directory of a run: what was asked, what was measured, what came out.

    config.json         the experiment, and the versions and commit it ran with
    metrics.jsonl       one line for each evaluation and seed, appended and flushed
    events.out.*        the same numbers for TensorBoard
    checkpoints/        states from which the run resumes
    embeddings.npz      embeddings, labels and class means at the end
    diagnostic.json     what is known of a loss that was not finite
    results.json        the last evaluation of every seed; its presence says the run is finished

Files other than metrics.jsonl and the event file are whole or not there
(`hcl_jax.system.atomic_files`). A run that resumes from a checkpoint first takes back what was
appended after it (`RunDirectory.rewind`).
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hcl_jax.system.atomic_files import atomic_open, atomic_write, json_bytes, remove_partial_files
from hcl_jax.system.processes import is_first
from scripts.experiments.experiment import Experiment
from scripts.runs.exit_status import CommandError
from scripts.runs.provenance import environment


class RunDirectoryError(CommandError):
    """A run directory that cannot be used: it holds another run, or a file that is not whole."""


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

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics = (path / "metrics.jsonl").open("ab+")
        self._tensorboard: Any = None

    def metrics_position(self) -> MetricsPosition:
        """How far the metrics are written; they are on the disk when this returns."""
        os.fsync(self._metrics.fileno())
        self._metrics.seek(0)
        written = self._metrics.read()
        return _position_after(written)

    def rewind(self, position: MetricsPosition) -> None:
        """Takes back what was appended after a position, here and for TensorBoard.

        Raises:
            RunDirectoryError: if the metrics before it are not those that were written.
        """
        self._metrics.seek(0)
        written = self._metrics.read(position.length)
        if _position_after(written) != position:
            raise RunDirectoryError(
                f"{self.path / 'metrics.jsonl'} was changed since the checkpoint: its first "
                f"{position.length} bytes are not those that were written; put them back, or start "
                f"again in another directory"
            )
        self._metrics.truncate(position.length)
        self._metrics.seek(0, os.SEEK_END)
        self._begin_tensorboard()
        for line in written.splitlines():
            self._add_to_tensorboard(json.loads(line))

    def append(self, record: Mapping[str, Any]) -> None:
        """Appends one evaluation of one seed, and flushes it to the disk."""
        self._metrics.write(json.dumps(record).encode() + b"\n")
        self._metrics.flush()
        self._add_to_tensorboard(record)

    def records(self) -> list[dict[str, Any]]:
        """Everything that was appended."""
        return read_metrics(self.path)

    def diagnose(self, facts: Mapping[str, Any]) -> None:
        """Writes what is known of a loss that was not finite."""
        write_json(self.path / "diagnostic.json", facts)

    def finish(self, results: list[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the embeddings and, last, the results."""
        with atomic_open(self.path / "embeddings.npz") as (file,):
            np.savez_compressed(file, allow_pickle=False, **arrays)
        write_json(self.path / "results.json", results)

    def close(self) -> None:
        """Closes the files."""
        self._metrics.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _begin_tensorboard(self) -> None:
        from tensorboardX import SummaryWriter

        for events in self.path.glob("events.out.*"):
            events.unlink()
        self._tensorboard = SummaryWriter(str(self.path))

    def _add_to_tensorboard(self, record: Mapping[str, Any]) -> None:
        for name, value in record.items():
            if name not in ("seed", "step", "epoch") and isinstance(value, (int, float)):
                tag = f"seed{record['seed']}/{name}"
                self._tensorboard.add_scalar(tag, value, record["step"])


class UnwrittenDirectory(RunDirectory):
    """The directory in every process but the first, which alone writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records: list[dict[str, Any]] = []

    def metrics_position(self) -> MetricsPosition:
        return NO_METRICS

    def rewind(self, position: MetricsPosition) -> None:
        self._records = []

    def append(self, record: Mapping[str, Any]) -> None:
        self._records.append(dict(record))

    def records(self) -> list[dict[str, Any]]:
        return self._records

    def diagnose(self, facts: Mapping[str, Any]) -> None:
        pass

    def finish(self, results: list[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> None:
        pass

    def close(self) -> None:
        pass


@contextlib.contextmanager
def open_run(path: Path, experiment: Experiment) -> Iterator[RunDirectory]:
    """Opens the directory of a run, new or unfinished; call `RunDirectory.rewind` first.

    Raises:
        RunDirectoryError: if the directory holds a run of another experiment.
    """
    check_same_experiment(path, experiment)
    if not is_first():
        yield UnwrittenDirectory(path)
        return
    path.mkdir(parents=True, exist_ok=True)
    remove_partial_files(path)
    config = {"experiment": dataclasses.asdict(experiment), "environment": environment()}
    write_json(path / "config.json", config)
    directory = RunDirectory(path)
    try:
        yield directory
    finally:
        directory.close()


def check_same_experiment(path: Path, experiment: Experiment) -> None:
    """Raises RunDirectoryError if the directory holds a run of another experiment."""
    config_path = path / "config.json"
    if not config_path.exists():
        return
    found = read_json(config_path).get("experiment")
    asked = json.loads(json.dumps(dataclasses.asdict(experiment)))
    if found == asked:
        return
    found = found if isinstance(found, dict) else {}
    lines = [
        f"  {name}: the directory has {found.get(name)!r}, asked was {asked.get(name)!r}"
        for name in sorted({*found, *asked})
        if found.get(name) != asked.get(name)
    ]
    raise RunDirectoryError(
        f"{path} holds a run of another experiment; choose another directory\n" + "\n".join(lines)
    )


def finished_results(path: Path, experiment: Experiment) -> list[dict[str, Any]] | None:
    """The results of a finished run of this experiment, or None if it has not finished."""
    if not (path / "results.json").exists():
        return None
    check_same_experiment(path, experiment)
    return read_json(path / "results.json")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All evaluations of a run; a last line cut off by a crash is left out.

    Raises:
        RunDirectoryError: if another line is not JSON.
    """
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            break
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise RunDirectoryError(
                f"{path / 'metrics.jsonl'}, line {number}, is not JSON: {error}"
            ) from error
    return records


def experiment_of(path: Path) -> Experiment:
    """The experiment of a run directory.

    Raises:
        RunDirectoryError: if there is none, or one of another version.
    """
    config = path / "config.json"
    if not config.exists():
        raise RunDirectoryError(f"{path} is not a run directory: it has no config.json")
    fields: dict[str, Any] = read_json(config).get("experiment", {})
    known = {field.name for field in dataclasses.fields(Experiment)}
    if set(fields) != known:
        raise RunDirectoryError(
            f"{config} is of another version: fields {sorted(set(fields) ^ known)} differ"
        )
    fields["seeds"] = tuple(fields["seeds"])
    return Experiment(**fields)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is whole or not there."""
    atomic_write({path: json_bytes(value)})


def write_summary(out: Path, results: list[dict[str, Any]]) -> None:
    """Writes results of several runs as summary.json, without the spectra."""
    write_json(
        out / "summary.json", [{k: v for k, v in r.items() if k != "spectrum"} for r in results]
    )


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        RunDirectoryError: if it is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RunDirectoryError(f"{path} is not JSON: {error}") from error


def _position_after(written: bytes) -> MetricsPosition:
    return MetricsPosition(len(written), hashlib.sha256(written).hexdigest())
