"""Signs of life of work that says nothing for a while, as lines on standard error."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

INTERVAL = 10.0
"""Seconds between two lines."""


@contextlib.contextmanager
def heartbeat(describe: Callable[[], str]) -> Iterator[None]:
    """Prints what `describe` returns every `INTERVAL` seconds while the block runs.

    Whole lines, so that they can be read in a log file as well as on a terminal.
    """
    done, interval = threading.Event(), INTERVAL

    def report() -> None:
        while not done.wait(interval):
            print(describe(), file=sys.stderr, flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
