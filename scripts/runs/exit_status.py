"""Why a command stops before its end, and the exit status it has then."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hcl_jax.checkpoints import CheckpointError
from hcl_jax.data import DatasetError
from hcl_jax.system.command_output import say_error
from scripts.experiments.catalogue import UnknownExperimentError

NO_BACKEND = "Unable to initialize backend"
"""How JAX begins to say that `JAX_PLATFORMS` names what it does not have."""


class CommandError(Exception):
    """An error that is said in one line; the command then ends with `status`."""

    status = 1


class RefusedError(CommandError, ValueError):
    """What was asked for does not fit together."""

    status = 2


class NonFiniteError(CommandError):
    """Training met a loss, gradient, parameter or embedding that is NaN or infinite."""


class PreemptedError(CommandError):
    """The run was asked to stop, and can be resumed from a checkpoint."""

    status = 143


@contextlib.contextmanager
def refusing_unknown_platforms() -> Iterator[None]:
    """Makes JAX's error about a platform that it does not have a RefusedError."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(NO_BACKEND):
            raise
        raise RefusedError(str(error).splitlines()[0]) from error


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Has errors of the disk that name no file name this path."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def run_job(job: Callable[[], None], out: Path, *, if_interrupted: str | None = None) -> int:
    """Runs the job of a command; returns the exit status, and says in one line why it failed.

    Args:
        job: what to do.
        out: where the job writes.
        if_interrupted: what Ctrl-C leaves behind; by default, what was measured so far in `out`.

    Returns:
        0; 1 after an error that a user can understand; 2 if what was asked for does not fit
        together; 130 after Ctrl-C; 143 after a signal that asked to stop.
    """
    try:
        with refusing_unknown_platforms():
            job()
    except KeyboardInterrupt:
        left = if_interrupted or f"what was measured so far is in {out}"
        print(f"\ninterrupted; {left}", file=sys.stderr)  # the line of the terminal has ^C
        return 130
    except PreemptedError as error:
        print(error, file=sys.stderr)
        return error.status
    except CommandError as error:
        return _failed(str(error), error.status)
    except UnknownExperimentError as error:
        return _failed(str(error), RefusedError.status)
    except (CheckpointError, DatasetError) as error:
        return _failed(str(error), 1)
    except BrokenPipeError:
        raise  # the output, see run_command
    except OSError as error:
        where = error.filename or out
        return _failed(f"cannot read or write {where}: {error.strerror or error}", 1)
    return 0


def _failed(reason: str, status: int) -> int:
    say_error(reason)
    return status
