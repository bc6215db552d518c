"""The loss of a batch whose rows are spread over devices."""

from hcl_jax.collectives import over_axis
from hcl_jax.losses import choose_exchange
from hcl_jax.parallel.global_loss import launch, objective

__all__ = ["choose_exchange", "launch", "objective", "over_axis"]
