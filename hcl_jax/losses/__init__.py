"""The contrastive loss of every anchor, by either estimator and in several forms."""

from hcl_jax.losses.anchor_losses import AnchorLosses, Average, average_loss, sum_and_weight
from hcl_jax.losses.contrastive import (
    Choice,
    Implementation,
    choose_implementation,
    contrastive_loss,
)
from hcl_jax.losses.pair_statistics import LossStatistics, PairStatistics, SimilarityStatistics
from hcl_jax.losses.sampled import sampled_contrastive_loss
from hcl_jax.losses.sharded import (
    Exchange,
    choose_exchange,
    sharded_contrastive_loss,
    sharded_sampled_contrastive_loss,
)
from hcl_jax.losses.summary import loss_statistics

__all__ = [
    "AnchorLosses",
    "Average",
    "Choice",
    "Exchange",
    "Implementation",
    "LossStatistics",
    "PairStatistics",
    "SimilarityStatistics",
    "average_loss",
    "choose_exchange",
    "choose_implementation",
    "contrastive_loss",
    "loss_statistics",
    "sampled_contrastive_loss",
    "sharded_contrastive_loss",
    "sharded_sampled_contrastive_loss",
    "sum_and_weight",
]


def __dir__() -> list[str]:
    return __all__
