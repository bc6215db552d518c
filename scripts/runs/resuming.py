"""What a run finds of itself when it is started again: where it was, and in which environment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hcl_jax.checkpoints import Restored
from hcl_jax.checkpoints.directory import CheckpointDirectory
from hcl_jax.system.counting import counted
from hcl_jax.system.processes import is_first, processes_where
from scripts.experiments.experiment import Experiment
from scripts.runs.exit_status import RefusedError
from scripts.runs.progress import epoch_before_training
from scripts.runs.provenance import changed_machine, changed_settings, environment
from scripts.runs.run_directory import CHECKPOINTS, MetricsPosition
from scripts.runs.run_files import CONFIG, RunDirectoryError, read_config
from scripts.runs.runtime import Runtime


def notes_of(epoch: int, position: MetricsPosition) -> dict[str, Any]:
    """What a checkpoint after an epoch says of its place in the run."""
    return {
        "epoch": epoch,
        "metrics_length": position.length,
        "metrics_digest": position.digest,
    }


def place_in_run(
    restored: Restored, experiment: Experiment, path: Path
) -> tuple[int, MetricsPosition]:
    """The epoch of a checkpoint, and how far the metrics had been written then.

    Raises:
        RunDirectoryError: if its notes are not those of a run.
        RefusedError: if it is of a longer run.
    """
    first = epoch_before_training(experiment)
    match restored.notes:
        case {
            "epoch": int(epoch),
            "metrics_length": int(length),
            "metrics_digest": str(digest),
        } if epoch - first == restored.step and length >= 0:
            if epoch > experiment.epochs:
                raise RefusedError(
                    f"{path / CHECKPOINTS} has a checkpoint of epoch {epoch}, but the run has "
                    f"{counted(experiment.epochs, 'epoch')}; is it of another run?"
                )
            return epoch, MetricsPosition(length, digest)
    raise RunDirectoryError(
        f"{CheckpointDirectory(path / CHECKPOINTS).path_of(restored.step)} does not say where in "
        f"the run it was saved"
    )


def refuse_to_discard(path: Path) -> None:
    """Raises RefusedError if an interrupted run has checkpoints, which a run that keeps none loses.

    It would begin again and leave them there, to be resumed from later.
    """
    if processes_where(is_first() and bool(CheckpointDirectory(path / CHECKPOINTS).steps())):
        raise RefusedError(
            f"{path} has checkpoints of an interrupted run, which --keep 0 does not resume: leave "
            f"--keep 0 out to resume it, or choose another directory with --out"
        )


def changes_since_the_beginning(path: Path, runtime: Runtime) -> Iterator[str]:
    """A line for what has changed since a run began, and may change its numbers.

    Raises:
        RefusedError: if a setting of JAX has changed with which numbers are others, unless the run
            is to be resumed anyway.
        RunDirectoryError: if nothing says how it began.
    """
    config = read_config(path)
    if config is None:
        raise RunDirectoryError(f"{path} has checkpoints, but no {CONFIG} that says of what")
    now = environment()
    settings = "; ".join(changed_settings(config.environment, now))
    if settings and not runtime.resume_anyway:
        raise RefusedError(
            f"{path} began under other settings of JAX, which give other numbers: {settings}; set "
            f"them as they were, or resume anyway with --resume-anyway"
        )
    for changes in (settings, "; ".join(changed_machine(config.environment, now))):
        if changes:
            yield f"numbers may differ from those of an uninterrupted run: {changes}"
