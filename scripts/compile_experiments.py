"""Compiles the epoch of named experiments for TPUs ahead of time, on a machine without one.

    python -m scripts.compile_experiments cifar100-hscl5 [--chips 1 8] [--out benchmarks]

runs in an environment of its own, as `scripts.compile_for_tpu` does. What is compiled is what
`scripts.train` runs on such a slice: the whole epoch under `jax.pmap`, with the data set on every
chip. Says whether it fits, and what memory it takes.
"""

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tyro

from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.benchmarking.tpu_compilation import (
    Compilation,
    compile_lowered,
    report,
    tpu_devices,
)
from scripts.experiments.catalogue import find_experiment
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import keys_of, objective_of, program_of
from scripts.runs.exit_status import RefusedError, run_job

NOTE = (
    "The epoch of a named experiment as one program under `jax.pmap`, with 50 000 images on every "
    "chip; batches are spread over the chips."
)


PAGE = Page(
    "python -m scripts.compile_experiments",
    "[NAME ..] [options]",
    "Compiles an epoch of named experiments for a slice of TPUs, without one; shows its memory.",
    {"Options": ("topology", "chips", "dtype", "out")},
    "python -m scripts.compile_experiments cifar100-hscl5 --dtype bfloat16 --chips 8 1",
)


@dataclasses.dataclass(frozen=True)
class CompileExperiments:
    """Compile experiments for TPUs.

    Attributes:
        names: names of experiments, as `python -m scripts.train --list` shows them.
        topology: topology of the slice.
        chips: how many of its chips share a batch; one row for each.
        dtype: computation dtypes of the networks; one row for each.
        out: a directory for tpu-training.md as well.
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ("cifar100-hscl5",)
    topology: str = "v5e:2x4"
    chips: tuple[int, ...] = (1, 8)
    dtype: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    out: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(CompileExperiments, PAGE, arguments)
    return run_job(lambda: compile_experiments(settings), settings.out or Path("."))


def compile_experiments(settings: CompileExperiments) -> None:
    """Prints, and perhaps writes, a table with a row for each experiment, dtype and slice."""
    experiments = {name: find_experiment(name) for name in settings.names}
    try:
        in_dtypes = {
            f"{name}, {dtype}": dataclasses.replace(experiment, dtype=dtype)
            for name, experiment in experiments.items()
            for dtype in settings.dtype
        }
    except ValueError as error:
        raise RefusedError(str(error)) from error
    chips = tpu_devices(settings.topology)
    rows = []
    for name, experiment in in_dtypes.items():
        for count in settings.chips:
            title = f"{name}, {count} chip{'s' if count > 1 else ''}"
            rows.append(compile_epoch(title, experiment, chips[:count]))
            print(f"{title}: compiles: {rows[-1].compiles}", flush=True)
    text = report(rows, settings.topology, NOTE)
    print(text)
    if settings.out is not None:
        atomic_write({settings.out / "tpu-training.md": text.encode()})


def compile_epoch(
    title: str, experiment: Experiment, chips: Sequence[Any], *, images: int = 50_000
) -> Compilation:
    """Compiles an epoch of an experiment as `hcl_jax.training.DataParallel` runs it."""
    import jax
    import jax.numpy as jnp

    from hcl_jax.collectives import over_axis
    from hcl_jax.data import Split
    from hcl_jax.training import AXIS, SingleDevice, train_epoch_of_seeds

    size, defaults = experiment.images_per_step, experiment.defaults
    program = program_of(experiment, steps_per_epoch=images // size, axis_name=AXIS)
    states = SingleDevice(program).abstract_states(keys_of(experiment))
    dtype = jnp.uint8 if defaults.statistics is not None else jnp.float32
    split = Split(
        jax.ShapeDtypeStruct((images, *defaults.image_shape), dtype),
        jax.ShapeDtypeStruct((images,), jnp.int32),
    )
    program = program._replace(collectives=over_axis(AXIS))
    epoch = jax.pmap(
        functools.partial(train_epoch_of_seeds, program=program),
        axis_name=AXIS,
        devices=list(chips),
        donate_argnums=0,
    )
    on_every_chip = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((len(chips), *leaf.shape), leaf.dtype),
        (states, split, objective_of(experiment)),
    )
    return compile_lowered(title, size, lambda: epoch.lower(*on_every_chip))


if __name__ == "__main__":
    sys.exit(run_command(main))
