"""How long the host itself works while the training program trains.

Between two epochs the host starts the next one, looks at losses and moves the progress bar; for the
rest of the time its thread waits. The processor time of that thread, which does not run while it
waits, is the host's work.
"""

import itertools
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from scripts.experiments.experiment import Experiment
from scripts.experiments.networks import NetworkName
from scripts.runs.loop import run
from scripts.runs.runtime import ONE_DEVICE

EPOCHS = 6
"""The first compiles, and the time begins at the end of the second."""


class HostWork(NamedTuple):
    """Epochs of the training program, one entry for each.

    Attributes:
        steps: steps in an epoch.
        seconds: wall seconds from the end of the epoch before to its end.
        host: seconds of processor time of the host's thread in them.
    """

    steps: int
    seconds: list[float]
    host: list[float]


class _EpochClock(tqdm):
    """A progress bar that notes both times whenever it moves: after each epoch but the first."""

    def __init__(self) -> None:
        super().__init__(disable=True)
        self.moved: list[tuple[float, float, float]] = []

    def update(self, n: float | None = 1) -> bool | None:
        self.moved.append((n or 0, time.perf_counter(), time.thread_time()))
        return super().update(n)


def host_work(network: NetworkName, batch_size: int) -> HostWork:
    """Trains the digits on one device for a few epochs, as `scripts.train` does."""
    experiment = Experiment(
        data="digits", network=network, batch_size=batch_size, epochs=EPOCHS, evaluations=1
    )
    clock = _EpochClock()
    with tempfile.TemporaryDirectory() as directory:
        run(experiment, Path(directory), clock, ONE_DEVICE)
    epochs = list(itertools.pairwise(clock.moved))
    return HostWork(
        steps=int(clock.moved[0][0]),
        seconds=[after[1] - before[1] for before, after in epochs],
        host=[after[2] - before[2] for before, after in epochs],
    )
