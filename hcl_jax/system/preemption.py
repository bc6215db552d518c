"""Signals that ask a program to stop: recorded at once, obeyed where it is safe to stop."""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from types import FrameType

from hcl_jax.system.processes import processes_where


class Preemption:
    """Whether this process has been asked to stop, by which signal if by one; see `preemption`."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.requested = False

    def request(self, by: signal.Signals | None = None) -> None:
        """Asks this process to stop."""
        self.signal, self.requested = by, True

    def requested_anywhere(self) -> bool:
        """Whether any process of the run has been asked to stop; to be called by all of them."""
        return bool(processes_where(self.requested))


@contextlib.contextmanager
def preemption(signals: Sequence[signal.Signals] = (signal.SIGTERM,)) -> Iterator[Preemption]:
    """Records signals instead of letting them end the program; for the main thread only.

    The first signal is recorded and the former handlers are put back, so that a second signal ends
    the program as usual. The handlers are put back on leaving the block, too.
    """
    asked = Preemption()
    # A handler that was not installed from Python reads as None, and cannot be put back.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in signals}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def record(number: int, frame: FrameType | None) -> None:
        asked.request(signal.Signals(number))
        put_back()

    try:
        for number in signals:
            signal.signal(number, record)
        yield asked
    finally:
        put_back()
