"""Times and memory of the loss, forward and backward, beside its peers.

    python -m scripts.benchmark_losses [--device cpu|gpu] [--rows 512 2048 8192] [--out DIR]

needs ``pip install hcl-jax[benchmark]``. Contenders of the same mathematics must agree in loss and
gradient before any is timed. Then all take turns, round by round and in another order each, so that
whatever else the machine does falls on all alike; the bare multiplication is timed at both ends of
every round, and a round in which the two differ by more than 30 % counts as noisy. What other
processes took of the machine meanwhile is reported. Writes ``losses.json`` with every single time,
``losses.md`` with medians, quartiles and ratios against the targets, and a figure.
"""

import contextlib
import ctypes
import dataclasses
import datetime
import gc
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from scripts import jax_contenders, targets

NOISY = 1.3
LEAST_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Time the losses.

    Attributes:
        device: where to run.
        rows: batch sizes; 512 has 99 features, the others 128 (or `dim`).
        dim: the number of features at every batch size, if given.
        rounds: how often every contender takes its turn.
        seconds: after this long no new round begins at one batch size.
        classes: the number of labels.
        beta: the hardness.
        draws: K of the sampled estimator.
        anchors: of the reference loop; its time is extrapolated to the whole batch.
        precision: of our multiplications on a GPU.
        memory_gib: contenders that need more temporaries are left out.
        torch: whether the PyTorch contenders take part.
        machine: how the results name the machine.
        out: the directory of the results.
    """

    device: Literal["cpu", "gpu"] = "cpu"
    rows: tuple[int, ...] = (512, 2048, 8192)
    dim: int | None = None
    rounds: int = 15
    seconds: float = 240.0
    classes: int = 100
    beta: float = 5.0
    draws: int = 256
    anchors: int = 64
    precision: Literal["HIGHEST", "HIGH", "DEFAULT"] = "HIGHEST"
    memory_gib: float = 12.0
    torch: bool = True
    machine: str = platform.processor() or platform.machine()
    out: Path = Path("benchmarks")


def main() -> None:
    """The command line."""
    chosen = tyro.cli(Benchmark, description=__doc__)
    results = measure(chosen)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "losses.json").write_text(json.dumps(results, indent=1) + "\n")
    (chosen.out / "losses.md").write_text(report(results))
    figure(results, chosen.out / "losses.png")
    print(report(results))


def measure(chosen: Benchmark) -> dict[str, Any]:
    """Runs everything.

    Args:
        chosen: what to run.

    Returns:
        Settings, versions and raw times, ready for JSON.
    """
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": chosen.machine,
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "settings": {**dataclasses.asdict(chosen), "out": None},
        "shapes": [],
    }
    for rows in chosen.rows:
        dim = chosen.dim or (99 if rows == 512 else 128)
        results["shapes"].append(_measure_shape(chosen, rows, dim, results["versions"]))
    return results


def _measure_shape(chosen, rows, dim, versions):
    generator = np.random.default_rng(rows)
    z = generator.normal(size=(rows, dim)).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    labels = generator.integers(0, chosen.classes, rows)
    limit = chosen.memory_gib * 2**30
    device = jax.devices(chosen.device)[0]
    precision = jax.lax.Precision[chosen.precision]
    found = jax_contenders.contenders(
        z, labels, chosen.beta, chosen.draws, device, precision, limit
    )
    if chosen.torch:
        from scripts import torch_contenders

        where = "cuda" if chosen.device == "gpu" else "cpu"
        versions.update(torch_contenders.versions())
        found += torch_contenders.contenders(
            z, labels, chosen.beta, chosen.draws, where, limit, chosen.anchors
        )
    agreement = _agreement(found)
    before = work_done()
    times, noisy = _take_turns(found, chosen)
    others = share_of_others(before, work_done())
    with nothing_kept_by_malloc():
        peaks = {c.name: peak_memory(c, chosen.device) for c in found}
    return {
        "rows": rows,
        "dim": dim,
        "draws": jax_contenders.draws_made(labels, chosen.draws),
        "agreement": agreement,
        "rounds": max(map(len, times.values())),
        "noisy_rounds": noisy,
        "others": others,
        "contenders": [
            {
                "name": c.name,
                "mathematics": c.mathematics,
                "temporaries": c.temporaries,
                "peak": peaks[c.name],
                "extrapolated_by": c.scale,
                "seconds": [c.extrapolated(t) for t in times[c.name]],
            }
            for c in found
        ],
    }


def _agreement(found):
    """Loss and gradient of contenders of the same mathematics; raises if they differ."""
    first, errors = {}, {}
    for contender in found:
        if contender.mathematics not in ("hscl", "scl"):
            contender.run(False)
            continue
        value, gradient = contender.run(True)
        known = first.setdefault(contender.mathematics, (value, gradient))
        errors[contender.name] = [
            float(abs(value - known[0]) / abs(known[0])),
            float(np.abs(gradient - known[1]).max() / np.abs(known[1]).max()),
        ]
        if max(errors[contender.name]) > 1e-4:
            raise RuntimeError(f"{contender.name} disagrees: {errors[contender.name]}")
    return errors


def peak_memory(contender: jax_contenders.Contender, device: str) -> int | None:
    """Bytes of one call, beyond those resident before: measured on Linux, told by XLA on a GPU.

    Args:
        contender: what is called.
        device: "cpu" or "gpu".

    Returns:
        Bytes; None where they cannot be measured.
    """
    if device == "gpu":
        if contender.temporaries is not None:
            return contender.temporaries
        from scripts.torch_contenders import peak_on_gpu

        return peak_on_gpu(contender.run)
    status = Path("/proc/self/status")
    if not status.exists():
        return None

    def kilobytes(field):
        return int(next(x for x in status.read_text().splitlines() if field in x).split()[1])

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = kilobytes("VmRSS")
    contender.run(False)
    return max(0, kilobytes("VmHWM") - before) * 1024


@contextlib.contextmanager
def nothing_kept_by_malloc():
    """Has glibc give back what is freed: kept memory would serve the next call unseen."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    trim, map_from = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of mallopt(3)
    libc = ctypes.CDLL(None)
    libc.mallopt(map_from, 2**16)
    yield
    libc.mallopt(map_from, 2**25)  # where glibc itself ends up after large blocks were freed
    libc.mallopt(trim, 2**26)


def work_done() -> tuple[float, float, float] | None:
    """Clock ticks that all processes have worked, that this one has, and that there were."""
    if not Path("/proc/stat").exists():
        return None
    whole = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    own = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
    return sum(whole) - whole[3] - whole[4], own, sum(whole)


def share_of_others(before: Any, after: Any) -> float | None:
    """What other processes took of the machine between two results of `work_done`."""
    if before is None:
        return None
    busy, own, ticks = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, (busy - own) / ticks)


def _take_turns(found, chosen):
    times: dict[str, list[float]] = {c.name: [] for c in found}
    floor = next((c for c in found if c.mathematics == "3 matmuls"), found[0])
    noisy, begun = 0, time.perf_counter()
    order = np.random.default_rng(0)
    for turn in range(chosen.rounds):
        before = jax_contenders.timed(floor)
        for number in order.permutation(len(found)):
            contender = found[number]
            if len(times[contender.name]) < _turns(times[contender.name], chosen):
                times[contender.name].append(jax_contenders.timed(contender))
        after = jax_contenders.timed(floor)
        noisy += max(before, after) > NOISY * min(before, after)
        spent = time.perf_counter() - begun
        if spent > chosen.seconds and turn + 1 >= LEAST_ROUNDS:
            break
    return times, noisy


def _turns(times, chosen):
    """How many turns a contender gets: one if a turn takes very long, three if long."""
    fastest = min(times, default=0)
    if fastest > chosen.seconds / 10:
        return 1
    return LEAST_ROUNDS if fastest > chosen.seconds / 60 else chosen.rounds


def report(results: dict[str, Any]) -> str:
    """Tables in Markdown.

    Args:
        results: of `measure`.

    Returns:
        Text.
    """
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    lines = [
        "# The loss, forward and backward",
        "",
        f"{results['machine']}; {versions}; commit {results['commit']}, {results['date']}.",
        "Milliseconds: median [quartiles]. `*`: extrapolated from some anchors of the loop. "
        "Temporaries as XLA plans them; peak: resident memory of one call beyond that before it.",
    ]
    medians: dict[int, dict[str, float]] = {}
    for shape in results["shapes"]:
        lines += ["", f"## {shape['rows']} rows, {shape['dim']} features", ""]
        noise = f"Noisy rounds: {shape['noisy_rounds']} of {shape['rounds']}."
        if shape["others"] is not None:
            noise += f" Other processes: {100 * shape['others']:.0f} % of the machine."
        lines += [noise, ""]
        lines += ["| contender | ms | temporaries, MiB | peak, MiB |", "|---|---|---|---|"]
        medians[shape["rows"]] = {}
        for c in sorted(shape["contenders"], key=lambda c: np.median(c["seconds"])):
            low, middle, high = 1e3 * np.quantile(c["seconds"], (0.25, 0.5, 0.75))
            medians[shape["rows"]][c["name"]] = float(middle)
            star = "*" if c["extrapolated_by"] > 1 else ""
            star += " (1 run)" if len(c["seconds"]) == 1 else ""
            sizes = [
                "" if size is None else f"{size / 2**20:.1f}"
                for size in (c["temporaries"], c["peak"])
            ]
            numbers = f"{middle:.4g}{star} [{low:.4g}, {high:.4g}] | {' | '.join(sizes)}"
            lines.append(f"| {c['name']} | {numbers} |")
    lines += ["", "## Targets", "", "| # | rows | ratio | measured | gate | aim | |"]
    lines.append("|---|---|---|---|---|---|---|")
    for target, ratio, verdict in targets.judge(medians, results["settings"]["draws"]):
        measured = "" if ratio is None else f"{ratio:.3g}"
        what = f"{target.numerator} / {target.denominator}"
        limits = f"{target.gate:g} | {target.aim:g}"
        lines.append(
            f"| {target.number} | {target.rows} | {what} | {measured} | {limits} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def figure(results: dict[str, Any], path: Path) -> None:
    """Time and memory against the batch size, both axes logarithmic.

    Args:
        results: of `measure`.
        path: of the image.
    """
    import matplotlib.pyplot as plt

    series: dict[str, list[tuple[int, float, float | None]]] = {}
    for shape in results["shapes"]:
        for c in shape["contenders"]:
            point = (shape["rows"], 1e3 * float(np.median(c["seconds"])), c["peak"])
            series.setdefault(c["name"], []).append(point)
    canvas, (times, memory) = plt.subplots(1, 2, figsize=(13, 6), layout="constrained")
    for name, points in series.items():
        style = "-" if name.startswith("ours") else ":" if "multipl" in name else "--"
        rows = [p[0] for p in points]
        times.loglog(rows, [p[1] for p in points], style, marker="o", ms=3, label=name)
        kept = [(p[0], p[2] / 2**20) for p in points if p[2]]
        if kept:
            memory.loglog(*zip(*kept, strict=True), style, marker="o", ms=3, label=name)
    for axes, label in (
        (times, "ms, forward and backward"),
        (memory, "peak memory of one call, MiB"),
    ):
        axes.set(xlabel="rows", ylabel=label)
        axes.legend(fontsize=6)
        axes.grid(alpha=0.3, which="both")
    canvas.savefig(path, dpi=150)
    plt.close(canvas)


def commit() -> str:
    """The commit whose code is measured; "unknown" outside a repository."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
