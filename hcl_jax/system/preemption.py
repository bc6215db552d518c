"""Signals that ask a program to stop: noticed at once, obeyed where it is safe."""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from types import FrameType

from hcl_jax.system.processes import said_by


class Preemption:
    """Whether the program has been asked to stop; use `preemption`.

    Attributes:
        signal: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        """Whether this process has been asked to stop."""
        return self.signal is not None

    def requested_anywhere(self) -> bool:
        """Whether any process of the run has been asked to stop; all processes have to ask."""
        return bool(said_by(self.requested))


@contextlib.contextmanager
def preemption(signals: Sequence[signal.Signals] = (signal.SIGTERM,)) -> Iterator[Preemption]:
    """Turns signals into a flag, to be looked at between two epochs.

    The first signal sets the flag and puts the handlers back that were there before, so that a
    second one does what it always did: it ends the program. They are put back on leaving, too.

    Args:
        signals: those that ask to stop, `signal.SIGINT` for Ctrl-C among them if wanted.

    Yields:
        The flag.

    Returns:
        A context manager, for the main thread.

    Raises:
        ValueError: in another thread than the main one.

    Example:
        >>> import os, signal
        >>> with preemption() as asked:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     asked.requested, asked.signal.name
        (True, 'SIGTERM')
    """
    asked = Preemption()
    # A handler that was not installed from Python reads as None, and cannot be put back.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in signals}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def notice(number: int, frame: FrameType | None) -> None:
        asked.signal = signal.Signals(number)
        put_back()

    try:
        for number in signals:
            signal.signal(number, notice)
        yield asked
    finally:
        put_back()
