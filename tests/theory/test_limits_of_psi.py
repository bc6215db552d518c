"""InfoNCE whose q is k: no limit for infinitely many negatives, and their number in a batch."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb

import hcl_jax
from theory.claims.unequal_priors_optimum import optimal_gram
from theory.escape.matrix import EscapeProblem, loss_of_classes, slope_by_definition
from theory.escape.paley import paley_share
from theory.exact.batches import hucl_of_batch
from theory.model.psi_kinds import InfoNCE
from theory.optimum.profile import ProfileParameters, limit_threshold
from theory.priors.limit import limit_ratio, limit_ratio_of_one
from theory.priors.minority import MinorityProblem, excess
from theory.priors.programme import CollapsedSCL, loss_and_slopes, shares

SUM = InfoNCE(q=None)
ORTHOGONAL = [[arb(int(a == b)) for b in range(3)] for a in range(3)]
OF_CLASSES = EscapeProblem(False, Fraction(1), SUM)

LIMITS = {
    "profile": lambda: limit_threshold(ProfileParameters(3, None, SUM)),
    "unequal priors": lambda: loss_and_slopes(CollapsedSCL(shares([2, 1, 1]), SUM), ORTHOGONAL),
    "their optimum": lambda: optimal_gram(CollapsedSCL(shares([2, 1, 1]), SUM)),
    "minorities": lambda: excess(MinorityProblem(3, 2, SUM), arb(0.5)),
    "minorities without bound": lambda: limit_ratio(3, SUM),
    "escape": lambda: loss_of_classes(ORTHOGONAL, OF_CLASSES),
    "slopes of the escape": lambda: slope_by_definition(ORTHOGONAL[0], 0, 1, OF_CLASSES),
    "Paley frames": lambda: paley_share(5, OF_CLASSES),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_sum_over_negatives_has_no_limit(name):
    with pytest.raises(ValueError, match="q = k has no limit for k to infinity"):
        LIMITS[name]()


def test_for_one_negative_the_sum_is_the_mean():
    assert limit_ratio_of_one(3, SUM).overlaps(limit_ratio_of_one(3, InfoNCE()))


def test_in_a_batch_q_is_the_number_of_negatives():
    tenths = ((3, 4), (5, -2), (-6, 1), (-2, -7))
    rows = tuple((Fraction(a, 10), Fraction(b, 10)) for a, b in tenths)
    found = hucl_of_batch(rows, 2, beta=Fraction(3, 2), psi=SUM)
    with jax.enable_x64():
        shipped = hcl_jax.hucl(
            jnp.array(rows, float),
            jnp.array([0, 0, 1, 1]),
            beta=1.5,
            psi=hcl_jax.psi.infonce(q="k"),
        )
    np.testing.assert_allclose(float(found), float(shipped), rtol=1e-12)
