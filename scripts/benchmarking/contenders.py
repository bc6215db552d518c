"""One row of a benchmark, and how its time and its memory are measured."""

import contextlib
import ctypes
import gc
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from scripts.benchmarking.hlo_text import instruction_count
from scripts.runs.exit_status import CommandError, RefusedError

DeviceName = Literal["cpu", "gpu"]

TURN = 0.05
"""Seconds that a turn of a fast contender lasts at least."""

LEAST_ROUNDS = 3
"""Rounds that are run however long they take."""


class DisagreementError(CommandError):
    """Contenders of the same mathematics that compute different numbers."""


class Compilation(NamedTuple):
    """What it takes to compile a program, once.

    Attributes:
        tracing: processor seconds of all threads, from the function to StableHLO.
        compiling: the same, from StableHLO to the program.
        instructions: the number of HLO instructions of the program, those inside fusions included.
    """

    tracing: float
    compiling: float
    instructions: int


class Contender(NamedTuple):
    """One row of a benchmark.

    Attributes:
        name: its name.
        mathematics: contenders of one kind must agree before they are timed.
        run: computes and waits; returns what it computed as numpy arrays or floats if asked to.
        temporaries: bytes of temporaries, where the compiler tells.
        scale: factor from the part of the work that is run to the whole.
        fixed: seconds that are not multiplied.
        compilation: what compiling took, of a program that JAX compiled.
    """

    name: str
    mathematics: str
    run: Callable[[bool], Any]
    temporaries: int | None = None
    scale: float = 1.0
    fixed: float = 0.0
    compilation: Compilation | None = None

    def turn(self) -> float:
        """Seconds of one call."""
        return timed(lambda: self.run(False))

    def extrapolated(self, seconds: float) -> float:
        """The time of the whole work, from that of the part."""
        return self.fixed + self.scale * (seconds - self.fixed)

    def record(self, seconds: Iterable[float], peak: int | None) -> dict[str, Any]:
        """Its name, kind and memory, and the times of the whole work, ready for JSON."""
        return {
            "name": self.name,
            "mathematics": self.mathematics,
            "temporaries": self.temporaries,
            "peak": peak,
            "compilation": None if self.compilation is None else self.compilation._asdict(),
            "extrapolated_by": self.scale,
            "seconds": [self.extrapolated(one) for one in seconds],
        }


def first_device(name: DeviceName) -> Any:
    """The first device of a kind; refuses a kind that JAX does not find."""
    try:
        return jax.devices(name)[0]
    except RuntimeError as error:
        raise RefusedError(f"JAX finds no {name}: {error}") from error


def check_torch() -> None:
    """Raises CommandError unless PyTorch can be imported."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise CommandError(
            f"the PyTorch contenders need torch ({error}); pip install hcl-jax[benchmark]"
        ) from error


def say(what: str) -> None:
    """Prints what is being done, at once, also where the output is a file."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def timed(run: Callable[[], Any]) -> float:
    """Wall seconds of one call: the mean of as many calls as take `TURN` seconds."""
    begun, calls, spent = time.perf_counter(), 0, 0.0
    while spent < TURN:
        run()
        calls, spent = calls + 1, time.perf_counter() - begun
    return spent / calls


def take_turns(
    turns: Mapping[str, Callable[[], float]], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Times everything in rounds, so that what else the machine does falls on all alike.

    After so many seconds no new round begins, except for the first `LEAST_ROUNDS`.
    """
    times: dict[str, list[float]] = {name: [] for name in turns}
    begun = time.perf_counter()
    for number in range(1, rounds + 1):
        say(f"round {number} of at most {rounds}")
        for name, turn in turns.items():
            times[name].append(turn())
        if time.perf_counter() - begun > seconds and number >= LEAST_ROUNDS:
            break
    return times


def compile_timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Compilation]:
    """The program of a function that JAX compiles, and what that takes."""
    begun = time.process_time()
    lowered = jax.jit(function).lower(*arguments)
    traced = time.process_time()
    compiled = lowered.compile()
    done = time.process_time()
    instructions = instruction_count(compiled.as_text() or "")
    return compiled, Compilation(traced - begun, done - traced, instructions)


def temporaries(compiled: Any) -> int | None:
    """Bytes of temporaries of a program that JAX compiled, where XLA tells."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes


def peak_memory(
    contender: Contender,
    device: DeviceName,
    *,
    measure_on_gpu: Callable[[Callable[[bool], Any]], int] | None = None,
) -> int | None:
    """Bytes of one call, beyond those resident before; None where they cannot be measured.

    Measured on Linux for CPUs. On GPUs they are the temporaries that XLA tells, or what
    `measure_on_gpu` finds for a contender that XLA did not compile.
    """
    if device == "gpu":
        if contender.temporaries is not None or measure_on_gpu is None:
            return contender.temporaries
        return measure_on_gpu(contender.run)
    status = Path("/proc/self/status")
    if not status.exists():
        return None

    def kilobytes(field: str) -> int:
        return int(next(x for x in status.read_text().splitlines() if field in x).split()[1])

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = kilobytes("VmRSS")
    contender.run(False)
    return max(0, kilobytes("VmHWM") - before) * 1024


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
