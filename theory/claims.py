"""All claims, in the order of the report; `scripts.verify_theory` measures them."""

from theory import (
    batches,
    collapse_values,
    hardness_monotone,
    many_negatives,
    optimum_claims,
    shipped_losses,
    theorem1_hardening,
    theorem2_supervised,
    theorem3_unsupervised,
)
from theory.claim import Claim

CLAIMS: tuple[Claim, ...] = (
    *theorem1_hardening.CLAIMS,
    *hardness_monotone.CLAIMS,
    *theorem2_supervised.CLAIMS,
    *batches.CLAIMS,
    *theorem3_unsupervised.CLAIMS,
    *collapse_values.CLAIMS,
    *many_negatives.CLAIMS,
    *optimum_claims.CLAIMS,
    *shipped_losses.CLAIMS,
)
"""Every claim."""
