"""All claims, in the order of the report; `scripts.verify_theory` measures them."""

from theory.checking import Claim
from theory.claims import (
    free_features_optima,
    free_features_training,
    losses_at_collapse,
    number_of_negatives,
    proposition5_detached_gradient,
    proposition6_sphere,
    shipped_losses,
    theorem1_hardening,
    theorem1_hardness,
    theorem1_pools,
    theorem2_batches,
    theorem2_supervised,
    theorem3_unsupervised,
    theorem4_branch_and_bound,
    theorem4_floor,
    theorem4_reduction,
    theorem4_tangents,
    theorem4_threshold,
    theorem4_unimodality,
)

CLAIMS: tuple[Claim, ...] = (
    *theorem1_hardening.CLAIMS,
    *theorem1_pools.CLAIMS,
    *theorem1_hardness.CLAIMS,
    *theorem2_supervised.CLAIMS,
    *theorem2_batches.CLAIMS,
    *theorem3_unsupervised.CLAIMS,
    *losses_at_collapse.CLAIMS,
    *number_of_negatives.CLAIMS,
    *theorem4_floor.CLAIMS,
    *theorem4_reduction.CLAIMS,
    *theorem4_unimodality.CLAIMS,
    *theorem4_threshold.CLAIMS,
    *theorem4_tangents.CLAIMS,
    *theorem4_branch_and_bound.CLAIMS,
    *proposition6_sphere.CLAIMS,
    *free_features_optima.CLAIMS,
    *proposition5_detached_gradient.CLAIMS,
    *free_features_training.CLAIMS,
    *shipped_losses.CLAIMS,
)
"""Every claim."""
