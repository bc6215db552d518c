"""Why a program stops before its end, and what it says then."""

import sys
from collections.abc import Callable
from pathlib import Path

from hcl_jax.checkpoints import CheckpointError
from hcl_jax.data import DatasetError
from scripts.runs.run_directory import RunDirectoryError


class RefusedError(ValueError):
    """What was asked for does not fit together."""


class NonFiniteLossError(Exception):
    """Training met a loss that is NaN or infinite."""


class PreemptedError(Exception):
    """The run was asked to stop, and can go on from a checkpoint."""


def reported(out: Path, job: Callable[[], None]) -> int:
    """Runs the job of a command line and says in one line why it stopped, if it did.

    Args:
        out: where the job writes.
        job: what to do.

    Returns:
        The exit status: 0, 1 after an error that a user can understand, 130 after Ctrl-C, 143 after
        a signal that asked to stop, 2 if what was asked for does not fit together.
    """
    try:
        job()
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was measured so far is in {out}", file=sys.stderr)
        return 130
    except PreemptedError as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        return 143
    except (NonFiniteLossError, RunDirectoryError, CheckpointError, DatasetError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except RefusedError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = error.filename or out
        print(f"\ncannot read or write {where}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0
