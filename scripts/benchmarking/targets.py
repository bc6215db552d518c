"""Targets of benchmarks: ratios of two measurements, each with a gate and an aim."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

SHAPES = ((512, 99), (2048, 128), (8192, 128))


class Target(NamedTuple):
    """One ratio of medians.

    Attributes:
        number: of the list of targets.
        rows: the batch size.
        numerator: the contender whose time is divided.
        denominator: the contender by whose time it is divided.
        gate: must be reached.
        aim: wanted.
        below: whether the ratio is to be at most (True) or at least the gate.
    """

    number: int
    rows: int
    numerator: str
    denominator: str
    gate: float
    aim: float
    below: bool = False


class Verdict(NamedTuple):
    """A target and what was measured; `ratio` is None where a contender did not run."""

    target: Target
    ratio: float | None
    verdict: str


def targets(draws: int) -> list[Target]:
    """All targets that are ratios of times.

    Args:
        draws: K.

    Returns:
        The targets.
    """
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
    found = [
        Target(number, n, top, bottom, gate, aim, below)
        for number, top, bottom, gates, aims, below in by_shape
        for n, gate, aim in zip(rows, gates, aims, strict=True)
    ]
    peers = {
        "SupCon in the style of SupContrast": (4, 6),
        "pytorch-metric-learning SupConLoss": (8, 14),
        "lightly NTXentLoss": (4, 6),
    }
    found += [Target(3, rows[-1], peer, ours, *limits) for peer, limits in peers.items()]
    zero, none = "ours, blockwise, beta = 0", "ours, blockwise, no hardening"
    found += [Target(13, n, zero, none, 1.05, 1.0, True) for n in rows]
    return sorted(found, key=lambda t: (t.number, t.rows))


def judge(medians: dict[int, dict[str, float]], draws: int) -> list[Verdict]:
    """Compares medians with the targets.

    Args:
        medians: by batch size and contender.
        draws: K.

    Returns:
        A verdict for each target.
    """
    verdicts = []
    for target in targets(draws):
        times = dict(medians.get(target.rows, {}))
        exact = [times[n] for n in ("ours, blockwise", "ours, dense") if n in times]
        if exact:
            times["ours, fastest exact"] = min(exact)
        verdicts.append(verdict_of(target, times))
    return verdicts


def verdict_of(target: Target, times: Mapping[str, float]) -> Verdict:
    """Compares the times of two contenders with a target.

    Args:
        target: the target.
        times: of the contenders that ran, by name.

    Returns:
        The verdict.
    """
    top, bottom = times.get(target.numerator), times.get(target.denominator)
    if top is None or bottom is None:
        return Verdict(target, None, "not measured")
    ratio = top / bottom
    sign = 1 if target.below else -1
    reached = [sign * ratio <= sign * limit for limit in (target.gate, target.aim)]
    return Verdict(
        target, ratio, "aim met" if reached[1] else "met" if reached[0] else "gate missed"
    )


def table(verdicts: Iterable[Verdict], *, rows: bool = True) -> list[str]:
    """A table of targets and what was measured.

    Args:
        verdicts: the lines.
        rows: whether there is a column for the batch size.

    Returns:
        Lines of Markdown.
    """
    header = ["#", *(["rows"] if rows else []), "ratio", "measured", "gate", "aim", ""]
    lines = ["| " + " | ".join(header) + "|", "|---" * len(header) + "|"]
    for target, ratio, verdict in verdicts:
        cells = [str(target.number), *([str(target.rows)] if rows else [])]
        cells += [f"{target.numerator} / {target.denominator}"]
        cells += ["" if ratio is None else f"{ratio:.3g}", f"{target.gate:g}", f"{target.aim:g}"]
        lines.append("| " + " | ".join([*cells, verdict]) + " |")
    return lines
