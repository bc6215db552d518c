"""What other processes take of the machine while something is measured, on Linux."""

import os
from pathlib import Path
from typing import NamedTuple

COUNTERS = Path("/proc/stat")


class Ticks(NamedTuple):
    """Clock ticks since the machine started.

    Attributes:
        worked: of all processes.
        own: of this process.
        passed: of all cores, idle or not.
    """

    worked: float
    own: float
    passed: float


def ticks() -> Ticks | None:
    """Now; None where the system does not tell."""
    if not COUNTERS.exists():
        return None
    cores = [int(x) for x in COUNTERS.read_text().split("\n", 1)[0].split()[1:9]]
    own = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
    return Ticks(sum(cores) - cores[3] - cores[4], own, sum(cores))


def share_of_others(before: Ticks | None, after: Ticks | None) -> float | None:
    """What other processes took of the machine between two calls of `ticks`; None if unknown.

    Example:
        >>> share_of_others(Ticks(100, 40, 1000), Ticks(180, 100, 1200))
        0.1
    """
    if before is None or after is None:
        return None
    worked, own, passed = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, (worked - own) / passed) if passed else None
