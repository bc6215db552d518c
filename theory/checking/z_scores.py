"""Statistical tests of claims: distances from an exact expectation that must be standard normal."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from theory.checking.claim import Measurement
from theory.checking.tally import Tally

Z_LIMIT = 4.2
"""Two-sided, Bonferroni-adjusted for 150 values at about 0.4 percent overall."""
MEAN_SQUARE = (0.7, 1.4)
"""Where the mean of z^2 must lie, so that intervals that are too wide fail as well."""
ENOUGH = 50
"""From so many scores on their mean square is tested."""
LEAST_ERROR = 1e-6
"""Means of float32 numbers of order one are not known better than this."""


def z_score(values: Float[np.ndarray, " draws"], expected: float) -> float:
    """The distance of a mean of independent draws from its expectation, in standard errors."""
    values = np.asarray(values, dtype=np.float64)
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    return (float(values.mean()) - expected) / max(error, LEAST_ERROR)


def judged(scores: Sequence[float], *, seed: int, **details: float) -> Measurement:
    """Two checks: no z beyond the limit, and a mean square that a right interval has."""
    tally, found = Tally(seed=seed), np.array(scores)
    largest, square = float(np.abs(found).max()), float(np.mean(found**2))
    tally.observe_below(largest, Z_LIMIT)
    if len(found) >= ENOUGH:
        tally.observe(MEAN_SQUARE[0] < square < MEAN_SQUARE[1])
    tally.models = len(found)
    return tally.measurement(**{"largest $z$": largest, "mean $z^2$": square}, **details)
