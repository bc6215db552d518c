"""Verdicts of representations whose collapse is known, at any scale and from any origin."""

import math
from pathlib import Path

import numpy as np
import pytest

from hcl_jax import geometry
from hcl_jax.measure import findings, objective
from hcl_jax.measure import verdict as rules
from hcl_jax.measure.verdict import Shape, shape_of, shared_directions, verdict_of

RNG = np.random.default_rng(0)
CLASSES, DIM = 8, 12
NAMES = tuple("abcdefgh")
ROTATION, _ = np.linalg.qr(RNG.normal(size=(DIM, DIM)))
FRAME = np.asarray(geometry.simplex_etf(CLASSES, DIM), float) @ ROTATION
GROUPED = np.asarray(geometry.simplex_etf(4, DIM), float)[np.arange(CLASSES) % 4] @ ROTATION
NEAR = GROUPED + 1e-3 * RNG.normal(size=GROUPED.shape)
STRETCHED = FRAME * np.where(np.arange(CLASSES) < 4, 2.0, 0.5)[:, None]
ONE = np.ones((CLASSES, DIM)) + 1e-5 * FRAME


def verdict(means, width, *, scale=1.0, offset=0.0):
    """Of classes of 100 rows each, with a width relative to the distance from the centre."""
    unit = (means + offset).astype(np.float32)
    means = scale * (means + offset)
    centred = means / scale - (means / scale).mean(axis=0)
    spread = scale * width * np.sqrt(np.mean(np.square(centred).sum(axis=1)))
    nc2 = geometry.nc2(unit)
    metrics = {
        "directions": float(geometry.directions(geometry.singular_values(unit))),
        "nc2_equinorm": float(nc2.equinorm),
        "nc2_maximal_angle": float(nc2.maximal_angle),
    }
    sizes, spreads = np.full(CLASSES, 100), np.full(CLASSES, spread)
    return verdict_of(shape_of(means, spreads, sizes, metrics), means, NAMES)


KNOWN = {
    "neural collapse": (FRAME, 0.05),
    "class collapse": (STRETCHED, 0.05),
    "no collapse": (FRAME, 0.3),
    "dimensional collapse": (NEAR, 0.05),
}


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-200, 0.3), (1e200, -2.0)])
def test_known_collapses(unchecked, kind, scale, offset):
    means, width = KNOWN[kind]
    found = verdict(means, width, scale=scale, offset=offset)
    assert found.kind == kind
    assert found.cautions == ()
    groups = tuple((c, c + 4) for c in range(4)) if kind == "dimensional collapse" else ()
    assert found.groups == groups


def test_the_words_name_directions_and_classes(unchecked):
    found = verdict(NEAR, 0.05)
    assert found.words == (
        "The class means span 3 of 7 directions; classes that share one: a, e; b, f; c, g; d, h. "
        "Every class is nearly one point."
    )
    assert "nearly one point" not in verdict(NEAR, 0.2).words
    assert verdict(ONE, 0.0).kind == "complete collapse"


def test_what_sampling_alone_makes_of_directions_is_said(unchecked):
    """Means of 100 rows of width 1 have variances of 1/1200: enough to count.

    Four of the seven directions have. The largest of them is below (sqrt(12) + sqrt(7))^2 / 8400.
    """
    means = GROUPED + np.random.default_rng(1).normal(size=GROUPED.shape) / math.sqrt(1200)
    centred = means - means.mean(axis=0)
    spectrum = np.linalg.svd(centred)[1][:7] ** 2 / 7
    parts = spectrum / spectrum[0]
    counting = parts[parts > geometry.DIRECTION_TOLERANCE]
    assert len(counting) > 3
    [said] = verdict(means, 1.0).cautions
    assert f"it has {counting[-1]:.2g} of the largest" in said
    square = np.square(centred).sum() / 8  # of the width
    bound = square * (math.sqrt(12) + math.sqrt(7)) ** 2 / 8400 / spectrum[0]
    assert f"reach {bound:.2g} in" in said
    assert parts[3] < bound
    assert verdict(FRAME, 1.0).cautions == ()


def test_no_room_for_a_frame_is_no_neural_collapse():
    shape = Shape(1.0, 0.01, 2, 2, 0.0, 0.0, 1.0, 0.0)
    found = verdict_of(shape, np.asarray(RNG.normal(size=(8, 2))), NAMES)
    assert found.kind == "class collapse"
    assert "no room for a simplex ETF of 8 classes" in found.cautions[0]
    found = verdict_of(shape._replace(alone=3), FRAME, NAMES)
    assert found.cautions == ("3 of 8 classes have one row, which shows no width.",)


def test_opposite_and_central_classes_share_nothing():
    means = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1], [0, 0], [0.99, 0.05], [-0.99, -0.05]])
    assert shared_directions(means) == ((0, 5), (1, 6))


def test_the_page_gives_the_thresholds_in_force():
    page = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text().replace("\n", " ")
    for text in (
        f"centre is at most {rules.POINT} of their norm",
        f"width is at most {rules.WIDTH} of the",
        f"is above {geometry.DIRECTION_TOLERANCE} of the",
        f"by at most {rules.ANGLE} on average",
        f"vary by at most {rules.EVENNESS} of their mean",
        f"is at least {rules.SHARED}, or",
        f"of at most {findings.SAMPLE} rows",
        f"at most {objective.ROWS} rows; with it at most {objective.BATCHES} batches",
    ):
        assert text in " ".join(page.split()), text
