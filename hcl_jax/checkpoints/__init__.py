"""Checkpoints that a kill leaves whole."""

from hcl_jax.checkpoints.checkpoints import (
    CheckpointMismatchError,
    Checkpoints,
    Mode,
    Restored,
    restore_best,
    restore_latest,
)
from hcl_jax.checkpoints.directory import CheckpointError, Rejected

__all__ = [
    "CheckpointError",
    "CheckpointMismatchError",
    "Checkpoints",
    "Mode",
    "Rejected",
    "Restored",
    "restore_best",
    "restore_latest",
]
