"""Several runs at once, each in a thread: networks too small to keep all cores of a CPU at work.

The threads share what is compiled, so that a program is compiled once, by the first run that needs
it, while the others train. A run is the same as if it were alone.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from hcl_jax.system.preemption import Preemption, preemption
from scripts.experiments.experiment import Experiment
from scripts.runs.loop import run
from scripts.runs.runtime import ONE_DEVICE, Runtime

Results = list[dict[str, Any]]


def runs_at_once() -> int:
    """One for every core that this process may use, where training is on a CPU; else one."""
    if jax.default_backend() != "cpu":
        return 1
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


@contextlib.contextmanager
def side_by_side(
    runs: Sequence[tuple[Experiment, Path]], progress: tqdm, runtime: Runtime = ONE_DEVICE
) -> Iterator[list["Future[Results]"]]:
    """Begins runs in order, `runs_at_once` at a time; their results are to be waited for.

    Leaving the block by an error, as by one of `scripts.runs.loop.run` that a future raised, ends
    all others: those that train after their present epoch. A signal that asks to stop does so too.

    Args:
        runs: experiments and their run directories.
        progress: a bar that counts the steps of all.
        runtime: devices, data and checkpoints.
    """
    with preemption(runtime.signals) as stop, ThreadPoolExecutor(runs_at_once()) as threads:
        futures = [threads.submit(_run, *each, progress, runtime, stop) for each in runs]
        try:
            yield futures
        except BaseException:
            stop.request()
            for future in futures:
                future.cancel()
            raise


def _run(
    experiment: Experiment, path: Path, progress: tqdm, runtime: Runtime, stop: Preemption
) -> Results:
    return run(experiment, path, progress, runtime, stop=stop)
