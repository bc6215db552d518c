"""HUCL of frames in batches drawn at random: where shrinking NC helps, and where it never does."""

from functools import cache

from flint import arb, ctx

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.optimum.random_batches import Window, keeps_sign, shrinking_window, slope_at_nc

FEW = ((10, 8), (100, 64))
"""C and the number of negatives: too few of them collide."""

ENOUGH = ((10, 16), (10, 32), (10, 128), (100, 127), (100, 255), (100, 511), (100, 1023))
INSIDE = arb(4)
NARROW = arb("1e-6")
END = arb(40)
BITS = 100


@cache
def window_of(num_classes: int, negatives: int) -> Window:
    """The window of hardnesses, its ends to `NARROW`; remembered."""
    with ctx.workprec(BITS):
        return shrinking_window(num_classes, negatives, INSIDE, narrow=NARROW)


@in_balls(bits=BITS)
def windows(effort: Effort) -> Measurement:
    """The sign of the slope at NC in the window of hardnesses and outside, by boxes of balls."""
    tally, details = Tally(), {}
    for num_classes, negatives in ENOUGH[: effort.choose(4, 7, 7)]:
        window = window_of(num_classes, negatives)
        before, first = window.opens
        last, after = window.closes
        for low, high, positive in (
            (arb(0), before, False),
            (first, last, True),
            (after, END, False),
        ):
            kept = keeps_sign(num_classes, negatives, low, high, positive=positive)
            tally.above(arb(int(kept)), arb(0))
        tally.models += 1
        ends = f"{float(window.opens[1]):.3f} to {float(window.closes[0]):.3f}"
        details[f"$C = {num_classes}$, $N = {negatives}$"] = ends
    return tally.measurement(**details)


@in_balls(bits=100)
def windows_without_end(effort: Effort) -> Measurement:
    """Asks for a positive slope at twice the upper end, as in the population."""
    tally = Tally()
    for num_classes, negatives in ENOUGH[:4]:
        window = window_of(num_classes, negatives)
        tally.above(slope_at_nc(num_classes, negatives, 2 * window.closes[1]), arb(0))
        tally.models += 1
    return tally.measurement()


@in_balls(bits=100)
def few_negatives(effort: Effort) -> Measurement:
    """The slope at NC is negative for every beta from 0 to 40, by boxes of balls."""
    return _compare_signs(FEW)


@in_balls(bits=100)
def twice_as_many_negatives(effort: Effort) -> Measurement:
    """Asks the same of twice as many negatives."""
    return _compare_signs(tuple((c, 2 * n) for c, n in FEW))


def _compare_signs(problems: tuple[tuple[int, int], ...]) -> Measurement:
    """Records whether the slope is negative throughout."""
    tally = Tally()
    for num_classes, negatives in problems:
        negative = keeps_sign(num_classes, negatives, arb(0), END, positive=False)
        tally.above(arb(int(negative)), arb(0))
        tally.models += 1
    return tally.measurement()


CLAIMS = (
    Claim(
        name="random batches shrink NC in a window of hardness",
        statement=r"the HUCL of a frame in a random batch, averaged, falls where NC shrinks if "
        r"$\beta$ lies in a window, and rises on either side of it, from 0 to 40; its ends are "
        "known to $10^{-6}$",
        reference="docs/hucl_optimum.md, section 8",
        hypotheses=r"$N$ negatives drawn independently, weights estimator, "
        r"$\alpha = q = \tau = 1$; $(C, N)$ in $\lbrace (10, 16), (10, 32), (10, 128), (100, 127), "
        r"(100, 255), (100, 511), (100, 1023) \rbrace$ (quick runs: the first four)",
        evidence=Evidence.CERTIFIED,
        measure=windows,
        controls=(Control("twice the upper end", r"$\beta$ in the window", windows_without_end),),
    ),
    Claim(
        name="few random negatives never shrink NC",
        statement=r"the slope of that HUCL at NC is negative for all $\beta$ from 0 to 40",
        reference="docs/hucl_optimum.md, section 8",
        hypotheses="as before, $(C, N) = (10, 8)$ and $(100, 64)$",
        evidence=Evidence.CERTIFIED,
        measure=few_negatives,
        controls=(Control("twice as many", "few negatives collide", twice_as_many_negatives),),
    ),
)
