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
from hcl_jax.system.preemption import Preemption, preemption
from hcl_jax.training import Runner, Target, TrainState, run_epoch, simplex_targets
from scripts.experiments.datasets import load_dataset
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import keys_of, objective_of
from scripts.runs.evaluation import (
    Evaluation,
    PlacedDataset,
    embed_splits,
    evaluate,
    final_arrays,
    place_dataset,
)
from scripts.runs.exit_status import PreemptedError
from scripts.runs.non_finite import check_finite_embeddings, check_finite_steps
from scripts.runs.progress import (
    count_untimed,
    epoch_before_training,
    evaluation_epochs,
    num_steps,
    steps_per_epoch,
)
from scripts.runs.resuming import (
    changes_since_the_beginning,
    notes_of,
    place_in_run,
    refuse_to_discard,
)
from scripts.runs.run_directory import CHECKPOINTS, RunDirectory, open_run
from scripts.runs.run_files import finished_results
from scripts.runs.runners import runner_of
from scripts.runs.runtime import ONE_DEVICE, Runtime


def run(
    experiment: Experiment,
    path: Path,
    progress: tqdm,
    runtime: Runtime = ONE_DEVICE,
    *,
    stop: Preemption | None = None,
) -> list[dict[str, Any]]:
    """Trains all seeds of an experiment and writes its run directory.

    Args:
        experiment: what is to run.
        path: the run directory. A finished run of the same experiment is not run again, and an
            unfinished one resumes from its last checkpoint.
        progress: a bar that counts steps.
        runtime: devices, data and checkpoints.
        stop: whether to end early; by default signals are listened to, in the main thread only.

    Returns:
        The last evaluation of every seed.

    Raises:
        NonFiniteError: if a loss, gradient, parameter or embedding is NaN or infinite; what was
            written so far stays.
        RunDirectoryError: if the directory holds a run of another experiment, or is damaged.
        PreemptedError: after a signal that asks to stop, when the state is saved.
        RefusedError: if the batch does not fit the data or the devices, or the network the data; if
            another process trains in the directory; if a setting of JAX has changed since the run
            began, or a checkpoint is of a longer run; if the directory has checkpoints and
            `runtime` keeps none.
    """
    results = finished_results(path, experiment, longer=runtime.continues)
    if results is not None:
        progress.set_description_str(refresh=False)
        count_untimed(progress, num_steps(experiment, runtime))
        _say_without_profile(runtime, progress)
        return results
    runner = runner_of(experiment, runtime)
    loaded = load_dataset(experiment.source, runtime.data_dir)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(open_run(path, experiment, longer=runtime.continues))
        data = place_dataset(loaded, runner, runtime.resident_bytes)
        checkpoints = None
        if not runtime.keep:
            refuse_to_discard(path)
        else:
            checkpoints = stack.enter_context(
                Checkpoints(path / CHECKPOINTS, keep=runtime.keep, best="top1")
            )
        if stop is None:
            stop = stack.enter_context(preemption(runtime.signals))
        return _Run(
            experiment, runtime, runner, data, directory, checkpoints, stop, progress
        ).finish()


def _say_without_profile(runtime: Runtime, progress: tqdm) -> None:
    """Says of a run that is past its second epoch that it leaves no profile, if one is wanted."""
    if runtime.profile is not None:
        progress.write("no profile is written: the second epoch is over", file=sys.stderr)


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
    compiled: bool = False

    def finish(self) -> list[dict[str, Any]]:
        """Trains for all epochs that are left; returns the last evaluation."""
        epoch, states = self._begin()
        due, saved = evaluation_epochs(self.experiment), time.monotonic()
        found = None
        while epoch < self.experiment.epochs:
            epoch += 1
            losses, states = self._epoch(epoch, states)
            found = None
            if epoch in due or epoch == 0:
                found = self._evaluate(states, epoch, losses.mean(axis=1))
                self._record(found)
            stop = self.stop.requested_anywhere()
            late = time.monotonic() - saved >= self.runtime.checkpoint_seconds
            if stop or late or epoch == self.experiment.epochs:
                self._save(epoch, states, [] if found is None else found.records)
                saved = time.monotonic()
            if stop and epoch < self.experiment.epochs:
                self._end_early(epoch)
        if found is None:  # the last evaluation was in another process
            found = self._evaluate(states, epoch, None)
        return self._write_results(found)

    def _begin(self) -> tuple[int, TrainState]:
        """The epoch after which training begins or resumes, and the states there."""
        first = epoch_before_training(self.experiment)
        restored = self._restored()
        if restored is None:
            self.directory.begin()
            states = self.runner.init(keys_of(self.experiment))
            if first == 0:
                self._record(self._evaluate(states, 0, None))
            return first, states
        for rejected in restored.rejected:
            self.progress.write(f"not used: {rejected}", file=sys.stderr)
        epoch, position = place_in_run(restored, self.experiment, self.directory.path)
        self.directory.resume(position)
        before = (epoch - first) * steps_per_epoch(self.experiment, self.runtime)
        count_untimed(self.progress, before)
        self.progress.write(f"resumes after epoch {epoch}", file=sys.stderr)
        if epoch >= first + 2:
            _say_without_profile(self.runtime, self.progress)
        return epoch, self.runner.replicate(restored.state)

    def _restored(self) -> Restored | None:
        """The last checkpoint, unless settings have changed that it depends on."""
        if self.checkpoints is None or not self.checkpoints.steps():
            return None
        for change in changes_since_the_beginning(self.directory.path, self.runtime):
            self.progress.write(change, file=sys.stderr)
        like = self.runner.abstract_states(keys_of(self.experiment))
        return self.checkpoints.restore_latest(like)

    def _epoch(
        self, epoch: int, states: TrainState
    ) -> tuple[Float[np.ndarray, "seed step"], TrainState]:
        """Trains for one epoch; returns the losses of its steps, and the states after it."""
        second = epoch == epoch_before_training(self.experiment) + 2
        profile = self.runtime.profile if second else None
        with jax.profiler.trace(str(profile)) if profile else contextlib.nullcontext():
            states, infos = run_epoch(self.runner, states, self.data.trained, self._target(epoch))
            finite = self.runner.fetch(self.runner.all_finite(states))
            infos, finite = jax.tree.map(np.asarray, (infos, finite))
        check_finite_steps(infos, finite, epoch, self.experiment, self.directory)
        shown = f"{self.experiment.data_label} {self.experiment.method}"
        with self.progress.get_lock():  # other runs may share the bar
            if self.compiled:
                self.progress.update(infos.loss.shape[1])
            else:
                self.progress.set_description_str(refresh=False)
                count_untimed(self.progress, infos.loss.shape[1])
                self.compiled = True
            self.progress.set_postfix_str(f"{shown} loss {infos.loss.mean():.4f}", refresh=False)
        if epoch == 0:
            states = self.runner.restart(states)
        return infos.loss, states

    def _target(self, epoch: int) -> Target:
        """What this epoch minimises: the objective, or before epoch 1 the distance to a simplex."""
        if epoch > 0:
            return objective_of(self.experiment)
        return simplex_targets(self.data.num_classes, self.experiment.embedding_dim)

    def _evaluate(
        self, states: TrainState, epoch: int, losses: Float[np.ndarray, " seed"] | None
    ) -> Evaluation:
        probes = self.experiment.probes
        embedded = embed_splits(self.runner, states, self.data, probes=probes)
        found = tuple(split.embeddings for split in embedded)
        steps = max(epoch, 0) * steps_per_epoch(self.experiment, self.runtime)
        check_finite_embeddings(found, steps, epoch, self.experiment, self.directory)
        return evaluate(
            self.experiment,
            self.runner,
            states,
            self.data,
            embedded,
            epoch=epoch,
            losses=losses,
        )

    def _record(self, evaluation: Evaluation) -> None:
        self.directory.append_class_means(evaluation.class_means)
        for record in evaluation.records:
            self.directory.append(record)

    def _save(self, epoch: int, states: TrainState, records: list[dict[str, Any]]) -> None:
        if self.checkpoints is None:
            return
        notes: dict[str, Any] = notes_of(epoch, self.directory.metrics_position())
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

    def _write_results(self, evaluation: Evaluation) -> list[dict[str, Any]]:
        """Writes the results, which are those that were recorded, and the embeddings."""
        last = self.experiment.epochs
        results = [record for record in self.directory.records() if record["epoch"] == last]
        self.directory.finish(results, final_arrays(evaluation, self.data))
        return results
