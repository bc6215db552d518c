"""Times and memory of the loss, forward and backward, beside its peers.

    python -m scripts.benchmark_losses [--device cpu|gpu] [--rows 512 2048 8192] [--out DIR]

needs ``pip install hcl-jax[benchmark]``. Contenders of the same mathematics must agree in loss and
gradient before any is timed. Then all take turns, round by round and in another order each, so that
whatever else the machine does falls on all alike; the bare multiplication is timed at both ends of
every round, and a round in which the two differ by more than 30 % counts as noisy. What other
processes took of the machine meanwhile is reported. Writes ``losses.json`` with every single time,
``losses.md`` with medians, quartiles and ratios against the targets, and a figure.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float, Int

from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.benchmarking import losses_jax
from scripts.benchmarking.contenders import (
    LEAST_ROUNDS,
    Contender,
    DeviceName,
    DisagreementError,
    check_torch,
    first_device,
    nothing_kept_by_malloc,
    peak_memory,
    say,
)
from scripts.benchmarking.losses_report import figure, report
from scripts.benchmarking.machine_load import cpu_times, share_of_others
from scripts.benchmarking.results import MACHINE, Results, origin, run_benchmark
from scripts.runs.exit_status import CommandError

NOISY = 1.3
"""Ratio of two times of the bare multiplication from which a round counts as noisy."""

TOLERANCES = {"HIGHEST": 1e-4, "HIGH": 1e-3, "DEFAULT": 1e-2}
"""How far losses and gradients of the same mathematics may lie apart, relatively.

The last is for factors of 11 bits (TF32): each similarity is off by up to 2^-10, and beta times as
much is the logarithm of a weight.
"""


PAGE = Page(
    "python -m scripts.benchmark_losses",
    "[options]",
    "Times the losses beside those of PyTorch and other codes; writes tables and figures.",
    {
        "What is timed": ("device", "rows", "dim", "dtype", "torch", "only"),
        "How long": ("rounds", "seconds", "memory_gib"),
        "Where": ("machine", "out"),
    },
    "python -m scripts.benchmark_losses --rows 512 --rounds 3 --no-torch --out runs/benchmark",
)


COMPARED = (
    *("hscl", "scl", "supcon", "supcon, normalised", "nt-xent, normalised"),
    *("two halves", "ntxent"),
)
"""Kinds of mathematics whose contenders must agree."""


@dataclasses.dataclass(frozen=True)
class LossBenchmark:
    """Time the losses.

    Attributes:
        device: where to run.
        rows: batch sizes; 512 has 99 features, the others 128 (or `dim`).
        dim: number of features at every batch size, if given.
        dtype: dtype of the embeddings; in bfloat16 only contenders of JAX take part, as PyTorch
            would round the similarities, too.
        rounds: how often every contender takes its turn.
        seconds: after this long no new round begins at one batch size.
        classes: number of labels.
        beta: hardness.
        draws: K of the sampled estimator.
        anchors: anchors of the reference loop; its time is extrapolated to the whole batch.
        precision: precision of float32 multiplications on a GPU; below HIGHEST those of PyTorch
            may take TF32, too.
        memory_gib: contenders that need more temporaries are left out.
        torch: whether the PyTorch contenders take part.
        only: names of the contenders that take part, as the tables have them; by default all.
        machine: how the results name the machine.
        out: the directory of the results.
    """

    device: DeviceName = "cpu"
    rows: tuple[int, ...] = (512, 2048, 8192)
    dim: int | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    rounds: int = 15
    seconds: float = 240.0
    classes: int = 100
    beta: float = 5.0
    draws: int = 256
    anchors: int = 64
    precision: Literal["HIGHEST", "HIGH", "DEFAULT"] = "HIGHEST"
    memory_gib: float = 12.0
    torch: bool = True
    only: tuple[str, ...] = ()
    machine: str = MACHINE
    out: Path = Path("benchmarks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    chosen = parsed(LossBenchmark, PAGE, arguments)
    return run_benchmark("losses", chosen.out, lambda: measure(chosen), report, figure)


def measure(chosen: LossBenchmark) -> Results:
    """Settings, versions and the raw times of all contenders, ready for JSON."""
    results = {**origin(chosen), "shapes": []}
    if _with_torch(chosen):
        check_torch()
        from scripts.benchmarking.losses_torch import versions

        results["versions"] |= versions()
    for rows in chosen.rows:
        dim = chosen.dim or (99 if rows == 512 else 128)
        results["shapes"].append(_measure_shape(chosen, rows, dim))
    return results


def _measure_shape(chosen: LossBenchmark, rows: int, dim: int) -> dict[str, Any]:
    say(f"{rows} rows, {dim} features")
    generator = np.random.default_rng(rows)
    z = generator.normal(size=(rows, dim)).astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    labels = generator.integers(0, chosen.classes, rows)
    contenders = _contenders(chosen, z, labels)
    if not contenders:
        raise CommandError(
            f"no contender at {rows} rows: none is called {chosen.only} or none fits "
            f"{chosen.memory_gib} GiB; see --only and --memory-gib"
        )
    tolerance = TOLERANCES["DEFAULT" if chosen.dtype == "bfloat16" else chosen.precision]
    agreement = check_agreement(contenders, tolerance)
    before = cpu_times()
    times, noisy = _take_turns(contenders, chosen)
    taken = share_of_others(before, cpu_times())
    peaks = _peaks(chosen, contenders)
    return {
        "rows": rows,
        "dim": dim,
        "draws": losses_jax.draws_made(labels, chosen.draws),
        "agreement": agreement,
        "rounds": max(map(len, times.values())),
        "noisy_rounds": noisy,
        "others": taken,
        "contenders": [c.record(times[c.name], peaks[c.name]) for c in contenders],
    }


def _contenders(
    chosen: LossBenchmark, z: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"]
) -> list[Contender]:
    limit = chosen.memory_gib * 2**30
    device = first_device(chosen.device)
    precision = jax.lax.Precision[chosen.precision]
    contenders = losses_jax.contenders(
        z.astype(chosen.dtype),
        labels,
        chosen.beta,
        chosen.draws,
        device,
        precision,
        limit,
        chosen.only,
    )
    if not _with_torch(chosen):
        return contenders
    from scripts.benchmarking import losses_torch

    losses_torch.allow_tf32(chosen.precision != "HIGHEST")
    where = "cuda" if chosen.device == "gpu" else "cpu"
    others = losses_torch.contenders(
        z, labels, chosen.beta, chosen.draws, where, limit, chosen.anchors
    )
    return contenders + [c for c in others if not chosen.only or c.name in chosen.only]


def _peaks(chosen: LossBenchmark, contenders: Sequence[Contender]) -> dict[str, int | None]:
    """Peak memory of one call of each contender."""
    on_gpu = None
    if _with_torch(chosen):
        from scripts.benchmarking.losses_torch import peak_on_gpu as on_gpu
    with nothing_kept_by_malloc():
        return {c.name: peak_memory(c, chosen.device, measure_on_gpu=on_gpu) for c in contenders}


def _with_torch(chosen: LossBenchmark) -> bool:
    """Whether contenders of PyTorch take part."""
    return chosen.torch and chosen.dtype == "float32"


def check_agreement(contenders: Sequence[Contender], tolerance: float) -> dict[str, list[float]]:
    """Relative differences of loss and gradient from the first contender of the same mathematics.

    Raises:
        DisagreementError: if one is above the tolerance.
    """
    first, errors = {}, {}
    for contender in contenders:
        say(f"first call of {contender.name}")
        if contender.mathematics not in COMPARED:
            contender.run(False)
            continue
        value, gradient = contender.run(True)
        known = first.setdefault(contender.mathematics, (value, gradient))
        errors[contender.name] = [
            float(abs(value - known[0]) / abs(known[0])),
            float(np.abs(gradient - known[1]).max() / np.abs(known[1]).max()),
        ]
        if not max(errors[contender.name]) <= tolerance:
            raise DisagreementError(f"{contender.name} disagrees: {errors[contender.name]}")
    return errors


def _take_turns(
    contenders: Sequence[Contender], chosen: LossBenchmark
) -> tuple[dict[str, list[float]], int]:
    """Times in rounds, each in another order, by name; and the number of noisy rounds."""
    times: dict[str, list[float]] = {c.name: [] for c in contenders}
    floor = next((c for c in contenders if c.mathematics == "3 matmuls"), contenders[0])
    noisy, begun = 0, time.perf_counter()
    order = np.random.default_rng(0)
    for turn in range(chosen.rounds):
        say(f"round {turn + 1} of at most {chosen.rounds}")
        before = floor.turn()
        for number in order.permutation(len(contenders)):
            contender = contenders[number]
            if len(times[contender.name]) < _turns(times[contender.name], chosen):
                times[contender.name].append(contender.turn())
        after = floor.turn()
        noisy += max(before, after) > NOISY * min(before, after)
        spent = time.perf_counter() - begun
        if spent > chosen.seconds and turn + 1 >= LEAST_ROUNDS:
            break
    return times, noisy


def _turns(times: Sequence[float], chosen: LossBenchmark) -> int:
    """How many turns a contender gets: one if a turn takes very long, three if long."""
    fastest = min(times, default=0)
    if fastest > chosen.seconds / 10:
        return 1
    return LEAST_ROUNDS if fastest > chosen.seconds / 60 else chosen.rounds


if __name__ == "__main__":
    sys.exit(run_command(main))
