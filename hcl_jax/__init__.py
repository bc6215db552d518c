"""hcl-jax: hard-negative contrastive learning in JAX (arXiv 2311.05139).

=====================================  ======================================================
`scl`, `hscl`, `ucl`, `hucl`           the paper's objectives, of embeddings and labels
`supcon`, `nt_xent`, `nscl`, `clip`    losses by the names that others know
`objective`                            any of the four, with any function of `hardening`
`Options`, `Bank`, `PairRule`          what all of these take beside embeddings and labels
`with_statistics`                      any of these with what its pairs look like
`normalization`                        embeddings have norm 1, or at most 1, before a loss
`parallel`                             a batch over several devices
`psi`, `pairs`, `losses`               the parts, for losses of one's own
`geometry`, `evaluation`               what a representation looks like, and what it is good for
=====================================  ======================================================

`data`, `augmentation`, `networks`, `training`, `checkpoints`, `encoders` and `measure` are imported
when they are first named.
"""

import importlib
from types import ModuleType

from hcl_jax import evaluation, geometry, hardening, losses, normalization, pairs, parallel, psi
from hcl_jax.batch_warnings import BatchWarning
from hcl_jax.conventions import REFERENCE_CONVENTIONS, Conventions, Objective
from hcl_jax.dispatch import batch_losses
from hcl_jax.false_negatives import without_false_negatives
from hcl_jax.named_losses import clip, nscl, nt_xent, supcon
from hcl_jax.objectives import hscl, hucl, objective, scl, ucl
from hcl_jax.options import Bank, Options
from hcl_jax.pairs import PairRule
from hcl_jax.reports import with_statistics

__version__ = "0.1.0"

__all__ = [
    "REFERENCE_CONVENTIONS",
    "Bank",
    "BatchWarning",
    "Conventions",
    "Objective",
    "Options",
    "PairRule",
    "batch_losses",
    "clip",
    "evaluation",
    "geometry",
    "hardening",
    "hscl",
    "hucl",
    "losses",
    "normalization",
    "nscl",
    "nt_xent",
    "objective",
    "pairs",
    "parallel",
    "psi",
    "scl",
    "supcon",
    "ucl",
    "with_statistics",
    "without_false_negatives",
]


_LATER = ("augmentation", "checkpoints", "data", "encoders", "measure", "networks", "training")
"""Packages that losses do not need, and which take a second to import."""


def __getattr__(name: str) -> ModuleType:
    if name in _LATER:
        return importlib.import_module(f"hcl_jax.{name}")
    raise AttributeError(f"module 'hcl_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*__all__, *_LATER))
