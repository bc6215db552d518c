"""Progress of long work: a bar on a terminal, a line now and then in a log file."""

import sys
from typing import Any, TextIO

from tqdm import tqdm

TERMINAL_SECONDS = 0.5
"""Least time between two states of a bar on a terminal."""

LOG_SECONDS = 15.0
"""Least time between two lines in a log file."""

UNEVEN = "{desc}: {n_fmt} of {total_fmt}, {elapsed}"
"""The `bar_format` of what has long and short parts: from those done it cannot say what is left."""


class _Lines:
    """A text stream on which every state of a bar, begun by a carriage return, is a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Writes a state of the bar; tqdm's blanks and line ends say nothing on their own."""
        state = text.strip()
        if state:
            self._stream.write(f"{state}\n")

    def flush(self) -> None:
        """Flushes the stream."""
        self._stream.flush()


def progress_bar(**options: Any) -> tqdm:
    """A bar on standard error, with tqdm's options; where that is a file, each state is a line.

    With `leave=False`, what takes no longer than the time between two states shows nothing.
    """
    watched = sys.stderr.isatty()
    interval = TERMINAL_SECONDS if watched else LOG_SECONDS
    passing: dict[str, Any] = {} if options.get("leave", True) else {"delay": interval}
    if not watched:
        passing["file"] = _Lines(sys.stderr)
        if "bar_format" not in options:
            passing["ncols"] = 0  # numbers instead of a drawn bar
    return tqdm(mininterval=interval, maxinterval=interval, **passing, **options)
