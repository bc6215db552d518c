"""Runs an experiment: epochs on the device, evaluations, the run directory, the progress bar."""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm import tqdm

from hcl_jax import evaluation, geometry
from hcl_jax.data import Split
from hcl_jax.training import Program, TrainState, embed, init_state, train_epoch_of_seeds
from scripts.experiments import Experiment, corner_of, dataset_of, program_of
from scripts.run_directory import RunDirectory, RunDirectoryError, finished_results, open_run


class NonFiniteLossError(Exception):
    """Training met a loss that is NaN or infinite."""


def reported(out: Path, job: Callable[[], None]) -> int:
    """Runs the job of a command line and says in one line why it stopped, if it did.

    Args:
        out: where the job writes.
        job: what to do.

    Returns:
        The exit status: 0, 1 after an error that a user can understand, 130 after Ctrl-C.
    """
    try:
        job()
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was measured so far is in {out}", file=sys.stderr)
        return 130
    except (NonFiniteLossError, RunDirectoryError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\ncannot read or write {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def progress_bar(experiments: Sequence[Experiment]) -> tqdm:
    """A bar that counts the steps of these experiments; in a log file, a line now and then."""
    total = sum(num_steps(experiment) for experiment in experiments)
    return tqdm(total=total, unit="step", mininterval=0.5 if sys.stderr.isatty() else 15)


def num_steps(experiment: Experiment) -> int:
    """The number of steps an experiment takes; its seeds take them together."""
    program, dataset = program_of(experiment), dataset_of(experiment.data)
    return experiment.epochs * (len(dataset.train.labels) // program.batch_size)


def run(experiment: Experiment, path: Path, progress: tqdm) -> list[dict[str, Any]]:
    """Trains all seeds of an experiment and writes its run directory.

    Args:
        experiment: what is to run.
        path: the run directory. A finished run of the same experiment is not run again.
        progress: a bar that counts steps.

    Returns:
        The last evaluation of every seed.

    Raises:
        NonFiniteLossError: if a loss is NaN or infinite; what was written so far stays.
        RunDirectoryError: if the directory holds a run of another experiment.
    """
    results = finished_results(path, experiment)
    if results is not None:
        progress.update(num_steps(experiment))
        return results
    with open_run(path, experiment) as directory:
        return _train(experiment, directory, progress)


def _train(experiment: Experiment, directory: RunDirectory, progress: tqdm):
    program, dataset = program_of(experiment), dataset_of(experiment.data)
    corner = corner_of(experiment)
    keys = jax.vmap(jax.random.key)(np.asarray(experiment.seeds))
    states = _init(keys, program)
    records = _evaluate(experiment, states, dataset, program, epoch=0, losses=None)
    for record in records:
        directory.append(record)
    due = _evaluation_epochs(experiment)
    for epoch in range(1, experiment.epochs + 1):
        states, infos = train_epoch_of_seeds(states, dataset.train, corner, program)
        losses = np.asarray(infos.loss)
        _check_finite(losses, experiment, first_step=(epoch - 1) * losses.shape[1])
        progress.update(losses.shape[1])
        progress.set_postfix_str(
            f"{experiment.data} {experiment.method} loss {losses.mean():.4f}", refresh=False
        )
        if epoch in due:
            mean_losses = losses.mean(axis=1)
            records = _evaluate(experiment, states, dataset, program, epoch, mean_losses)
            for record in records:
                directory.append(record)
    arrays = _final_arrays(states, dataset.train, dataset.test, dataset.num_classes, program)
    directory.finish(records, jax.tree.map(np.asarray, arrays))
    return records


def _evaluation_epochs(experiment: Experiment) -> set[int]:
    """Epochs spread evenly, the last one among them."""
    count = min(experiment.evaluations, experiment.epochs)
    return {round(experiment.epochs * (i + 1) / count) for i in range(count)}


def _check_finite(losses: np.ndarray, experiment: Experiment, first_step: int) -> None:
    if np.isfinite(losses).all():
        return
    seed, step = np.argwhere(~np.isfinite(losses))[0]
    raise NonFiniteLossError(
        f"the loss is {losses[seed, step]} at step {first_step + step + 1} of {experiment.method} "
        f"(beta = {experiment.beta:g}, seed {experiment.seeds[seed]}, {experiment.data}, "
        f"{experiment.normalization}); everything before it is kept"
    )


def _evaluate(experiment, states, dataset, program, epoch, losses) -> list[dict[str, Any]]:
    measured, accuracies = _measure(
        states, dataset.train, dataset.test, dataset.num_classes, program
    )
    measured = jax.tree.map(np.asarray, measured._asdict())
    records = []
    for i, seed in enumerate(experiment.seeds):
        record = {
            "data": experiment.data,
            "objective": experiment.objective,
            "beta": experiment.beta,
            "normalization": experiment.normalization,
            "positives": experiment.positives,
            "seed": seed,
            "epoch": epoch,
            "step": int(states.step[i]),
            "loss": None if losses is None else float(losses[i]),
            "dim": measured["spectrum"].shape[1],
        }
        record |= {name: value[i].tolist() for name, value in measured.items()}
        records.append(record | {name: float(value[i]) for name, value in accuracies.items()})
    return records


@functools.partial(jax.jit, static_argnames=("num_classes", "program"))
def _measure(
    states: TrainState, train: Split, test: Split, num_classes: int, program: Program
) -> tuple[geometry.Geometry, dict[str, Float[Array, " seeds"]]]:
    """Geometry on the training set and accuracies on the test set, of every seed."""

    def measure_one(state):
        embeddings = _embeddings(state, train, program)
        means = geometry.class_means(embeddings, train.labels, num_classes)
        scores = evaluation.class_mean_scores(_embeddings(state, test, program), means)
        accuracies = {
            f"top{k}": evaluation.top_k_accuracy(scores, test.labels, min(k, num_classes))
            for k in (1, 5)
        }
        return geometry.measure(embeddings, train.labels, num_classes), accuracies

    return jax.vmap(measure_one)(states)


@functools.partial(jax.jit, static_argnames="program")
def _init(keys: PRNGKeyArray, program: Program) -> TrainState:
    return jax.vmap(lambda key: init_state(key, program))(keys)


@functools.partial(jax.jit, static_argnames=("num_classes", "program"))
def _final_arrays(
    states: TrainState, train: Split, test: Split, num_classes: int, program: Program
) -> dict[str, Array]:
    """Embeddings of both splits and class means, with the seeds along the leading axis."""

    def of_one(state):
        embeddings = _embeddings(state, train, program)
        return {
            "train_embeddings": embeddings,
            "test_embeddings": _embeddings(state, test, program),
            "class_means": geometry.class_means(embeddings, train.labels, num_classes),
        }

    labels = {"train_labels": train.labels, "test_labels": test.labels}
    return jax.vmap(of_one)(states) | labels


def _embeddings(state: TrainState, split: Split, program: Program) -> Float[Array, "n dim"]:
    _, embeddings = embed(state.variables, split.images, program.model, program.normalization)
    return embeddings
