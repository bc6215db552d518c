"""The runner of an experiment on the devices that were asked for, and what is refused there."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from hcl_jax.data import Dataset, ImageSet, Split
from hcl_jax.data.balanced_batches import check_enough_of_every_class
from hcl_jax.training import AXIS, DataParallel, Runner, SingleDevice
from hcl_jax.training.program import check_batch, check_pairs
from scripts.experiments.datasets import load_dataset, training_split
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import keys_of, program_of
from scripts.runs.exit_status import RefusedError
from scripts.runs.progress import num_epochs, steps_per_epoch
from scripts.runs.run_files import why_not_continued
from scripts.runs.runtime import Runtime


def refuse_what_does_not_fit(experiments: Iterable[Experiment], runtime: Runtime) -> None:
    """Says at once what would be found out when the turn of an experiment comes.

    Raises:
        RefusedError: if a batch does not fit the data or the devices, or a network the data; if no
            batch could have a positive and a negative; if there is too little memory for what is
            trained; if it is to be continued, and would have been another run from its beginning;
            if there is no second epoch for a profile.
    """
    for experiment in experiments:
        if runtime.continues and experiment.length_matters:
            raise RefusedError(f"--continue does not fit: {why_not_continued(experiment)}")
        if runtime.profile is not None and num_epochs(experiment) < 2:
            raise RefusedError("--profile is of the second epoch, and there is only one")
        runner_of(experiment, runtime)


def runner_of(experiment: Experiment, runtime: Runtime) -> Runner:
    """A runner for the devices that were asked for; compiles nothing yet.

    Raises:
        RefusedError: if the batch does not fit the data or the devices, or the network the data; if
            no batch could have a positive and a negative; if there is too little memory for what is
            trained.
    """
    devices = runtime.chosen_devices()
    count = jax.device_count() if devices is None else len(devices)
    loaded = load_dataset(experiment.source, runtime.data_dir)
    split = training_split(loaded)
    _check_balance(experiment, loaded, split)
    _check_batch(experiment, split, count)
    _check_streaming(experiment, split, runtime)
    with _refusing():  # a network or views that do not take images of this shape, and no pairs
        program = program_of(
            experiment,
            steps_per_epoch=steps_per_epoch(experiment, runtime),
            axis_name=AXIS if count > 1 else None,
        )
        labels, of = np.asarray(split.labels), f" of {experiment.data}"
        check_pairs(labels, program, supervised=experiment.is_supervised, of=of)
    runner = SingleDevice(program) if count == 1 else DataParallel(program, devices=devices)
    _check_memory(experiment, runner, devices or jax.local_devices())
    return runner


@contextlib.contextmanager
def _refusing(of: str = "") -> Iterator[None]:
    """Refuses what the library has a ValueError for; `of` is said before."""
    try:
        yield
    except ValueError as error:
        raise RefusedError(f"{of}{error}") from error


def _check_batch(experiment: Experiment, split: Split, count: int) -> None:
    """Whether the batch is one of the data, and can be cut for devices and parts."""
    with _refusing():
        check_batch(
            experiment.images_per_step,
            num_images=len(split.labels),
            num_devices=count,
            positives=experiment.positives,
            parts=experiment.parts,
            of=f" of {experiment.data}",
        )


def _check_memory(experiment: Experiment, runner: Runner, devices: Sequence[Any]) -> None:
    """Whether what is trained, with the state of the optimizer, is no more than the memory."""
    limit = memory_of_each(devices)
    states = jax.tree.leaves(runner.abstract_states(keys_of(experiment)))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in states)
    if limit is not None and size > limit:
        raise RefusedError(
            f"the parameters and the state of the optimizer take {size / 2**30:.1f} GiB, and there "
            f"are {limit / 2**30:.1f} GiB on each device: a smaller dim or network takes less, and "
            f"so do fewer seeds"
        )


def memory_of_each(devices: Sequence[Any]) -> int | None:
    """Bytes that each of some devices has, or None if that is not known; CPUs share the host's."""
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    if devices[0].platform == "cpu":
        try:
            limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(devices)]
        except (ValueError, OSError, AttributeError):
            return None
    return min((limit for limit in limits if limit is not None), default=None)


def _check_balance(experiment: Experiment, loaded: Dataset | ImageSet, split: Split) -> None:
    """Whether there are enough images of every class."""
    if experiment.per_class is None:
        return
    labels = np.asarray(split.labels)
    with _refusing(f"the training images of {experiment.data}: "):
        check_enough_of_every_class(
            labels, loaded.num_classes, experiment.per_class, names=loaded.class_names
        )


def _check_streaming(experiment: Experiment, split: Split, runtime: Runtime) -> None:
    """Whether the seeds can train side by side."""
    size = split.images.nbytes + split.labels.nbytes
    if size > runtime.resident_bytes and len(experiment.seeds) > 1:
        raise RefusedError(
            f"{experiment.data} is larger than the {runtime.resident_gib:g} GiB that may live on "
            f"the device, and streams; then seeds run one by one, not {len(experiment.seeds)} at "
            f"once"
        )
