"""The update, the epoch, and what a host calls."""

from hcl_jax.training.batch_loss import anchor_losses, rows_of_views
from hcl_jax.training.embedding import embed
from hcl_jax.training.microbatches import loss_and_gradient
from hcl_jax.training.program import Program
from hcl_jax.training.runner import AXIS, DataParallel, Runner, SingleDevice
from hcl_jax.training.targets import Aim, Corner, Frame, corner, frame_losses, simplex_frame
from hcl_jax.training.updates import (
    StepInfo,
    TrainState,
    each_seed,
    epoch_batches,
    init_state,
    restart,
    train_batches,
    train_epoch,
    train_epoch_of_seeds,
    train_step,
)

__all__ = [
    "AXIS",
    "Aim",
    "Corner",
    "DataParallel",
    "Frame",
    "Program",
    "Runner",
    "SingleDevice",
    "StepInfo",
    "TrainState",
    "anchor_losses",
    "corner",
    "each_seed",
    "embed",
    "epoch_batches",
    "frame_losses",
    "init_state",
    "loss_and_gradient",
    "restart",
    "rows_of_views",
    "simplex_frame",
    "train_batches",
    "train_epoch",
    "train_epoch_of_seeds",
    "train_step",
]
