"""Stops a run in which a number is NaN or infinite, before it is saved."""

from typing import Any, NoReturn

import numpy as np
from jaxtyping import Array, Bool, Float

from hcl_jax.training import StepInfo, first_non_finite
from scripts.experiments.experiment import Experiment
from scripts.runs.exit_status import NonFiniteError
from scripts.runs.run_directory import RunDirectory

SHOWN_STEPS = 20
"""Steps before a number that is not finite in its diagnostic."""


def check_finite_steps(
    infos: StepInfo,
    finite_states: Bool[np.ndarray, " seed"],
    epoch: int,
    experiment: Experiment,
    directory: RunDirectory,
) -> None:
    """Raises NonFiniteError, with the last steps in diagnostic.json, if an epoch went wrong.

    Args:
        infos: of the steps of the epoch, with the seeds along the leading axis.
        finite_states: whether the states after the epoch are finite.
        epoch: number of the epoch.
        experiment: what is trained.
        directory: of the run.
    """
    found = first_non_finite(infos, finite_states)
    if found is None:
        return
    what, seed, step = found
    shown = slice(max(0, step - SHOWN_STEPS), step + 1)
    steps = {
        name: [_json_number(x) for x in values[seed, shown].tolist()]
        for name, values in infos._asdict().items()
    }
    of_all = (max(epoch, 1) - 1) * infos.loss.shape[1] + step + 1
    _stop(what, seed, of_all, epoch, experiment, directory, steps)


def check_finite_embeddings(
    embeddings: tuple[Float[Array, "seed n dim"], ...],
    steps: int,
    epoch: int,
    experiment: Experiment,
    directory: RunDirectory,
) -> None:
    """Raises NonFiniteError if an embedding that is to be measured is not finite."""
    finite = np.all([np.isfinite(split).all(axis=(1, 2)) for split in embeddings], axis=0)
    if not finite.all():
        seed = int(np.argmin(finite))
        _stop("an embedding is not finite", seed, steps, epoch, experiment, directory, {})


def _stop(
    what: str,
    seed: int,
    step: int,
    epoch: int,
    experiment: Experiment,
    directory: RunDirectory,
    steps: dict[str, Any],
) -> NoReturn:
    """Writes the diagnostic, and raises the error."""
    directory.diagnose(
        {
            "experiment": experiment.name,
            "what": what,
            "seed": experiment.seeds[seed],
            "epoch": epoch,
            "step": step,
            **steps,
        }
    )
    raise NonFiniteError(
        f"{what} at step {step} of {experiment.method} "
        f"(beta = {experiment.beta:g}, seed {experiment.seeds[seed]}, {experiment.data}, "
        f"{experiment.normalization}); no checkpoint has it, and diagnostic.json has the "
        f"losses and norms of the last steps"
    )


def _json_number(value: float) -> float | str:
    """A number that JSON can hold, or its name, which here is of interest."""
    return value if np.isfinite(value) else str(value)
