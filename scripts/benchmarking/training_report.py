"""The report of `scripts.benchmark_training`: tables of steps, parts, agreement and targets."""

from collections.abc import Mapping

import numpy as np

from scripts.benchmarking.results import (
    Results,
    medians,
    memory_cells,
    origin_line,
    others_sentence,
    quartiles,
)
from scripts.benchmarking.targets import Target, gate_result, gate_table
from scripts.runs import markdown


def report(results: Results) -> str:
    """A Markdown page with the tables."""
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
        f"{rounds} rounds.{others_sentence(results['others'])}",
        "",
    ]
    rows = []
    steps = [c for c in results["contenders"] if c["mathematics"] in ("exact", "sampled")]
    for c in sorted(steps, key=lambda c: times[c["name"]]):
        rate = f"{settings['batch'] / times[c['name']]:.4g}"
        rows.append([c["name"], quartiles(c["seconds"]), rate, *memory_cells(c)])
    header = ["step", "ms", "images/s", "temporaries, MiB", "peak, MiB"]
    lines += markdown.table(header, rows)
    lines += _agreement_table(results)
    lines += _shares(results, times)
    lines += _host(results)
    return "\n".join([*lines, *target_lines(results, times)]) + "\n"


def _agreement_table(results: Results) -> list[str]:
    lines = ["", "## Agreement of the first step", ""]
    lines += [
        "Relative differences (allowed). Exact: from PyTorch in float32, uncompiled. Sampled: from "
        "the mean of 16 draws; allowed is six standard deviations of one.",
        "",
    ]
    rows = []
    for name, numbers in results["agreement"].items():
        cells = [f"{a:.1e} ({b:.1e})" for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
        rows.append([name, *cells, *[""] * (2 - len(cells))])
    return lines + markdown.table(["step", "loss", "gradient norm"], rows)


def _shares(results: Results, times: Mapping[str, float]) -> list[str]:
    """The parts of our steps, and what the host adds to them."""
    settings = results["settings"]
    ending = settings["dtype"][-1]
    exact = times[f"ours, exact, {ending}"]
    lines = ["", "## Parts", "", f"Shares of our exact step in {ending}.", ""]
    rows = []
    for c in results["contenders"]:
        if c["mathematics"] == "part":
            share = f"{100 * times[c['name']] / exact:.2g}"
            name = c["name"].removeprefix("part: ")
            rows.append([name, quartiles(c["seconds"]), share])
    lines += markdown.table(["", "ms", "share, %"], rows)
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


def _host(results: Results) -> list[str]:
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


def training_targets(draws: int) -> list[Target]:
    """The targets of a step of ResNet-50 on a GPU, for K = `draws`."""
    ours = "ours, exact, bfloat16"
    recipe = f"torch, the authors' recipe, K = {draws}, float32"
    best = "torch, exact, compiled, channels last, bfloat16"
    loss = "part: exact loss, forward and backward"
    return [
        Target(12, 512, recipe, ours, 3.0, 5.0),
        Target(12, 512, best, ours, 1.0, 1.3),
        Target(12, 512, loss, ours, 0.03, 0.03, below=True),
    ]


def target_lines(results: Results, times: Mapping[str, float]) -> list[str]:
    """The section on targets, which are for one network, batch size and device."""
    settings = results["settings"]
    wanted = ("gpu", "resnet50", 512)
    fits = (settings["device"], settings["network"], settings["batch"]) == wanted
    targets = training_targets(settings["draws"])
    compared = [gate_result(target, times if fits else {}) for target in targets]
    title = ["", "## Targets", "", "ResNet-50, batch 512, on a GPU.", ""]
    return [*title, *gate_table(compared, with_rows=False)]
