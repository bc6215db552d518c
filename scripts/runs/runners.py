"""The runner of an experiment on the devices that were asked for, and what is refused there."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from hcl_jax.data.balanced_batches import check_enough_of_every_class
from hcl_jax.training import AXIS, DataParallel, Program, Runner, SingleDevice
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
    _check_balance(experiment, runtime)
    _check_batch(experiment, runtime, count)
    _check_streaming(experiment, runtime)
    program = _program(experiment, runtime, count)
    _check_pairs(experiment, runtime, program)
    runner = SingleDevice(program) if count == 1 else DataParallel(program, devices=devices)
    _check_memory(experiment, runner, devices or jax.local_devices())
    return runner


def _program(experiment: Experiment, runtime: Runtime, count: int) -> Program:
    try:
        program = program_of(
            experiment,
            steps_per_epoch=steps_per_epoch(experiment, runtime),
            axis_name=AXIS if count > 1 else None,
        )
    except ValueError as error:  # the network or the views do not take images of this shape
        raise RefusedError(str(error)) from error
    return program


def _check_batch(experiment: Experiment, runtime: Runtime, count: int) -> None:
    """Whether the batch is one of the data, and can be cut for devices and parts."""
    images = training_split(load_dataset(experiment.source, runtime.data_dir)).labels
    try:
        check_batch(
            experiment.images_per_step,
            num_images=len(images),
            num_devices=count,
            positives=experiment.positives,
            parts=experiment.parts,
            of=f" of {experiment.data}",
        )
    except ValueError as error:
        raise RefusedError(str(error)) from error


def _check_pairs(experiment: Experiment, runtime: Runtime, program: Program) -> None:
    """Whether a batch of the data can have an anchor with a positive and a negative."""
    labels = training_split(load_dataset(experiment.source, runtime.data_dir)).labels
    supervised, of = experiment.is_supervised, f" of {experiment.data}"
    try:
        check_pairs(np.asarray(labels), program, supervised=supervised, of=of)
    except ValueError as error:
        raise RefusedError(str(error)) from error


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


def _check_balance(experiment: Experiment, runtime: Runtime) -> None:
    """Whether there are enough images of every class."""
    if experiment.per_class is None:
        return
    loaded = load_dataset(experiment.source, runtime.data_dir)
    labels = np.asarray(training_split(loaded).labels)
    try:
        check_enough_of_every_class(
            labels, loaded.num_classes, experiment.per_class, names=loaded.class_names
        )
    except ValueError as error:
        raise RefusedError(f"the training images of {experiment.data}: {error}") from error


def _check_streaming(experiment: Experiment, runtime: Runtime) -> None:
    """Whether the seeds can train side by side."""
    split = training_split(load_dataset(experiment.source, runtime.data_dir))
    size = split.images.nbytes + split.labels.nbytes
    if size > runtime.resident_bytes and len(experiment.seeds) > 1:
        raise RefusedError(
            f"{experiment.data} is larger than the {runtime.resident_gib:g} GiB that may live on "
            f"the device, and streams; then seeds run one by one, not {len(experiment.seeds)} at "
            f"once"
        )
