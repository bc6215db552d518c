"""What a command writes, and how it ends where nobody reads it or it cannot be written.

A file that can be run ends with ``sys.exit(run_command(main))``.
"""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator

READER_GONE = 141
"""The exit status of a command whose output nobody reads any more, as of one that SIGPIPE ended."""


def run_command(main: Callable[[], int]) -> int:
    """Runs the `main` of a command as a process does; returns the exit status.

    A reader of the output that has gone, as of ``| head -1``, ends it without a word, as it ends
    other tools; an output that cannot be written to, as on a full disk, with one line. A warning
    that is meant for users is a line, without the place in the code that it comes from. A character
    that the output has no code for, as in ASCII, is written as an escape.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            with _warnings_in_one_line():
                return main()
        finally:
            _flush_output()
    except BrokenPipeError:
        _drop_output()
        return READER_GONE


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    of_python = warnings.formatwarning

    def line_of(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if issubclass(category, UserWarning):
            return f"warning: {message}\n"
        return of_python(message, category, filename, lineno, line)

    warnings.formatwarning = line_of
    try:
        yield
    finally:
        warnings.formatwarning = of_python


def _flush_output() -> None:
    """Writes what is left of the output now: Python would complain in its own words as it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        say_error(f"cannot write the output: {error.strerror or error}")
        raise SystemExit(1) from None


def _drop_output() -> None:
    """Has what is still written to the output, as by Python at its end, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def say_error(reason: str) -> None:
    """Says in one line of standard error what is wrong, in the form of all commands."""
    print(f"error: {' '.join(reason.split())}", file=sys.stderr)
