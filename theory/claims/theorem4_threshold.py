"""The hardness beta_c up to which neural collapse (NC) minimises HUCL in the unit ball.

NC is optimal iff ``L_k'(C / (C - 1)) <= 0`` (Theorem 4 of `docs/hucl_optimum.md`), and this slope
changes sign exactly once as beta grows. Here the sign change is enclosed: at the lower end of a
`Bracket` the slope is certified negative, at the upper end certified positive.
"""

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from flint import arb, ctx

from theory.checking import Claim, Control, Effort, Evidence, Measurement, compare
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.profile import ProfileParameters, slope_at_nc, taylor

WIDTH = Fraction(1, 10**8)
"""How narrow the brackets are, relative to the bracketed number where that is small."""

PRECISION = 160

CLASSES = (2, 3, 4, 5, 6, 10, 100, 1000)
NEGATIVES = (1, 2, 4, 8, None)


class Bracket(NamedTuple):
    """Two exact numbers between which beta_c lies."""

    low: arb
    high: arb

    @property
    def middle(self) -> float:
        """The midpoint, rounded."""
        return float((self.low + self.high) / 2)


def threshold(setting: ProfileParameters, *, width: Fraction = WIDTH) -> Bracket:
    """Encloses beta_c.

    Args:
        setting: classes, negatives and loss; beta multiplies similarities before the temperature.
        width: the bracket is narrower than this, absolutely or relative to its upper end.

    Returns:
        The bracket, with certified signs of the slope at both ends.

    Raises:
        ArithmeticError: if the sign of a slope cannot be decided.

    Example:
        >>> low, high = threshold(ProfileParameters(num_classes=4, k=1))
        >>> round(float(low), 6), round(float(high), 6)
        (0.877374, 0.877374)
    """
    relative = arb(width.numerator) / width.denominator
    with ctx.workprec(PRECISION):
        low, high = arb(0), arb(1)
        while not _is_positive(slope_at_nc(setting, high)):
            low, high = high, 2 * high
        while high - low > relative * min(arb(1), high):
            middle = (low + high) / 2
            if _is_positive(slope_at_nc(setting, middle)):
                high = middle
            else:
                low = middle
        return Bracket(low, high)


def settings_of_the_table(
    classes: tuple[int, ...] = CLASSES, negatives: tuple[int | None, ...] = NEGATIVES
) -> list[ProfileParameters]:
    """All columns of the table: q = 1 for every k, then q = k for finite k above 1.

    Example:
        >>> len(settings_of_the_table())
        64
    """
    sums = [k for k in negatives if k is not None and k > 1]
    columns = [(k, InfoNCE()) for k in negatives] + [(k, InfoNCE(q=None)) for k in sums]
    return [ProfileParameters(c, k, psi) for c in classes for k, psi in columns]


def threshold_rows(effort: Effort = Effort.FULL) -> list[list[str]]:
    """The table of beta_c, six digits, a row for every C (at quick effort for three of them).

    Example:
        >>> threshold_rows()[0][:3]
        ['2', '0.321254', '0.282913']
    """
    width = len(settings_of_the_table((2,)))
    cells = [f"{threshold(setting).middle:.6f}" for setting in _chosen(effort)]
    rows = [cells[i : i + width] for i in range(0, len(cells), width)]
    return [[str(c), *row] for c, row in zip(CLASSES, rows, strict=False)]


def temperature_rows(effort: Effort = Effort.FULL) -> list[list[str]]:
    """beta_c for k = infinity at lower temperatures, for both ways to count beta.

    The last column, beta times the temperature, is the multiplier of similarity / temperature.

    Example:
        >>> temperature_rows()[0]
        ['10', '1', '1.41132', '1.41132']
    """
    rows = []
    for num_classes in (10, 100)[: effort.choose(1, 2, 2)]:
        for tau in (Fraction(1), Fraction(1, 2), Fraction(1, 10)):
            middle = threshold(ProfileParameters(num_classes, None, InfoNCE(tau=tau))).middle
            beta, scaled = f"{middle:.6g}", f"{middle * float(tau):.6g}"
            rows.append([str(num_classes), str(float(tau)).removesuffix(".0"), beta, scaled])
    return rows


def measure_sign_change(effort: Effort) -> Measurement:
    """Certifies, at both ends of every bracket, the sign of the slope of the profile at NC."""
    return _signs(_chosen(effort))


def measure_forgotten_collisions(effort: Effort) -> Measurement:
    """The same with beta_c of one class fewer, as if the own class were not among negatives."""
    settings = [setting for setting in _chosen(effort) if setting.num_classes > 2]
    wrong = {s: threshold(s._replace(num_classes=s.num_classes - 1)) for s in settings}
    return _signs(settings, wrong)


def measure_loss_at_nc(effort: Effort) -> Measurement:
    """Certifies at 1.01 beta_c that some shrunk frame has a smaller HUCL than NC."""
    return _shrinking(_chosen(effort), arb(101) / 100)


def measure_below_threshold(effort: Effort) -> Measurement:
    """Asks at 0.99 beta_c for a shrunk frame that is better than NC; there is none."""
    return _shrinking(_chosen(effort), arb(99) / 100)


def measure_nc_optimal(effort: Effort) -> Measurement:
    """Tests "NC minimises HUCL in the unit ball" at 5 beta_c, against shrunk frames."""
    return _shrinking(_chosen(effort), arb(5), nc_first=False)


def _is_positive(slope):
    if slope > 0:
        return True
    if slope < 0:
        return False
    raise ArithmeticError(f"the sign of the slope {slope} is not decided; raise PRECISION")


def _chosen(effort):
    count = effort.choose(3, len(CLASSES), len(CLASSES))
    return settings_of_the_table(CLASSES[:count])


def _signs(settings, wrong=None):
    verdicts, width = Counter(), 0.0
    with ctx.workprec(PRECISION):
        for setting in settings:
            low, high = (wrong or {}).get(setting) or threshold(setting)
            verdicts[compare(arb(0), slope_at_nc(setting, low))] += 1
            verdicts[compare(slope_at_nc(setting, high), arb(0))] += 1
            width = max(width, float(high - low))
    return Measurement(verdicts, len(settings), details={"widest bracket": width})


def _shrinking(settings, factor, *, nc_first=True):
    """Compares NC and the best of a few shrunk frames; which is asked to have the larger loss."""
    verdicts, least = Counter(), float("inf")
    with ctx.workprec(PRECISION):
        for setting in settings:
            beta = (threshold(setting).high * factor).mid()
            gap = ball(nc_gap(setting.num_classes))
            at_nc = taylor(setting, beta, gap, terms=1)[0]
            shrunk = [gap * (1 - arb(2) ** -power) for power in range(1, 14)]
            values = [taylor(setting, beta, delta, terms=1)[0] for delta in shrunk]
            best = min(values, key=lambda value: float(value.upper()))
            left, right = (at_nc, best) if nc_first else (best, at_nc)
            verdicts[compare(left, right)] += 1
            least = min(least, float(left - right))
    return Measurement(verdicts, len(settings), least)


TABLES = (
    (
        "beta_c, the hardness up to which NC minimises HUCL in the unit ball (InfoNCE, alpha = 1)",
        "Middles of certified brackets, to six decimals; q = 1 where it is not named. A quick run "
        "gives the first rows only.",
        False,
        ["C", *(f"k={k}" for k in (1, 2, 4, 8, "oo")), *(f"k=q={k}" for k in (2, 4, 8))],
        threshold_rows,
    ),
    (
        "beta_c at lower temperatures, k = infinity",
        "Below temperature 1 NC stops being optimal at ever smaller hardness.",
        False,
        ["C", "temperature", "beta_c", "beta_c times temperature"],
        temperature_rows,
    ),
)

CLAIMS = (
    Claim(
        name="the HUCL threshold",
        statement="the slope of the HUCL profile at NC changes sign between the ends of the "
        "bracket of beta_c: up to there NC is optimal in the unit ball, beyond it is not",
        reference="docs/hucl_optimum.md, Theorem 4",
        hypotheses="balanced, conditionally independent positives, exponential tilting, InfoNCE "
        "(alpha = 1, q = 1 and q = k), C in {2..6, 10, 100, 1000}, k in {1, 2, 4, 8, oo}",
        evidence=Evidence.CERTIFIED,
        measure=measure_sign_change,
        controls=(
            Control(
                "beta_c of C - 1 classes",
                "the anchor's own class counts among the negatives",
                measure_forgotten_collisions,
            ),
        ),
    ),
    Claim(
        name="neural collapse loses to a shrunk frame",
        statement="at 1.01 beta_c a simplex ETF of smaller norm has a smaller HUCL than NC",
        reference="docs/hucl_optimum.md, Theorem 4(b)",
        hypotheses="as for the threshold",
        evidence=Evidence.CERTIFIED,
        measure=measure_loss_at_nc,
        controls=(
            Control("beta = 0.99 beta_c", "beta above beta_c", measure_below_threshold),
            Control("NC minimises HUCL", "beta at most beta_c", measure_nc_optimal),
        ),
    ),
)
