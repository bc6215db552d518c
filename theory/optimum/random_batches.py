"""HUCL of frames in batches drawn at random: N independent negatives, J of them of the own class.

With J binomial, (N, 1/C), a simplex ETF of gap delta has the weights estimator (InfoNCE with
``alpha = q = tau = 1``, positives apart from the negatives)

    R_N(delta) = E log(1 + (J + (N - J) e^{-(beta + 1) delta}) / (J + (N - J) e^{-beta delta})).

No lower bound over all representations is known; the slope at NC tells whether shrinking helps.
"""

from functools import partial
from typing import NamedTuple

from flint import arb, arb_series

from hcl_jax.validation.numbers import check_count
from theory.checking.boxes import has_sign_throughout
from theory.model.rationals import ball
from theory.model.simplex import nc_gap

BOXES = 4000


class Window(NamedTuple):
    """Two brackets of hardnesses: shrinking helps from the first, and no more from the second."""

    opens: tuple[arb, arb]
    closes: tuple[arb, arb]


def slope_at_nc(num_classes: int, negatives: int, beta: arb) -> arb:
    """``R_N'(C / (C - 1))``, enclosed over the ball beta.

    Raises for fewer than two classes or one negative.
    """
    negatives = check_count("negatives", negatives)
    moving = arb_series([ball(nc_gap(num_classes)), 1], 2)
    tilted, hard = (moving * (-beta)).exp(), (moving * (-beta - 1)).exp()
    total, chance = arb(0), (1 - 1 / arb(num_classes)) ** negatives
    for own in range(negatives + 1):
        if own:
            chance = chance * (negatives - own + 1) / own / (num_classes - 1)
        apart = negatives - own
        ratio = (hard * apart + own) / (tilted * apart + own) if own else (-moving).exp()
        total += chance * (ratio + 1).log()[1]
    return total


def shrinking_window(num_classes: int, negatives: int, inside: arb, *, narrow: arb) -> Window:
    """The ends of the hardnesses around `inside` at which the slope is positive.

    Raises ValueError unless the slope is positive inside.
    """
    if not slope_at_nc(num_classes, negatives, inside) > 0:
        raise ValueError(f"the slope is not positive at beta = {inside}")

    def bisect(outside: arb) -> tuple[arb, arb]:
        good, bad = inside, outside
        while abs(good - bad) > narrow:
            middle = ((good + bad) / 2).mid()
            if slope_at_nc(num_classes, negatives, middle) > 0:
                good = middle
            else:
                bad = middle
        return good, bad

    beyond = 2 * inside
    while not slope_at_nc(num_classes, negatives, beyond) < 0:
        beyond = 2 * beyond
    within, before = bisect(arb(0))
    return Window((before, within), bisect(beyond))


def keeps_sign(num_classes: int, negatives: int, low: arb, high: arb, *, positive: bool) -> bool:
    """Whether the slope certainly has that sign for all beta from `low` to `high`."""
    slope = partial(slope_at_nc, num_classes, negatives)
    return has_sign_throughout(slope, low, high, positive=positive, boxes=BOXES)
