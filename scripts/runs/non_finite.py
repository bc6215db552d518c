"""Stops a run whose loss is NaN or infinite, and writes what is known of it."""

import numpy as np

from hcl_jax.training import StepInfo
from scripts.experiments.experiment import Experiment
from scripts.runs.exit_status import NonFiniteLossError
from scripts.runs.run_directory import RunDirectory

SHOWN_STEPS = 20
"""Steps before a loss that is not finite in its diagnostic."""


def check_finite_losses(
    infos: StepInfo, epoch: int, experiment: Experiment, directory: RunDirectory
) -> None:
    """Raises NonFiniteLossError, with the last steps in diagnostic.json, unless all are finite."""
    finite = np.isfinite(infos.loss)
    if finite.all():
        return
    seed, step = np.argwhere(~finite)[0]
    number = (max(epoch, 1) - 1) * infos.loss.shape[1] + step + 1
    shown = slice(max(0, step - SHOWN_STEPS), step + 1)
    steps = {name: values[seed, shown].tolist() for name, values in infos._asdict().items()}
    directory.diagnose(
        {
            "experiment": experiment.name,
            "seed": experiment.seeds[seed],
            "epoch": epoch,
            "step": int(number),
            "steps_shown": len(steps["loss"]),
            **{name: [_json_number(x) for x in values] for name, values in steps.items()},
        }
    )
    raise NonFiniteLossError(
        f"the loss is {infos.loss[seed, step]} at step {number} of {experiment.method} "
        f"(beta = {experiment.beta:g}, seed {experiment.seeds[seed]}, {experiment.data}, "
        f"{experiment.normalization}); everything before it is kept, and diagnostic.json has "
        f"the losses and norms of the last steps"
    )


def _json_number(value: float) -> float | str:
    """A number that JSON can hold, or its name."""
    return value if np.isfinite(value) else str(value)
