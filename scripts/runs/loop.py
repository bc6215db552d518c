"""Runs an experiment: epochs on the devices, evaluations, checkpoints, the progress bar.

A run that was stopped, in whatever way, goes on from its last checkpoint when it is started again,
and ends with the same numbers: the order of images, views and draws depends on the key and the
number of the step alone, and what was measured after the checkpoint is taken back first.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from hcl_jax.checkpoints import Checkpoints, Restored
from hcl_jax.data import chunks
from hcl_jax.system.preemption import Preemption, preemption
from hcl_jax.system.processes import is_first
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
from scripts.experiments.datasets import dataset_of, trained_on
from scripts.experiments.experiment import Experiment, keys_of, objective_of, program_of
from scripts.runs import evaluation
from scripts.runs.evaluation import Embedded, Placed
from scripts.runs.exit_status import NonFiniteLossError, PreemptedError, RefusedError
from scripts.runs.run_directory import START, Mark, RunDirectory, finished_results, open_run
from scripts.runs.runtime import ONE_DEVICE, Runtime

STREAMED_BYTES = 2**27
"""At most so much of a streamed set is in a chunk: 128 MiB."""

SHOWN_STEPS = 20
"""Steps before a loss that is not finite in its diagnostic."""


def progress_bar(experiments: Sequence[Experiment], runtime: Runtime = ONE_DEVICE) -> tqdm:
    """A bar that counts the steps of these experiments; in a log file, a line now and then."""
    total = sum(num_steps(experiment, runtime) for experiment in experiments)
    interval = 0.5 if sys.stderr.isatty() else 15
    return tqdm(total=total, unit="step", mininterval=interval, disable=not is_first())


def num_steps(experiment: Experiment, runtime: Runtime = ONE_DEVICE) -> int:
    """The number of steps an experiment takes; its seeds take them together."""
    epochs = experiment.epochs - first_epoch(experiment)
    return epochs * steps_per_epoch(experiment, runtime)


def steps_per_epoch(experiment: Experiment, runtime: Runtime) -> int:
    """Whole batches in the split that is trained on."""
    images = len(trained_on(dataset_of(experiment.data, runtime.data_dir)).labels)
    return images // experiment.images_per_step


def first_epoch(experiment: Experiment) -> int:
    """The number of the epoch after which training begins: 0, or less if the network is fitted."""
    return -experiment.fit_epochs if experiment.initialization == "near_nc" else 0


def run(
    experiment: Experiment, path: Path, progress: tqdm, runtime: Runtime = ONE_DEVICE
) -> list[dict[str, Any]]:
    """Trains all seeds of an experiment and writes its run directory.

    Args:
        experiment: what is to run.
        path: the run directory. A finished run of the same experiment is not run again, and an
            unfinished one goes on from its last checkpoint.
        progress: a bar that counts steps.
        runtime: devices, data and checkpoints.

    Returns:
        The last evaluation of every seed.

    Raises:
        NonFiniteLossError: if a loss is NaN or infinite; what was written so far stays.
        RunDirectoryError: if the directory holds a run of another experiment.
        PreemptedError: after SIGTERM, when the state is saved.
        RefusedError: if the batch does not fit the data or the devices.
    """
    results = finished_results(path, experiment)
    if results is not None:
        progress.update(num_steps(experiment, runtime))
        return results
    runner = _runner(experiment, runtime)
    loaded = dataset_of(experiment.data, runtime.data_dir)
    data = evaluation.place(loaded, runner, round(runtime.resident_gib * 2**30))
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
        asked = stack.enter_context(preemption())
        training = _Training(
            experiment, runtime, runner, data, directory, checkpoints, asked, progress
        )
        return training.run()


def _runner(experiment: Experiment, runtime: Runtime) -> Runner:
    devices = runtime.chosen_devices()
    count = jax.device_count() if devices is None else len(devices)
    axis_name = AXIS if count > 1 else None
    steps = steps_per_epoch(experiment, runtime)
    if not steps:
        raise RefusedError(
            f"a batch of {experiment.images_per_step} is more than all training images of "
            f"{experiment.data}"
        )
    program = program_of(experiment, steps_per_epoch=steps, axis_name=axis_name)
    if experiment.images_per_step % count:
        raise RefusedError(
            f"a batch of {experiment.images_per_step} cannot be spread evenly over {count} "
            f"devices; choose a batch size that they divide, or fewer devices"
        )
    return SingleDevice(program) if count == 1 else DataParallel(program, devices=devices)


@dataclasses.dataclass
class _Training:
    """One run in progress."""

    experiment: Experiment
    runtime: Runtime
    runner: Runner
    data: Placed
    directory: RunDirectory
    checkpoints: Checkpoints | None
    asked: Preemption
    progress: tqdm

    def run(self) -> list[dict[str, Any]]:
        """All epochs that are left; returns the last evaluation."""
        epoch, states = self._begin()
        due, saved = _evaluation_epochs(self.experiment), time.monotonic()
        embedded = None
        while epoch < self.experiment.epochs:
            epoch += 1
            losses, states = self._epoch(epoch, states)
            records, embedded = [], None
            if epoch in due or epoch == 0:
                records, embedded = self._evaluate(states, epoch, losses.mean(axis=1))
            stop = self.asked.requested_anywhere()
            late = time.monotonic() - saved >= self.runtime.checkpoint_seconds
            if stop or late or epoch == self.experiment.epochs:
                self._save(epoch, states, records)
                saved = time.monotonic()
            if stop and epoch < self.experiment.epochs:
                self._stop(epoch)
        return self._finish(states, embedded)

    def _begin(self) -> tuple[int, TrainState]:
        """The epoch after which to go on, and the state there."""
        restored = self._restored()
        if restored is None:
            self.directory.rewind(START)
            states = self.runner.init(keys_of(self.experiment))
            if first_epoch(self.experiment) == 0:
                self._evaluate(states, 0, None)
            return first_epoch(self.experiment), states
        for rejected in restored.rejected:
            self.progress.write(f"not used: {rejected}", file=sys.stderr)
        notes = restored.notes
        self.directory.rewind(Mark(notes["metrics_length"], notes["metrics_digest"]))
        epochs = notes["epoch"] - first_epoch(self.experiment)
        self.progress.update(epochs * steps_per_epoch(self.experiment, self.runtime))
        self.progress.write(f"goes on after epoch {notes['epoch']}", file=sys.stderr)
        return notes["epoch"], self.runner.replicate(restored.state)

    def _restored(self) -> Restored | None:
        if self.checkpoints is None:
            return None
        like = self.runner.abstract_states(keys_of(self.experiment))
        return self.checkpoints.restore_latest(like)

    def _epoch(self, epoch: int, states: TrainState) -> tuple[np.ndarray, TrainState]:
        """Trains for one epoch; returns the losses of its steps."""
        profiled = self.runtime.profile if epoch == first_epoch(self.experiment) + 2 else None
        watched = jax.profiler.trace(str(profiled)) if profiled else contextlib.nullcontext()
        with watched:
            states, infos = self._steps(states, self._target(epoch))
            infos = jax.tree.map(np.asarray, infos)
        self._check_finite(infos, epoch)
        self.progress.update(infos.loss.shape[1])
        self.progress.set_postfix_str(
            f"{self.experiment.data} {self.experiment.method} loss {infos.loss.mean():.4f}",
            refresh=False,
        )
        if epoch == 0:
            states = self.runner.restart(states)
        return infos.loss, states

    def _target(self, epoch: int) -> Target:
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
        found = []
        put = self.runner.split_batches
        steps = max(1, STREAMED_BYTES // (size * split.images[:1].nbytes))
        with contextlib.closing(chunks(split, order, steps_per_chunk=steps, put=put)) as coming:
            for batches in coming:
                states, infos = self.runner.train_batches(states, batches, target)
                found.append(jax.tree.map(np.asarray, self.runner.fetch(infos)))
        return states, jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *found)

    def _evaluate(
        self, states: TrainState, epoch: int, losses: np.ndarray | None
    ) -> tuple[list[dict[str, Any]], Embedded]:
        embedded = evaluation.embed(self.runner, states, self.data)
        records = evaluation.evaluate(
            self.experiment, self.runner, states, self.data, embedded, epoch=epoch, losses=losses
        )
        for record in records:
            self.directory.append(record)
        return records, embedded

    def _save(self, epoch: int, states: TrainState, records: list[dict[str, Any]]) -> None:
        if self.checkpoints is None:
            return
        mark = self.directory.mark()
        notes = {
            "epoch": epoch,
            "metrics_length": mark.length,
            "metrics_digest": mark.digest,
        }
        if records:
            notes["top1"] = float(np.mean([record["top1"] for record in records]))
        number = epoch - first_epoch(self.experiment)
        self.checkpoints.save(number, self.runner.as_global_arrays(states), notes)

    def _stop(self, epoch: int) -> None:
        if self.checkpoints is None:
            raise PreemptedError(f"asked to stop after epoch {epoch}, without checkpoints")
        self.checkpoints.wait()
        raise PreemptedError(
            f"asked to stop; the same command goes on after epoch {epoch} of "
            f"{self.experiment.epochs}"
        )

    def _finish(self, states: TrainState, embedded: Embedded | None) -> list[dict[str, Any]]:
        """Writes the results; embeds once more if the last evaluation was in another process."""
        if embedded is None:
            embedded = evaluation.embed(self.runner, states, self.data)
        last = self.experiment.epochs
        results = [r for r in self.directory.records() if r["epoch"] == last]
        self.directory.finish(results, evaluation.final_arrays(embedded, self.data))
        return results

    def _check_finite(self, infos: StepInfo, epoch: int) -> None:
        if np.isfinite(infos.loss).all():
            return
        seed, step = np.argwhere(~np.isfinite(infos.loss))[0]
        experiment = self.experiment
        number = (max(epoch, 1) - 1) * infos.loss.shape[1] + step + 1
        shown = slice(max(0, step - SHOWN_STEPS), step + 1)
        steps = {name: values[seed, shown].tolist() for name, values in infos._asdict().items()}
        self.directory.diagnose(
            {
                "experiment": experiment.name,
                "seed": experiment.seeds[seed],
                "epoch": epoch,
                "step": int(number),
                "steps_shown": len(steps["loss"]),
                **{name: [_number(value) for value in values] for name, values in steps.items()},
            }
        )
        raise NonFiniteLossError(
            f"the loss is {infos.loss[seed, step]} at step {number} of {experiment.method} "
            f"(beta = {experiment.beta:g}, seed {experiment.seeds[seed]}, {experiment.data}, "
            f"{experiment.normalization}); everything before it is kept, and diagnostic.json has "
            f"the losses and norms of the last steps"
        )


def _number(value: float) -> float | str:
    """A number that JSON can hold, or its name."""
    return value if np.isfinite(value) else str(value)


def _evaluation_epochs(experiment: Experiment) -> set[int]:
    """Epochs spread evenly, the last one among them."""
    count = min(experiment.evaluations, experiment.epochs)
    return {round(experiment.epochs * (i + 1) / count) for i in range(count)}
