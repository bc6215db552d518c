"""Targets of benchmarks: ratios of two measurements, each with a gate and an aim."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from scripts.runs import markdown

SHAPES = ((512, 99), (2048, 128), (8192, 128))


class Target(NamedTuple):
    """A ratio of medians, and the bounds it is compared with.

    Attributes:
        number: its number in the list of targets.
        rows: batch size.
        numerator: the contender whose time is divided.
        denominator: the contender by whose time it is divided.
        gate: the bound that must be reached.
        aim: the bound that is wanted.
        below: whether the ratio is to be at most the bounds, rather than at least.
    """

    number: int
    rows: int
    numerator: str
    denominator: str
    gate: float
    aim: float
    below: bool = False


class GateResult(NamedTuple):
    """A target and what was measured; `ratio` is None where a contender did not run."""

    target: Target
    ratio: float | None
    outcome: Literal["aim met", "met", "gate missed", "not measured"]


def loss_targets(draws: int) -> list[Target]:
    """All targets of the loss, for K = `draws`."""
    rows = [shape[0] for shape in SHAPES]
    ours, loop = "ours, fastest exact", f"reference loop, K = {draws}"
    sampled = f"ours, sampled, K = {draws}"
    floor, compiled = "3 multiplications, JAX", "torch.compile, same mathematics"
    by_shape = [
        (1, ours, floor, (2.3, 1.8, 1.35), (1.5, 1.2, 1.0), True),
        (2, compiled, ours, (0.85, 1.0, 1.4), (1.2, 1.5, 2.0), False),
        (4, loop, ours, (80, 200, 3000), (120, 350, 5000), False),
        (5, loop, sampled, (6, 12, 150), (12, 30, 400), False),
    ]
    targets = [
        Target(number, n, top, bottom, gate, aim, below)
        for number, top, bottom, gates, aims, below in by_shape
        for n, gate, aim in zip(rows, gates, aims, strict=True)
    ]
    peers = {
        "SupCon in the style of SupContrast": (4, 6),
        "pytorch-metric-learning SupConLoss": (8, 14),
        "lightly NTXentLoss": (4, 6),
    }
    targets += [Target(3, rows[-1], peer, ours, *limits) for peer, limits in peers.items()]
    zero, none = "ours, blockwise, beta = 0", "ours, blockwise, no hardening"
    targets += [Target(13, n, zero, none, 1.05, 1.0, True) for n in rows]
    return sorted(targets, key=lambda t: (t.number, t.rows))


def loss_gate_results(medians: Mapping[int, Mapping[str, float]], draws: int) -> list[GateResult]:
    """Compares medians, by batch size and contender, with the targets of the loss."""
    results = []
    for target in loss_targets(draws):
        times = dict(medians.get(target.rows, {}))
        exact = [times[n] for n in ("ours, blockwise", "ours, dense") if n in times]
        if exact:
            times["ours, fastest exact"] = min(exact)
        results.append(gate_result(target, times))
    return results


def gate_result(target: Target, times: Mapping[str, float]) -> GateResult:
    """Compares the times of two contenders with a target; `times` has those that ran, by name."""
    top, bottom = times.get(target.numerator), times.get(target.denominator)
    if top is None or bottom is None:
        return GateResult(target, None, "not measured")
    ratio = top / bottom
    sign = 1 if target.below else -1
    if sign * ratio <= sign * target.aim:
        return GateResult(target, ratio, "aim met")
    met = sign * ratio <= sign * target.gate
    return GateResult(target, ratio, "met" if met else "gate missed")


def gate_table(results: Iterable[GateResult], *, with_rows: bool = True) -> list[str]:
    """A Markdown table of targets and what was measured; `with_rows` adds the batch size."""
    header = ["#", *(["rows"] if with_rows else []), "ratio", "measured", "gate", "aim", ""]
    lines = []
    for target, ratio, outcome in results:
        cells = [str(target.number), *([str(target.rows)] if with_rows else [])]
        cells += [f"{target.numerator} / {target.denominator}"]
        cells += ["" if ratio is None else f"{ratio:.3g}", f"{target.gate:g}", f"{target.aim:g}"]
        lines.append([*cells, outcome])
    return markdown.table(header, lines)
