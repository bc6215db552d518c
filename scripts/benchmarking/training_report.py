"""The report of `scripts.benchmark_training`: tables of steps, parts, agreement and targets."""

import re
from collections.abc import Mapping
from typing import Any

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

RESIDUAL = "{network} of width {width} with the paper's head, {batch} images of {side} x {side}"
DESCRIBED = {
    "mlp": "the perceptron of the synthetic classes, {batch} vectors",
    "convnet": "the network for small gray images, {batch} images of 28 x 28",
}
"""What a case trains on; the others are residual networks."""

ON_CPU = (
    "Two devices may share the cores and the batches of the epoch (`JAX_NUM_CPU_DEVICES=2`, and "
    "`--synchronized` statistics of batch norm): ours is the faster of both, as PyTorch's is with "
    "threads."
)
ON_GPU = (
    "Factors of float32 multiplications are rounded to TF32 in both. The host waits for PyTorch "
    "once in as many exact steps as the epoch has. Of small networks one contender is a CUDA graph."
)
"""What the steps beside one another have in common."""


def report(results: Results) -> str:
    """A Markdown page with the tables."""
    settings = results["settings"]
    lines = [
        "# Training beside PyTorch",
        "",
        "`python -m scripts.benchmark_training`: "
        + origin_line(results, device=settings["device"]),
        f"Adam, HSCL with beta = {settings['beta']:g}. A step: bytes to floats, forward, backward, "
        "optimiser. Median [quartiles]. Temporaries as XLA plans them; peak: resident memory of "
        "one call beyond that before it (on a GPU, what is allocated).",
        "",
        *_comparisons(results),
    ]
    for case in results["cases"]:
        lines += _case(case, settings)
    lines += _host(results)
    return "\n".join([*lines, *target_lines(results)]) + "\n"


def _comparisons(results: Results) -> list[str]:
    """A row for each case: our step in an epoch beside the fastest of PyTorch."""
    rows = []
    for case in results["cases"]:
        times = medians(case["contenders"])
        fastest = _fastest_epoch(case, times)
        ours, theirs = ours_and_torch(case, times, fastest)
        rows.append(
            [
                case["case"],
                _dtype(fastest),
                _devices(fastest),
                f"{1e3 * ours:.4g}",
                f"{1e3 * theirs:.4g}",
                f"{ours / theirs:.3g}",
                f"{case['batch'] / ours:.4g}",
                f"{case['batch'] / theirs:.4g}",
            ]
        )
    header = [
        *("case", "dtype", "devices", "ours, ms", "torch, ms", "ours / torch"),
        *("ours, images/s", "torch, images/s"),
    ]
    return [
        "A step as the training program takes it, in an epoch that is one program, with the choice "
        "of its images; beside the fastest of PyTorch's exact steps, on images that are there. "
        + (ON_GPU if results["settings"]["device"] == "gpu" else ON_CPU),
        "",
        *markdown.table(header, rows),
    ]


def ours_and_torch(case: Results, times: Mapping[str, float], epoch: str) -> tuple[float, float]:
    """Median seconds of a step: in an epoch of ours, and of PyTorch's fastest in the same dtype."""
    theirs = [
        times[c["name"]]
        for c in case["contenders"]
        if c["mathematics"] == "exact"
        and c["name"].startswith("torch")
        and _dtype(c["name"]) == _dtype(epoch)
    ]
    return times[epoch] / case["steps"], min(theirs)


def _epochs(case: Results) -> list[str]:
    """The names of its epochs, of one device first."""
    return [c["name"] for c in case["contenders"] if c["mathematics"] == "epoch"]


def _fastest_epoch(case: Results, times: Mapping[str, float]) -> str:
    """The name of our fastest epoch."""
    return min(_epochs(case), key=times.__getitem__)


def _dtype(name: str) -> str:
    """The dtype in which a contender computes, with which its name ends."""
    return name.rpartition(", ")[2]


def _devices(epoch: str) -> str:
    """How many devices share an epoch of this name."""
    shared = re.search(r" over (\d+) devices", epoch)
    return shared[1] if shared else "1"


def _case(case: Results, settings: Mapping[str, Any]) -> list[str]:
    """The tables of one case."""
    times = medians(case["contenders"])
    rounds = len(case["contenders"][0]["seconds"])
    network = case["case"].rpartition("-")[0]
    described = DESCRIBED.get(network, RESIDUAL).format(network=network, **{**settings, **case})
    lines = [
        "",
        f"## {case['case']}",
        "",
        f"{described[0].upper()}{described[1:]}. {rounds} rounds.{others_sentence(case['others'])}",
        "",
    ]
    rows = []
    steps = [c for c in case["contenders"] if c["mathematics"] in ("exact", "sampled")]
    for c in sorted(steps, key=lambda c: times[c["name"]]):
        threads = case["threads"].get(c["name"])
        name = c["name"] if threads is None else f"{c['name']}, threads: {threads}"
        rate = f"{case['batch'] / times[c['name']]:.4g}"
        rows.append([name, quartiles(c["seconds"]), rate, *memory_cells(c)])
    header = ["step", "ms", "images/s", "temporaries, MiB", "peak, MiB"]
    lines += markdown.table(header, rows)
    lines += _epoch(case, times)
    lines += _agreement_table(case)
    return lines + _shares(case, settings, times)


def _epoch(case: Results, times: Mapping[str, float]) -> list[str]:
    seconds = {c["name"]: c["seconds"] for c in case["contenders"]}
    epoch, *shared = _epochs(case)
    dtype = _dtype(epoch)
    alone = case["steps"] * times[f"ours, exact, {dtype}"]
    return [
        "",
        f"An epoch of {case['steps']} steps as one program ({dtype}): "
        f"{quartiles(seconds[epoch])} ms; {case['steps']} times the step alone: "
        f"{1e3 * alone:.4g} ms; ratio {times[epoch] / alone:.3f}.",
        *(f"Over {_devices(name)} devices: {quartiles(seconds[name])} ms." for name in shared),
    ]


def _agreement_table(case: Results) -> list[str]:
    sampled = "Sampled: from the mean of 16 draws; allowed is six standard deviations of one."
    has_sampled = any(c["mathematics"] == "sampled" for c in case["contenders"])
    lines = [
        "",
        "Relative differences of the first step (allowed). Exact: from PyTorch in float32, "
        f"uncompiled.{f' {sampled}' if has_sampled else ''}",
        "",
    ]
    rows = []
    for name, numbers in case["agreement"].items():
        cells = [f"{a:.1e} ({b:.1e})" for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
        rows.append([name, *cells, *[""] * (2 - len(cells))])
    return lines + markdown.table(["step", "loss", "gradient norm"], rows)


def _shares(case: Results, settings: Mapping[str, Any], times: Mapping[str, float]) -> list[str]:
    """The parts of our steps, and what the host adds to them, where they were measured."""
    parts = [c for c in case["contenders"] if c["mathematics"] == "part"]
    if not parts:
        return []
    ending = settings["dtype"][-1]
    exact = times[f"ours, exact, {ending}"]
    lines = [
        "",
        f"Parts of a step, as shares of our exact one in {ending}. The convolution has "
        f"{settings['width']} channels in and out, forward and backward.",
        "",
    ]
    rows = []
    for c in parts:
        share = f"{100 * times[c['name']] / exact:.2g}"
        rows.append([c["name"].removeprefix("part: "), quartiles(c["seconds"]), share])
    return lines + markdown.table(["", "ms", "share, %"], rows)


def _host(results: Results) -> list[str]:
    """What the host does while the training program trains."""
    settings, host = results["settings"], results["host"]
    share = np.median(host["host"]) / np.median(host["seconds"])
    return [
        "",
        "## The host",
        "",
        f"The training program with resnet18 on the digits, {settings['host_batch']} "
        f"images in a step: an epoch of {host['steps']} steps takes {quartiles(host['seconds'])} "
        f"ms, in which the thread of the host works {quartiles(host['host'])} ms, "
        f"{100 * share:.2g} %. The host acts once an epoch, whatever its length.",
    ]


ON_GPUS = "resnet50-512"
"""The case whose targets are for GPUs."""

ON_CPUS = {
    "mlp-256": (19, 1.0, 0.8),
    "convnet-512": (20, 1 / 1.5, 1 / 2),
    "resnet18-32": (19, 1.0, 0.8),
    "resnet18-128": (19, 1.0, 0.8),
}
"""The numbers of targets on CPUs by case; the ratio of our step to PyTorch's: gate and aim."""


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


def target_lines(results: Results) -> list[str]:
    """The section on targets: those of steps on CPUs, and those of ResNet-50 on a GPU."""
    settings = results["settings"]
    title = ["", "## Targets", ""]
    times = {case["case"]: medians(case["contenders"]) for case in results["cases"]}
    if settings["device"] == "gpu":
        found = times.get(ON_GPUS, {})
        compared = [gate_result(one, found) for one in training_targets(settings["draws"])]
        title += ["ResNet-50, batch 512, on a GPU.", ""]
        return [*title, *gate_table(compared, with_rows=False)]
    compared = []
    for case in results["cases"]:
        fastest = _fastest_epoch(case, times[case["case"]])
        if case["case"] in ON_CPUS and _dtype(fastest) == "float32":
            number, gate, aim = ON_CPUS[case["case"]]
            pair = (f"{case['case']}: ours", "torch")
            target = Target(number, case["batch"], *pair, gate, aim, below=True)
            both = ours_and_torch(case, times[case["case"]], fastest)
            compared.append(gate_result(target, dict(zip(pair, both, strict=True))))
    return [*title, *gate_table(compared, with_rows=False)]
