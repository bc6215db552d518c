"""Runs an experiment: epochs on the devices, evaluations, checkpoints, the progress bar.

A run that was stopped, in whatever way, resumes from its last checkpoint when it is started again,
and ends with the same numbers: the order of images, views and draws depends on the key and the
number of the step alone, and what was measured after the checkpoint is taken back first.
"""

import contextlib
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from hcl_jax.checkpoints import Checkpoints, Restored
from hcl_jax.data import chunks
from hcl_jax.system.preemption import Preemption, preemption
from hcl_jax.training import (
    AXIS,
    DataParallel,
    Runner,
    SingleDevice,
    StepInfo,
    Target,
    TrainState,
    epoch_batches,
    simplex_targets,
)
from scripts.experiments.datasets import load_dataset
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import keys_of, objective_of, program_of
from scripts.runs.evaluation import (
    PlacedDataset,
    SplitEmbeddings,
    embed_splits,
    evaluation_records,
    final_arrays,
    place_dataset,
)
from scripts.runs.exit_status import PreemptedError, RefusedError
from scripts.runs.non_finite import check_finite_losses
from scripts.runs.progress import (
    epoch_before_training,
    evaluation_epochs,
    num_steps,
    steps_per_epoch,
)
from scripts.runs.run_directory import (
    NO_METRICS,
    MetricsPosition,
    RunDirectory,
    finished_results,
    open_run,
)
from scripts.runs.runtime import ONE_DEVICE, Runtime

STREAMED_BYTES = 2**27
"""At most so much of a streamed set is in a chunk: 128 MiB."""


def run(
    experiment: Experiment, path: Path, progress: tqdm, runtime: Runtime = ONE_DEVICE
) -> list[dict[str, Any]]:
    """Trains all seeds of an experiment and writes its run directory.

    Args:
        experiment: what is to run.
        path: the run directory. A finished run of the same experiment is not run again, and an
            unfinished one resumes from its last checkpoint.
        progress: a bar that counts steps.
        runtime: devices, data and checkpoints.

    Returns:
        The last evaluation of every seed.

    Raises:
        NonFiniteLossError: if a loss is NaN or infinite; what was written so far stays.
        RunDirectoryError: if the directory holds a run of another experiment.
        PreemptedError: after SIGTERM, when the state is saved.
        RefusedError: if the batch does not fit the data or the devices, or the network the data.
    """
    results = finished_results(path, experiment)
    if results is not None:
        progress.update(num_steps(experiment, runtime))
        return results
    runner = _runner(experiment, runtime)
    loaded = load_dataset(experiment.data, runtime.data_dir)
    data = place_dataset(loaded, runner, round(runtime.resident_gib * 2**30))
    if data.trained.resident is None and len(experiment.seeds) > 1:
        raise RefusedError(
            f"{experiment.data} is larger than the {runtime.resident_gib:g} GiB that may live on "
            f"the device, and streams; then seeds run one by one, not {len(experiment.seeds)} at "
            f"once"
        )
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(open_run(path, experiment))
        checkpoints = None
        if runtime.keep:
            checkpoints = stack.enter_context(
                Checkpoints(path / "checkpoints", keep=runtime.keep, best="top1")
            )
        stop = stack.enter_context(preemption())
        return _Run(
            experiment, runtime, runner, data, directory, checkpoints, stop, progress
        ).finish()


def _runner(experiment: Experiment, runtime: Runtime) -> Runner:
    """Compiles for the devices that were asked for; refuses what cannot be trained on them."""
    devices = runtime.chosen_devices()
    count = jax.device_count() if devices is None else len(devices)
    steps = steps_per_epoch(experiment, runtime)
    if not steps:
        raise RefusedError(
            f"a batch of {experiment.images_per_step} is more than all training images of "
            f"{experiment.data}"
        )
    try:
        axis_name = AXIS if count > 1 else None
        program = program_of(experiment, steps_per_epoch=steps, axis_name=axis_name)
    except ValueError as error:  # the network does not take images of this shape
        raise RefusedError(str(error)) from error
    if experiment.images_per_step % count:
        raise RefusedError(
            f"a batch of {experiment.images_per_step} cannot be spread evenly over {count} "
            f"devices; choose a batch size that they divide, or fewer devices"
        )
    views = 2 if experiment.positives == "views" else 1
    images = views * experiment.images_per_step // count
    if images % experiment.parts:
        raise RefusedError(
            f"the {images} images of a batch on one device cannot be cut into {experiment.parts} "
            f"equal parts; choose a number of parts that divides them"
        )
    return SingleDevice(program) if count == 1 else DataParallel(program, devices=devices)


@dataclasses.dataclass
class _Run:
    """One run in progress."""

    experiment: Experiment
    runtime: Runtime
    runner: Runner
    data: PlacedDataset
    directory: RunDirectory
    checkpoints: Checkpoints | None
    stop: Preemption
    progress: tqdm

    def finish(self) -> list[dict[str, Any]]:
        """Trains for all epochs that are left; returns the last evaluation."""
        epoch, states = self._begin()
        due, saved = evaluation_epochs(self.experiment), time.monotonic()
        embeddings = None
        while epoch < self.experiment.epochs:
            epoch += 1
            losses, states = self._epoch(epoch, states)
            records, embeddings = [], None
            if epoch in due or epoch == 0:
                records, embeddings = self._evaluate(states, epoch, losses.mean(axis=1))
            stop = self.stop.requested_anywhere()
            late = time.monotonic() - saved >= self.runtime.checkpoint_seconds
            if stop or late or epoch == self.experiment.epochs:
                self._save(epoch, states, records)
                saved = time.monotonic()
            if stop and epoch < self.experiment.epochs:
                self._end_early(epoch)
        return self._write_results(states, embeddings)

    def _begin(self) -> tuple[int, TrainState]:
        """The epoch after which training begins or resumes, and the states there."""
        restored = self._restored()
        if restored is None:
            self.directory.rewind(NO_METRICS)
            states = self.runner.init(keys_of(self.experiment))
            epoch = epoch_before_training(self.experiment)
            if epoch == 0:
                self._evaluate(states, 0, None)
            return epoch, states
        for rejected in restored.rejected:
            self.progress.write(f"not used: {rejected}", file=sys.stderr)
        notes = restored.notes
        self.directory.rewind(MetricsPosition(notes["metrics_length"], notes["metrics_digest"]))
        epochs = notes["epoch"] - epoch_before_training(self.experiment)
        self.progress.update(epochs * steps_per_epoch(self.experiment, self.runtime))
        self.progress.write(f"resumes after epoch {notes['epoch']}", file=sys.stderr)
        return notes["epoch"], self.runner.replicate(restored.state)

    def _restored(self) -> Restored | None:
        if self.checkpoints is None:
            return None
        like = self.runner.abstract_states(keys_of(self.experiment))
        return self.checkpoints.restore_latest(like)

    def _epoch(
        self, epoch: int, states: TrainState
    ) -> tuple[Float[np.ndarray, "seed step"], TrainState]:
        """Trains for one epoch; returns the losses of its steps, and the states after it."""
        second = epoch == epoch_before_training(self.experiment) + 2
        profile = self.runtime.profile if second else None
        with jax.profiler.trace(str(profile)) if profile else contextlib.nullcontext():
            states, infos = self._steps(states, self._target(epoch))
            infos = jax.tree.map(np.asarray, infos)
        check_finite_losses(infos, epoch, self.experiment, self.directory)
        self.progress.update(infos.loss.shape[1])
        self.progress.set_postfix_str(
            f"{self.experiment.data} {self.experiment.method} loss {infos.loss.mean():.4f}",
            refresh=False,
        )
        if epoch == 0:
            states = self.runner.restart(states)
        return infos.loss, states

    def _target(self, epoch: int) -> Target:
        """What this epoch minimises: the objective, or before epoch 1 the distance to a simplex."""
        if epoch > 0:
            return objective_of(self.experiment)
        return simplex_targets(self.data.num_classes, self.experiment.embedding_dim)

    def _steps(self, states: TrainState, target: Target) -> tuple[TrainState, StepInfo]:
        split, resident = self.data.trained
        if resident is not None:
            states, infos = self.runner.train_epoch(states, resident, target)
            return states, self.runner.fetch(infos)
        size = self.experiment.images_per_step
        state = jax.tree.map(lambda leaf: leaf[0], self.runner.fetch(states))
        order = np.asarray(epoch_batches(state, len(split.labels), size))
        infos, put = [], self.runner.split_batches
        steps = max(1, STREAMED_BYTES // (size * split.images[:1].nbytes))
        with contextlib.closing(chunks(split, order, steps_per_chunk=steps, put=put)) as coming:
            for batches in coming:
                states, info = self.runner.train_batches(states, batches, target)
                infos.append(jax.tree.map(np.asarray, self.runner.fetch(info)))
        return states, jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *infos)

    def _evaluate(
        self, states: TrainState, epoch: int, losses: Float[np.ndarray, " seed"] | None
    ) -> tuple[list[dict[str, Any]], SplitEmbeddings]:
        embeddings = embed_splits(self.runner, states, self.data)
        records = evaluation_records(
            self.experiment,
            self.runner,
            states,
            self.data,
            embeddings,
            epoch=epoch,
            losses=losses,
        )
        for record in records:
            self.directory.append(record)
        return records, embeddings

    def _save(self, epoch: int, states: TrainState, records: list[dict[str, Any]]) -> None:
        if self.checkpoints is None:
            return
        position = self.directory.metrics_position()
        notes = {
            "epoch": epoch,
            "metrics_length": position.length,
            "metrics_digest": position.digest,
        }
        if records:
            notes["top1"] = float(np.mean([record["top1"] for record in records]))
        number = epoch - epoch_before_training(self.experiment)
        self.checkpoints.save(number, self.runner.as_global_arrays(states), notes)

    def _end_early(self, epoch: int) -> None:
        """Stops after an epoch whose state is saved, as a signal asked."""
        if self.checkpoints is None:
            raise PreemptedError(f"asked to stop after epoch {epoch}, without checkpoints")
        self.checkpoints.wait()
        raise PreemptedError(
            f"asked to stop; the same command resumes after epoch {epoch} of "
            f"{self.experiment.epochs}"
        )

    def _write_results(
        self, states: TrainState, embeddings: SplitEmbeddings | None
    ) -> list[dict[str, Any]]:
        """Writes the results; embeds once more if the last evaluation was in another process."""
        if embeddings is None:
            embeddings = embed_splits(self.runner, states, self.data)
        last = self.experiment.epochs
        results = [record for record in self.directory.records() if record["epoch"] == last]
        self.directory.finish(results, final_arrays(embeddings, self.data))
        return results
