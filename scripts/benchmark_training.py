"""Images per second of a training step, optimiser included, beside PyTorch.

    python -m scripts.benchmark_training [--device cpu|gpu] [--network resnet50] [--batch 512]

needs ``pip install hcl-jax[benchmark]``. All start from the same weights and train on the same
batch, which lies on the device. Loss and gradient norm of the first step must agree before anything
is timed; then all take turns, round by round. At the end the training program itself trains the
digits, to see what the host does meanwhile. Writes ``training.json`` with every single time and
``training.md`` with medians, quartiles, the parts of a step and the targets.
"""

import dataclasses
import platform
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from hcl_jax.training import init_state
from scripts.benchmarking import training_jax
from scripts.benchmarking.contenders import Contender, peak_memory, take_turns
from scripts.benchmarking.host_work import host_work
from scripts.benchmarking.machine_load import share_of_others, ticks
from scripts.benchmarking.results import (
    medians,
    origin,
    origin_line,
    others,
    quartiles,
    run_benchmark,
    sizes,
)
from scripts.benchmarking.targets import Target, table, verdict_of

BOUNDS = {"float32": (1e-4, 1e-3), "bfloat16": (3e-2, 1e-1)}
"""How far losses and gradient norms of the exact estimator may lie from PyTorch's, relatively."""

DEVIATIONS = 6.0
"""How far two losses of drawn negatives may lie apart, in standard deviations of one."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Time training steps.

    Attributes:
        device: where to run.
        network: with the stem for small images.
        batch: images in a step.
        dtype: in which networks compute, ours and the compiled ones of PyTorch.
        side: height and width of the images.
        width: of the stem.
        steps: of the epoch that is compared with single steps.
        classes: at most; no class has less than two images in a batch.
        beta: the hardness.
        draws: K of the sampled estimator.
        rounds: how often every contender takes its turn.
        seconds: after this long no new round begins (three are run at least).
        host_batch: images in a step where the work of the host is measured; 1437 at most.
        machine: how the results name the machine.
        out: the directory of the results.
    """

    device: Literal["cpu", "gpu"] = "cpu"
    network: Literal["resnet18", "resnet50"] = "resnet18"
    batch: int = 32
    dtype: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    side: int = 32
    width: int = 64
    steps: int = 4
    classes: int = 100
    beta: float = 5.0
    draws: int = 256
    rounds: int = 15
    seconds: float = 120.0
    host_batch: int = 512
    machine: str = platform.processor() or platform.machine()
    out: Path = Path("benchmarks")


def main() -> None:
    """The command line."""
    chosen = tyro.cli(Benchmark, description=__doc__)
    run_benchmark("training", chosen.out, lambda: measure(chosen), report)


def measure(chosen: Benchmark) -> dict[str, Any]:
    """Runs everything.

    Args:
        chosen: what to run.

    Returns:
        Settings, versions and raw times, ready for JSON.

    Raises:
        RuntimeError: if contenders do not agree.
    """
    import torch

    results = origin(chosen)
    results["versions"]["torch"] = torch.__version__
    found, agreement = _agreeing(chosen)
    peaks = {c.name: peak_memory(c, chosen.device) for c in found}
    before = ticks()
    times = take_turns({c.name: c.turn for c in found}, chosen.rounds, chosen.seconds)
    taken = share_of_others(before, ticks())
    return {
        **results,
        "agreement": agreement,
        "others": taken,
        "host": host_work(chosen.network, chosen.host_batch)._asdict(),
        "contenders": [c.record(times[c.name], peaks[c.name]) for c in found],
    }


def _agreeing(chosen) -> tuple[list[Contender], dict[str, list[float]]]:
    from scripts.benchmarking import training_torch

    where = "cuda" if chosen.device == "gpu" else "cpu"
    depth = 18 if chosen.network == "resnet18" else 50
    key = jax.random.key(0)
    recipe = training_jax.Recipe(
        depth, chosen.width, chosen.classes - 1, chosen.beta, chosen.draws, key
    )
    images, labels = _data(chosen)
    first = images[: chosen.batch], labels[: chosen.batch]
    program = training_jax.program_of(recipe, chosen.batch, "float32", sampled=True)
    variables = jax.device_get(init_state(key, program).variables)
    found = training_jax.contenders(
        images, labels, recipe, chosen.batch, chosen.dtype, jax.devices(chosen.device)[0]
    )
    found += training_torch.contenders(*first, variables, recipe, chosen.dtype, where)
    embeddings = training_torch.embedded(first[0], variables, recipe, where)
    drawn = training_jax.sampled_losses(embeddings, first[1], recipe)
    return found, _agreement(found, drawn)


def _data(chosen):
    """An epoch of random bytes, in batches of the same labels."""
    generator = np.random.default_rng(0)
    shape = (chosen.steps * chosen.batch, chosen.side, chosen.side, 3)
    images = generator.integers(0, 256, shape, np.uint8)
    labels = np.arange(chosen.batch) % min(chosen.classes, chosen.batch // 2)
    return images, np.tile(labels, chosen.steps).astype(np.int32)


def _agreement(found, drawn):
    """First losses and gradient norms; exact ones near PyTorch's, sampled ones by their spread."""
    first = {c.name: c.run(True) for c in found}
    eager = first["torch, exact, eager, float32"]
    errors = {}
    for contender in found:
        name = contender.name
        dtype = "bfloat16" if "bfloat16" in name else "float32"
        if contender.mathematics == "exact":
            bounds = BOUNDS[dtype]
            off = [abs(a - b) / abs(b) for a, b in zip(first[name], eager, strict=True)]
        elif contender.mathematics == "sampled":
            spread = DEVIATIONS * float(np.std(drawn, ddof=1)) / float(np.mean(drawn))
            bounds = (spread + (BOUNDS[dtype][0] if dtype == "bfloat16" else 0.0),)
            off = [abs(first[name][0] / float(np.mean(drawn)) - 1)]
        else:
            continue
        errors[name] = [float(x) for pair in zip(off, bounds, strict=True) for x in pair]
        if not all(x <= bound for x, bound in zip(off, bounds, strict=True)):
            raise RuntimeError(f"{name} disagrees: {off}, where {bounds} is allowed")
    return errors


def report(results: dict[str, Any]) -> str:
    """Tables in Markdown.

    Args:
        results: of `measure`.

    Returns:
        Text.
    """
    settings = results["settings"]
    times = medians(results["contenders"])
    rounds = len(results["contenders"][0]["seconds"])
    lines = [
        "# Training beside PyTorch",
        "",
        "`python -m scripts.benchmark_training`: "
        + origin_line(results, device=settings["device"]),
        f"{settings['network']} of width {settings['width']} with the paper's head, "
        f"{settings['batch']} images of {settings['side']} x {settings['side']}, Adam, HSCL with "
        f"beta = {settings['beta']:g}. A step: bytes to floats, forward, backward, optimiser. "
        "Median [quartiles]. Temporaries as XLA plans them; peak: resident memory of one call "
        "beyond that before it (on a GPU, what is allocated).",
        f"{rounds} rounds.{others(results['others'])}",
        "",
        "| step | ms | images/s | temporaries, MiB | peak, MiB |",
        "|---|---|---|---|---|",
    ]
    steps = [c for c in results["contenders"] if c["mathematics"] in ("exact", "sampled")]
    for c in sorted(steps, key=lambda c: times[c["name"]]):
        rate = f"{settings['batch'] / times[c['name']]:.4g}"
        lines.append(f"| {c['name']} | {quartiles(c['seconds'])} | {rate} | {sizes(c)} |")
    lines += _agreement_table(results)
    lines += _shares(results, times)
    lines += _host(results)
    return "\n".join([*lines, *_targets(results, times)]) + "\n"


def _agreement_table(results):
    lines = ["", "## Agreement of the first step", ""]
    lines += [
        "Relative differences (allowed). Exact: from PyTorch in float32, uncompiled. Sampled: from "
        "the mean of 16 draws; allowed is six standard deviations of one.",
        "",
        "| step | loss | gradient norm |",
        "|---|---|---|",
    ]
    for name, numbers in results["agreement"].items():
        cells = [f"{a:.1e} ({b:.1e})" for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
        lines.append(f"| {name} | {' | '.join([*cells, ''][:2])} |")
    return lines


def _shares(results, times):
    """The parts of our steps, and what the host adds to them."""
    settings = results["settings"]
    ending = settings["dtype"][-1]
    exact = times[f"ours, exact, {ending}"]
    lines = ["", "## Parts", "", f"Shares of our exact step in {ending}.", ""]
    lines += ["| | ms | share, % |", "|---|---|---|"]
    for c in results["contenders"]:
        if c["mathematics"] == "part":
            share = f"{100 * times[c['name']] / exact:.2g}"
            name = c["name"].removeprefix("part: ")
            lines.append(f"| {name} | {quartiles(c['seconds'])} | {share} |")
    (epoch,) = (c for c in results["contenders"] if c["mathematics"] == "epoch")
    alone = settings["steps"] * times[f"ours, exact, {settings['dtype'][0]}"]
    lines += [
        "",
        f"An epoch of {settings['steps']} steps as one program ({settings['dtype'][0]}): "
        f"{quartiles(epoch['seconds'])} ms; {settings['steps']} times the step alone: "
        f"{1e3 * alone:.4g} ms; ratio {times[epoch['name']] / alone:.3f}. "
        f"The convolution has {settings['width']} channels in and out, forward and backward.",
    ]
    return lines


def _host(results):
    """What the host does while the training program trains."""
    settings, host = results["settings"], results["host"]
    share = np.median(host["host"]) / np.median(host["seconds"])
    return [
        "",
        "## The host",
        "",
        f"The training program with {settings['network']} on the digits, {settings['host_batch']} "
        f"images in a step: an epoch of {host['steps']} steps takes {quartiles(host['seconds'])} "
        f"ms, in which the thread of the host works {quartiles(host['host'])} ms, "
        f"{100 * share:.2g} %. The host acts once an epoch, whatever its length.",
    ]


def targets(draws: int) -> list[Target]:
    """The targets of a step of ResNet-50 on a GPU.

    Args:
        draws: K.

    Returns:
        Ratios of times.
    """
    ours = "ours, exact, bfloat16"
    recipe = f"torch, the authors' recipe, K = {draws}, float32"
    best = "torch, exact, compiled, channels last, bfloat16"
    loss = "part: exact loss, forward and backward"
    return [
        Target(12, 512, recipe, ours, 3.0, 5.0),
        Target(12, 512, best, ours, 1.0, 1.3),
        Target(12, 512, loss, ours, 0.03, 0.03, below=True),
    ]


def _targets(results, times):
    settings = results["settings"]
    wanted = ("gpu", "resnet50", 512)
    fits = (settings["device"], settings["network"], settings["batch"]) == wanted
    found = [verdict_of(target, times if fits else {}) for target in targets(settings["draws"])]
    title = ["", "## Targets", "", "ResNet-50, batch 512, on a GPU.", ""]
    return [*title, *table(found, rows=False)]


if __name__ == "__main__":
    main()
