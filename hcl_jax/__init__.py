"""hcl-jax: hard-negative contrastive learning in JAX (arXiv 2311.05139)."""

from hcl_jax import geometry, hardening, losses, normalization, pairs, parallel, psi
from hcl_jax.objectives import REFERENCE_CONVENTIONS, Options, hscl, hucl, objective, scl, ucl

__version__ = "0.1.0"

__all__ = [
    "REFERENCE_CONVENTIONS",
    "Options",
    "geometry",
    "hardening",
    "hscl",
    "hucl",
    "losses",
    "normalization",
    "objective",
    "pairs",
    "parallel",
    "psi",
    "scl",
    "ucl",
]
