"""Images per second of a training step, optimiser included, beside PyTorch.

    python -m scripts.benchmark_training [--device cpu|gpu] [--cases mlp-256 resnet50-512]

needs ``pip install hcl-jax[benchmark]``. A case is a network and the images in a step. In each, all
start from the same weights and train on the same batch, which lies on the device. Loss and gradient
norm of the first step must agree before anything is timed; then all take turns, round by round. At
the end the training program itself trains the digits, to see what the host does meanwhile. Writes
``training.json`` with every single time and ``training.md`` with medians, quartiles, the parts of a
step and the targets.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float

from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from hcl_jax.training import init_state
from hcl_jax.validation.numbers import check_count
from scripts.benchmarking import training_jax
from scripts.benchmarking.contenders import (
    Contender,
    DeviceName,
    DisagreementError,
    check_torch,
    first_device,
    peak_memory,
    say,
    take_turns,
)
from scripts.benchmarking.host_work import host_work
from scripts.benchmarking.machine_load import cpu_times, share_of_others
from scripts.benchmarking.results import MACHINE, Results, origin, run_benchmark
from scripts.benchmarking.training_cases import Recipe, epoch_of, recipe_of
from scripts.benchmarking.training_report import report

BOUNDS = {"float32": (1e-4, 1e-3), "tf32": (3e-2 / 8, 1e-1 / 8), "bfloat16": (3e-2, 1e-1)}
"""How far losses and gradient norms of the exact estimator may lie from PyTorch's, relatively.

Factors that a GPU rounds to TF32 keep three bits more than bfloat16 has.
"""

HOST_NETWORK = "resnet18"
"""The network in whose training the work of the host is measured."""

DEVIATIONS = 6.0
"""How far two losses of drawn negatives may lie apart, in standard deviations of one."""


PAGE = Page(
    "python -m scripts.benchmark_training",
    "[options]",
    "Times whole training steps beside PyTorch, and the work of the host.",
    {
        "What is timed": ("device", "cases", "dtype", "side", "steps"),
        "How long": ("rounds", "seconds"),
        "Where": ("machine", "out"),
    },
    "python -m scripts.benchmark_training --cases mlp-256 convnet-512 --out runs/benchmark",
)


@dataclasses.dataclass(frozen=True)
class TrainingBenchmark:
    """Time training steps.

    Attributes:
        device: where to run.
        cases: networks and images in a step: of mlp, the perceptron for synthetic classes, convnet,
            the network for gray images of 28 x 28, resnet18 and resnet50.
        dtype: computation dtypes of residual networks, ours and the compiled ones of PyTorch.
        side: height and width of the images of residual networks.
        width: channels of their stem.
        steps: steps of the epoch that is compared with single steps.
        classes: their largest number of classes; each has at least two images in a batch.
        beta: hardness.
        draws: K of the sampled estimator.
        rounds: how often every contender of a case takes its turn.
        seconds: after this long no new round of a case begins (three are run at least).
        cpu_devices: as how many devices, which share its batches, the CPU counts in one more epoch
            of networks that are not residual; 1 for no such epoch.
        host_batch: images in a step where the work of the host is measured; 1437 at most.
        machine: how the results name the machine.
        out: the directory of the results.
    """

    device: DeviceName = "cpu"
    cases: tuple[str, ...] = ("mlp-256", "convnet-512", "resnet18-32", "resnet18-128")
    dtype: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    side: int = 32
    width: int = 64
    steps: int = 4
    classes: int = 100
    beta: float = 5.0
    draws: int = 256
    rounds: int = 15
    seconds: float = 40.0
    cpu_devices: int = 2
    host_batch: int = 512
    machine: str = MACHINE
    out: Path = Path("benchmarks")

    def __post_init__(self) -> None:
        check_count("cpu_devices", self.cpu_devices)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    chosen = parsed(TrainingBenchmark, PAGE, arguments)
    with contextlib.suppress(RuntimeError):  # JAX is in use, and has the devices that it has
        jax.config.update("jax_num_cpu_devices", chosen.cpu_devices)
    return run_benchmark("training", chosen.out, lambda: measure(chosen), report)


def measure(chosen: TrainingBenchmark) -> Results:
    """Settings, versions and the raw times of all contenders, ready for JSON.

    Raises:
        RefusedError: for a case that there is not.
        DisagreementError: if contenders do not agree.
    """
    check_torch()
    import torch

    results = origin(chosen)
    results["versions"]["torch"] = torch.__version__
    recipes = [recipe_of(case, chosen) for case in chosen.cases]
    residual = [recipe.name for recipe in recipes if recipe.is_residual]
    cases = [_measured(recipe, chosen, recipe.name in residual[:1]) for recipe in recipes]
    say("measures the work of the host")
    host = host_work(HOST_NETWORK, chosen.host_batch)._asdict()
    return {**results, "cases": cases, "host": host}


def _measured(recipe: Recipe, chosen: TrainingBenchmark, whole: bool) -> Results:
    """One case; the `whole` list has the authors' recipe and parts of a step."""
    from scripts.benchmarking.losses_torch import peak_on_gpu

    contenders, agreement, threads = _agreeing_contenders(recipe, chosen, whole)
    say(f"{recipe.name}: measures the memory of one call")
    peaks = {c.name: peak_memory(c, chosen.device, measure_on_gpu=peak_on_gpu) for c in contenders}
    say(f"{recipe.name}: takes times")
    before = cpu_times()
    times = take_turns({c.name: c.turn for c in contenders}, chosen.rounds, chosen.seconds)
    return {
        "case": recipe.name,
        "batch": recipe.batch,
        "steps": recipe.steps,
        "agreement": agreement,
        "threads": threads,
        "others": share_of_others(before, cpu_times()),
        "contenders": [c.record(times[c.name], peaks[c.name]) for c in contenders],
    }


def _agreeing_contenders(
    recipe: Recipe, chosen: TrainingBenchmark, whole: bool
) -> tuple[list[Contender], dict[str, list[float]], dict[str, int]]:
    """All contenders after their first step, how far these lie apart, and PyTorch's threads."""
    from scripts.benchmarking import training_torch

    where = "cuda" if chosen.device == "gpu" else "cpu"
    dtypes = chosen.dtype if recipe.is_residual else ("float32",)
    images, labels = epoch_of(recipe)
    first = images[: recipe.batch], labels[: recipe.batch]
    program = training_jax.recipe_program(recipe, "float32", sampled=False)
    variables = jax.device_get(init_state(recipe.key, program).variables)
    found = training_jax.contenders(
        images, labels, recipe, dtypes, first_device(chosen.device), whole=whole
    )
    theirs, threads = training_torch.contenders(
        *first, variables, recipe, dtypes, where, whole=whole
    )
    drawn = np.zeros(0)
    if whole:
        embeddings = training_torch.embed_batch(first[0], variables, recipe, where)
        drawn = training_jax.sampled_losses(embeddings, first[1], recipe)
    found += theirs
    if (devices := _shared_by(recipe, chosen)) is not None:
        dtype = training_jax.epoch_dtype(dtypes)
        found.append(training_jax.epoch_over_devices(images, labels, recipe, dtype, devices))
    rounds = chosen.device == "gpu"
    return found, check_agreement(found, drawn, rounds_factors=rounds), threads


def _shared_by(recipe: Recipe, chosen: TrainingBenchmark) -> Sequence[Any] | None:
    """The devices of the CPU that share batches in one more epoch; None for no such epoch.

    Residual networks, with their many channels, keep the cores of one device at work.
    """
    devices = jax.local_devices(backend="cpu")[: chosen.cpu_devices]
    shared = chosen.device == "cpu" and not recipe.is_residual
    return devices if shared and len(devices) > 1 and not recipe.batch % len(devices) else None


def check_agreement(
    contenders: Sequence[Contender],
    drawn: Float[np.ndarray, " draw"],
    *,
    rounds_factors: bool = False,
) -> dict[str, list[float]]:
    """Relative differences in the first step, each with what is allowed.

    Exact losses and gradient norms are compared with those of PyTorch, sampled losses with the mean
    of drawn ones, by their spread. Epochs, which draw their batches, are compared with the first
    of them, which is that of one device. The device `rounds_factors` of float32 multiplications to
    TF32, if that is said.

    Raises:
        DisagreementError: if a difference is above what is allowed.
    """
    first = {c.name: c.run(True) for c in contenders}
    eager = first["torch, exact, eager, float32"]
    epochs = [c.name for c in contenders if c.mathematics == "epoch"]
    errors = {}
    for contender in contenders:
        name = contender.name
        rounded = "tf32" if rounds_factors else "float32"
        dtype = "bfloat16" if "bfloat16" in name else rounded
        if contender.mathematics == "exact" or name in epochs[1:]:
            bounds = BOUNDS[dtype]
            reference = first[epochs[0]] if name in epochs else eager
            off = [abs(a - b) / abs(b) for a, b in zip(first[name], reference, strict=True)]
        elif contender.mathematics == "sampled":
            spread = DEVIATIONS * float(np.std(drawn, ddof=1)) / float(np.mean(drawn))
            bounds = (spread + (BOUNDS[dtype][0] if dtype != "float32" else 0.0),)
            off = [abs(first[name][0] / float(np.mean(drawn)) - 1)]
        else:
            continue
        errors[name] = [float(x) for pair in zip(off, bounds, strict=True) for x in pair]
        if not all(x <= bound for x, bound in zip(off, bounds, strict=True)):
            raise DisagreementError(f"{name} disagrees: {off}, where {bounds} is allowed")
    return errors


if __name__ == "__main__":
    sys.exit(run_command(main))
