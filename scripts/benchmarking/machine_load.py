"""What other processes take of the machine while something is measured, on Linux."""

import os
from pathlib import Path
from typing import NamedTuple

COUNTERS = Path("/proc/stat")


class CpuTimes(NamedTuple):
    """Processor time since the machine started, in clock ticks of one core.

    Attributes:
        busy: time in which cores worked, for any process.
        own: time in which cores worked for this process.
        total: time that passed on all cores, idle or not.
    """

    busy: float
    own: float
    total: float


def cpu_times() -> CpuTimes | None:
    """The times now; None where the system does not tell."""
    if not COUNTERS.exists():
        return None
    cores = [int(x) for x in COUNTERS.read_text().split("\n", 1)[0].split()[1:9]]
    own = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
    idle, waiting = cores[3], cores[4]
    return CpuTimes(sum(cores) - idle - waiting, own, sum(cores))


def share_of_others(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """What other processes took of the machine between two calls of `cpu_times`; None if unknown.

    Example:
        >>> share_of_others(CpuTimes(100, 40, 1000), CpuTimes(180, 100, 1200))
        0.1
    """
    if before is None or after is None:
        return None
    busy, own, total = (b - a for a, b in zip(before, after, strict=True))
    return max(0.0, (busy - own) / total) if total else None
