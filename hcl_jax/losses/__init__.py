"""The contrastive loss of every anchor, by either estimator and in several forms."""

from hcl_jax.losses.anchor_losses import AnchorLosses, Average, average_loss, sum_and_weight
from hcl_jax.losses.contrastive import (
    Choice,
    Implementation,
    choose_implementation,
    contrastive_loss,
)
from hcl_jax.losses.sampled import sampled_contrastive_loss
from hcl_jax.losses.sharded import (
    Exchange,
    choose_exchange,
    sharded_contrastive_loss,
    sharded_sampled_contrastive_loss,
)

__all__ = [
    "AnchorLosses",
    "Average",
    "Choice",
    "Exchange",
    "Implementation",
    "average_loss",
    "choose_exchange",
    "choose_implementation",
    "contrastive_loss",
    "sampled_contrastive_loss",
    "sharded_contrastive_loss",
    "sharded_sampled_contrastive_loss",
    "sum_and_weight",
]
