"""The loss of a batch whose rows are spread over devices."""

from hcl_jax.parallel.collectives import ALONE, Placement, across
from hcl_jax.parallel.global_loss import (
    launch,
    mean_loss,
    objective,
)

__all__ = [
    "ALONE",
    "Placement",
    "across",
    "launch",
    "mean_loss",
    "objective",
]
