"""The update, the epoch, and what a host calls."""

from hcl_jax.training.batch_loss import rows_of_views, target_losses
from hcl_jax.training.batch_order import epoch_batches
from hcl_jax.training.embedding import embed
from hcl_jax.training.epochs import run_epoch
from hcl_jax.training.fitting import Fitted, fit
from hcl_jax.training.microbatches import loss_and_gradient
from hcl_jax.training.non_finite import NonFinite, first_non_finite
from hcl_jax.training.program import ClassBalance, Program
from hcl_jax.training.runner import AXIS, DataParallel, Runner, SingleDevice
from hcl_jax.training.states import TrainState, all_finite, init_state, restart
from hcl_jax.training.targets import (
    ClassTargets,
    Target,
    class_target_losses,
    simplex_targets,
    traced_objective,
)
from hcl_jax.training.updates import (
    StepInfo,
    each_seed,
    train_batches,
    train_epoch,
    train_epoch_of_seeds,
    train_step,
)

__all__ = [
    "AXIS",
    "ClassBalance",
    "ClassTargets",
    "DataParallel",
    "Fitted",
    "NonFinite",
    "Program",
    "Runner",
    "SingleDevice",
    "StepInfo",
    "Target",
    "TrainState",
    "all_finite",
    "class_target_losses",
    "each_seed",
    "embed",
    "epoch_batches",
    "first_non_finite",
    "fit",
    "init_state",
    "loss_and_gradient",
    "restart",
    "rows_of_views",
    "run_epoch",
    "simplex_targets",
    "target_losses",
    "traced_objective",
    "train_batches",
    "train_epoch",
    "train_epoch_of_seeds",
    "train_step",
]


def __dir__() -> list[str]:
    return __all__
