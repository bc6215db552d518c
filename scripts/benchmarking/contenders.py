"""One row of a benchmark, and how its time and its memory are measured."""

import contextlib
import ctypes
import gc
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

TURN = 0.05
"""Seconds that a turn of a fast contender lasts at least."""

LEAST_ROUNDS = 3
"""Rounds that are run however long they take."""


class Contender(NamedTuple):
    """One row of a benchmark.

    Attributes:
        name: its name.
        mathematics: contenders of one kind must agree before they are timed.
        run: computes and waits; returns what it computed as numpy arrays or floats if asked to.
        temporaries: bytes of temporaries, where the compiler tells.
        scale: by which times are multiplied, where only part of the work is done.
        fixed: seconds that are not multiplied.
    """

    name: str
    mathematics: str
    run: Callable[[bool], Any]
    temporaries: int | None = None
    scale: float = 1.0
    fixed: float = 0.0

    def turn(self) -> float:
        """Seconds of one call."""
        return timed(lambda: self.run(False))

    def extrapolated(self, seconds: float) -> float:
        """The time of the whole work, from that of the part."""
        return self.fixed + self.scale * (seconds - self.fixed)

    def record(self, seconds: Iterable[float], peak: int | None) -> dict[str, Any]:
        """What was measured of it, ready for JSON.

        Args:
            seconds: of its turns.
            peak: bytes of one call.

        Returns:
            Its name and kind, memory, and the times of the whole work.
        """
        return {
            "name": self.name,
            "mathematics": self.mathematics,
            "temporaries": self.temporaries,
            "peak": peak,
            "extrapolated_by": self.scale,
            "seconds": [self.extrapolated(one) for one in seconds],
        }


def timed(run: Callable[[], Any]) -> float:
    """Wall time of one call, the mean of as many as take `TURN` seconds.

    Args:
        run: what to call.

    Returns:
        Seconds.
    """
    begun, calls, spent = time.perf_counter(), 0, 0.0
    while spent < TURN:
        run()
        calls, spent = calls + 1, time.perf_counter() - begun
    return spent / calls


def take_turns(
    turns: Mapping[str, Callable[[], float]], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Times everything in rounds, so that what else the machine does falls on all alike.

    Args:
        turns: each takes its turn and tells its time.
        rounds: how many there are.
        seconds: after this long no new round begins, but for the first `LEAST_ROUNDS`.

    Returns:
        The times by name.
    """
    times: dict[str, list[float]] = {name: [] for name in turns}
    begun = time.perf_counter()
    for number in range(1, rounds + 1):
        for name, turn in turns.items():
            times[name].append(turn())
        if time.perf_counter() - begun > seconds and number >= LEAST_ROUNDS:
            break
    return times


def temporaries(compiled: Any) -> int | None:
    """Bytes of temporaries of a program that JAX compiled, where XLA tells."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes


def peak_memory(contender: Contender, device: str) -> int | None:
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
        return _peak_of_torch(contender.run)
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


def _peak_of_torch(run: Callable[[bool], Any]) -> int:
    """Bytes that PyTorch allocates on the GPU during one call, beyond those before."""
    import torch

    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run(False)
    return torch.cuda.max_memory_allocated() - before


@contextlib.contextmanager
def nothing_kept_by_malloc() -> Iterator[None]:
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
