"""Writes what came out of a finished run for use elsewhere.

    python -m scripts.export runs/train/digits-hscl5

writes into RUN/export

    encoder.jaxexport   from images to features and embeddings, for CPUs, CUDA and TPUs, with its
                        weights; read it with `hcl_jax.encoders.load_encoder`, or with JAX alone
    encoder.jaxexport.json  its shapes, and the run, seed, epoch and commit that it is from
    embeddings.npz      embeddings and labels of both splits, and names of classes where there are
    class_means.npz     the class means of the training set: the paper's classifier

Image data sets are taken as uint8, the digits and vectors as float32.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import tyro

from hcl_jax.checkpoints import restore_latest
from hcl_jax.encoders.export import export_encoder
from hcl_jax.networks import Variables
from hcl_jax.system.atomic_files import atomic_open
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from hcl_jax.training import SingleDevice
from scripts.experiments.experiment import Experiment
from scripts.experiments.options import NORMALIZATIONS
from scripts.experiments.program import keys_of, program_of
from scripts.runs.exit_status import RefusedError, run_job
from scripts.runs.exported import ENCODER, EXPORT
from scripts.runs.provenance import commit
from scripts.runs.run_directory import CHECKPOINTS
from scripts.runs.run_files import (
    ARRAYS_OF_SEEDS,
    RunDirectoryError,
    experiment_of,
    finished_results,
    read_embeddings,
)

Platform = Literal["cpu", "cuda", "rocm", "tpu"]


PAGE = Page(
    "python -m scripts.export",
    "RUN [options]",
    "Writes embeddings and the trained encoder of a finished run, for use elsewhere.",
    {"Options": ("seed", "platforms", "out")},
    "python -m scripts.export runs/train/digits-hucl2",
)


@dataclasses.dataclass(frozen=True)
class Export:
    """Export a run.

    Attributes:
        run: the directory of a finished run.
        seed: which of its seeds; the first if none.
        platforms: platforms that will run the encoder.
        out: where it is written; RUN/export if none.
    """

    run: tyro.conf.Positional[Path]
    seed: int | None = None
    platforms: tuple[Platform, ...] = ("cpu", "cuda", "tpu")
    out: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(Export, PAGE, arguments)
    out = settings.out or settings.run / EXPORT
    return run_job(lambda: export(settings, out), out)


def export(settings: Export, out: Path) -> None:
    """Writes the files.

    Raises:
        RunDirectoryError: if the run is not there, not finished, or without checkpoints.
        RefusedError: for a seed that it does not have, or no platform.
    """
    if not settings.platforms:
        raise RefusedError("--platforms must name at least one platform")
    experiment = experiment_of(settings.run)
    number = _seed_number(experiment, settings.seed)
    if finished_results(settings.run, experiment) is None:
        raise RunDirectoryError(f"{settings.run} is not finished; its command resumes it")
    variables = trained_variables(settings.run, experiment, number)
    arrays = read_embeddings(settings.run, experiment)
    chosen = arrays | {name: arrays[name][number] for name in ARRAYS_OF_SEEDS}
    defaults, program = experiment.defaults, program_of(experiment)
    out.mkdir(parents=True, exist_ok=True)
    metadata = export_encoder(
        out / ENCODER,
        program.model,
        variables,
        normalization=NORMALIZATIONS[experiment.normalization],
        image_shape=defaults.image_shape,
        image_dtype="float32" if defaults.statistics is None else "uint8",
        preprocess=program.prepare,
        platforms=tuple(dict.fromkeys(settings.platforms)),
        source={
            "run": settings.run.absolute().name,
            "seed": experiment.seeds[number],
            "epoch": experiment.epochs,
            "commit": commit(),
        },
    )
    _write_arrays(chosen, out)
    shape = ", ".join(map(str, metadata["image_shape"]))
    print(
        f"{experiment.method} on {experiment.data_label}, seed {experiment.seeds[number]}, epoch "
        f"{experiment.epochs}: images (n, {shape}) of {metadata['image_dtype']} to features "
        f"(n, {metadata['feature_dim']}) and embeddings (n, {metadata['embedding_dim']}), in {out}"
    )


def trained_variables(run: Path, experiment: Experiment, number: int = 0) -> Variables:
    """Parameters and batch statistics of a seed (counted from 0), from the last checkpoint."""
    like = SingleDevice(program_of(experiment)).abstract_states(keys_of(experiment))
    restored = restore_latest(run / CHECKPOINTS, like)
    if restored is None:
        raise RunDirectoryError(f"{run} has no checkpoint; it was trained with --keep 0")
    return jax.tree.map(lambda leaf: leaf[number], restored.state.variables)


def _write_arrays(arrays: dict[str, np.ndarray], out: Path) -> None:
    """Writes embeddings and class means of one seed."""
    means = {"class_means": arrays.pop("class_means")}
    with atomic_open(out / "class_means.npz", out / "embeddings.npz") as (of_classes, of_images):
        np.savez_compressed(of_classes, allow_pickle=False, **means)
        np.savez_compressed(of_images, allow_pickle=False, **arrays)


def _seed_number(experiment: Experiment, seed: int | None) -> int:
    if seed is None:
        return 0
    if seed not in experiment.seeds:
        raise RefusedError(f"the run has seeds {experiment.seeds}, not {seed}")
    return experiment.seeds.index(seed)


if __name__ == "__main__":
    sys.exit(run_command(main))
