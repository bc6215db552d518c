"""How many epochs and steps an experiment takes, and the bar that counts them."""

import time
from collections.abc import Sequence

from tqdm import tqdm

from hcl_jax.system.counting import counted
from hcl_jax.system.processes import is_first
from hcl_jax.system.progress import progress_bar
from scripts.experiments.datasets import load_dataset, training_split
from scripts.experiments.experiment import Experiment
from scripts.runs.runtime import ONE_DEVICE, Runtime

FEW_STEPS = 10
"""An epoch of fewer steps is worth a sentence."""


def steps_bar(experiments: Sequence[Experiment], runtime: Runtime = ONE_DEVICE) -> tqdm:
    """A bar that counts the steps of these experiments; the first of them is compiled."""
    total = sum(num_steps(experiment, runtime) for experiment in experiments)
    return progress_bar(
        total=total, unit="step", desc="compiling the first step", disable=not is_first()
    )


def count_untimed(progress: tqdm, steps: int) -> None:
    """Counts steps whose time says nothing of the steps to come.

    They were taken before this process began, or the first of them was compiled.
    """
    with progress.get_lock():
        progress.n += steps
        progress.initial = progress.last_print_n = progress.n
        progress.last_print_t = time.time()
        progress.refresh()


def few_steps(experiment: Experiment, runtime: Runtime) -> str | None:
    """A sentence, where an epoch of one's own data has so few steps that more may be meant."""
    steps, batch = steps_per_epoch(experiment, runtime), experiment.images_per_step
    if not experiment.is_own or steps >= FEW_STEPS:
        return None
    return (
        f"{counted(steps, 'step')} an epoch of {counted(batch, 'image')} each, "
        f"{num_steps(experiment, runtime)} in all: a smaller --batch-size or more --epochs gives "
        f"more"
    )


def num_steps(experiment: Experiment, runtime: Runtime) -> int:
    """The number of steps an experiment takes; its seeds take them together."""
    return num_epochs(experiment) * steps_per_epoch(experiment, runtime)


def num_epochs(experiment: Experiment) -> int:
    """The number of epochs of an experiment, with those in which its network is fitted first."""
    return experiment.epochs - epoch_before_training(experiment)


def steps_per_epoch(experiment: Experiment, runtime: Runtime) -> int:
    """Whole batches in the split that is trained on."""
    images = len(training_split(load_dataset(experiment.source, runtime.data_dir)).labels)
    return images // experiment.images_per_step


def epoch_before_training(experiment: Experiment) -> int:
    """The number of the epoch before the first one: 0, or less if the network is fitted first."""
    return -experiment.fit_epochs if experiment.initialization == "near_nc" else 0


def evaluation_epochs(experiment: Experiment) -> set[int]:
    """Epochs after which the representation is measured: spread evenly, the last one among them."""
    count = min(experiment.evaluations, experiment.epochs)
    return {round(experiment.epochs * (i + 1) / count) for i in range(count)}
