"""Unequal priors: what the tools of the theory refuse to answer."""

import math

import numpy as np
import pytest

from theory.priors.limit import limit_temperature
from theory.priors.programme import CollapsedSCL, bracket, least_loss_above, shares

PROBLEM = CollapsedSCL(shares([3, 2, 1]))
GRAM = np.array([[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]])


def changed(place, value):
    gram = GRAM.copy()
    gram[place] = value
    return gram


NO_GRAM_MATRICES = {
    "asymmetric": changed((0, 1), -0.25),
    "asymmetric in the last digit": changed((2, 1), np.nextafter(-0.5, 0)),
    "a shorter vector": changed((1, 1), 0.5),
    "NaN": changed((1, 1), np.nan),
    "infinite": changed(([0, 1], [1, 0]), np.inf),
}


@pytest.mark.parametrize("bound", [least_loss_above, bracket])
@pytest.mark.parametrize("kind", NO_GRAM_MATRICES)
def test_bounds_need_a_gram_matrix_of_unit_vectors(bound, kind):
    with pytest.raises(ValueError, match="Gram matrix must be finite and symmetric, with ones"):
        bound(PROBLEM, NO_GRAM_MATRICES[kind])


@pytest.mark.parametrize("bound", [least_loss_above, bracket])
def test_bounds_need_a_row_for_each_class(bound):
    with pytest.raises(ValueError, match=r"shape \(3, 3\), as priors, got \(2, 2\)"):
        bound(PROBLEM, np.eye(2))


def ratio(majority, temperature):
    """The ratio of docs/unequal_priors.md with alpha = q = 1, in floating point."""
    near = 1 + math.exp(-1 / temperature)
    far = 1 + math.exp(-majority / ((majority - 1) * temperature))
    grown = majority * near / ((majority - 1) * far)
    fallen = math.exp(-(majority - 2) / ((majority - 1) * temperature))
    return fallen * (grown + 2 + 1 / grown) / 4


@pytest.mark.parametrize("majority", [3, 10, 500])
def test_the_ratio_is_one_at_the_temperature_found(majority):
    found = limit_temperature(majority)
    assert found is not None
    assert ratio(majority, 0.99 * found) < 1 < ratio(majority, 1.01 * found)


def test_a_temperature_above_those_looked_at_is_not_made_up():
    assert ratio(600, 1e6) < 1
    with pytest.raises(ValueError, match=r"600 majority classes .* temperature 1e\+06"):
        limit_temperature(600)
