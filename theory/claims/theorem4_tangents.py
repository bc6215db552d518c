"""Certificates that the HUCL profile lies above its tangent at neural collapse (NC).

Where ``L_k'(delta0) <= 0`` and ``L_k(delta) >= L_k(delta0) + L_k'(delta0) (delta - delta0)`` for
all ``delta >= 0``, with ``delta0 = C / (C - 1)``, NC is a global minimiser of HUCL over the unit
ball (Theorem 4(c) of `docs/hucl_optimum.md`). The inequality also has a proof for InfoNCE and all
k (Theorem 4(d)); the certificates do not use it. Each covers the half line in three ways:

- near delta0 the second derivative, enclosed, is positive;
- elsewhere boxes are split until a second-order Taylor form shows a positive difference;
- beyond some D, ``L_k >= (1 - p(D))^k psi(0) + (1 - (1 - p(D))^k) log alpha``, since psi_k is
  least at minus infinity and p decreases, and the tangent decreases.
"""

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from flint import arb, ctx

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict
from theory.claims.theorem4_threshold import threshold
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball, rational
from theory.model.simplex import nc_gap
from theory.optimum.profile import ProfileParameters, taylor

CLASSES = (2, 3, 4, 5, 6, 10, 100)
NEGATIVES = (1, 2, 3, 4, 8, None)
SHARES = ("0.1", "0.5", "0.9", "0.99")
MAX_BOXES = 20_000
PRECISION = 96


class Certificate(NamedTuple):
    """What came of one attempt.

    Attributes:
        verdict: proved, violated (a point below the tangent was found) or undecided.
        boxes: how many intervals were looked at.
        end: where the tail begins.
        least: the smallest certified difference away from delta0.
    """

    verdict: Verdict
    boxes: int
    end: float
    least: float


class _Tangent(NamedTuple):
    setting: ProfileParameters
    beta: arb
    gap: arb
    value: arb
    slope: arb


def certify_tangent(setting: ProfileParameters, beta: arb) -> Certificate:
    """Certifies that the profile lies above its tangent at NC on ``delta >= 0``.

    Args:
        setting: classes, negatives and InfoNCE with ``alpha > 0``.
        beta: the hardness, positive and exact.

    Returns:
        The certificate; its verdict is "violated" where the slope at NC is positive, because NC is
        then not even a local minimum of the profile.

    Raises:
        ValueError: if alpha is zero, since the tail needs a lower bound of psi.

    Example:
        >>> certify_tangent(ProfileParameters(4, 2), arb("0.8")).verdict
        <Verdict.PROVED: 'proved'>
        >>> certify_tangent(ProfileParameters(4, 2), arb("0.9")).verdict
        <Verdict.VIOLATED: 'violated'>
    """
    if setting.psi.alpha <= 0:
        raise ValueError(f"the tail of the certificate needs alpha > 0, got {setting}")
    with ctx.workprec(PRECISION):
        gap = ball(nc_gap(setting.num_classes))
        value, slope = taylor(setting, beta, gap, terms=2)
        if not slope <= 0:
            verdict = Verdict.VIOLATED if slope > 0 else Verdict.UNDECIDED
            return Certificate(verdict, 0, float("nan"), float("nan"))
        tangent = _Tangent(setting, beta, gap, value, slope)
        radius = _convex_radius(tangent)
        end = _tail(tangent)
        if radius is None or end is None:
            return Certificate(Verdict.UNDECIDED, 0, float("nan"), float("nan"))
        boxes = [(arb(0), gap - radius), (gap + radius, arb(end))]
        return _cover(tangent, [box for box in boxes if box[0] < box[1]], end)


def parameters(effort: Effort) -> list[tuple[ProfileParameters, arb]]:
    """Settings and hardnesses to certify: all 280 at full effort, a spread of them otherwise.

    Example:
        >>> len(parameters(Effort.FULL))
        280
    """
    sums = [k for k in NEGATIVES if k is not None and k > 1]
    columns = [(k, InfoNCE()) for k in NEGATIVES] + [(k, InfoNCE(q=None)) for k in sums]
    settings = [ProfileParameters(c, k, psi) for c in CLASSES for k, psi in columns]
    stride = effort.choose(9, 3, 1)
    chosen = []
    for setting in settings[::stride]:
        middle = rational(Fraction(threshold(setting).middle))
        chosen += [(setting, (arb(share) * arb(middle)).mid()) for share in SHARES]
    return chosen


def measure_tangents(effort: Effort) -> Measurement:
    """Certifies the tangent property for all `parameters`."""
    verdicts, boxes, least = Counter(), 0, float("inf")
    chosen = parameters(effort)
    for setting, beta in chosen:
        certificate = certify_tangent(setting, beta)
        verdicts[certificate.verdict] += 1
        boxes += certificate.boxes
        least = min(least, certificate.least)
    return Measurement(verdicts, len(chosen), least, details={"boxes": boxes})


def measure_beyond_threshold(effort: Effort) -> Measurement:
    """Asks for the same at 1.01 beta_c, where NC is not optimal."""
    verdicts, chosen = Counter(), parameters(effort)[3::4]
    for setting, beta in chosen:
        verdicts[certify_tangent(setting, (beta * 101 / 99).mid()).verdict] += 1
    return Measurement(verdicts, len(chosen))


def _convex_radius(tangent):
    """A radius around delta0 within which the second derivative is positive for certain."""
    for power in range(2, 24):
        radius = tangent.gap / 2**power
        around = (tangent.gap - radius).union(tangent.gap + radius)
        if taylor(tangent.setting, tangent.beta, around)[2] > 0:
            return radius
    return None


def _tail(tangent):
    """A power of two beyond which the profile is above its value at NC, hence above the tangent."""
    setting = tangent.setting
    psi, other = setting.psi, setting.num_classes - 1
    floor = ball(psi.alpha).log()
    q = rational(psi.weight(setting.k or 1))
    at_zero = (ball(psi.alpha) + arb(q)).log()
    for power in range(-2, 24):
        end = arb(2) ** power
        p = 1 / ((tangent.beta * end).exp() / other + 1)
        bound = _bound_from(setting, p, at_zero, floor)
        if end > tangent.gap and bound + tangent.slope * (tangent.gap - end) > tangent.value:
            return end
    return None


def _bound_from(setting, p, at_zero, floor):
    """A lower bound of the profile wherever the probability is at most p."""
    if setting.k is not None:
        alone = (1 - p) ** setting.k
        return alone * at_zero + (1 - alone) * floor
    alpha = ball(setting.psi.alpha)
    return (alpha + (at_zero.exp() - alpha) * (1 - p)).log()


def _cover(tangent, boxes, end):
    """Splits boxes until the difference is certainly positive on each."""
    least = float("inf")
    for count in range(1, MAX_BOXES):
        if not boxes:
            return Certificate(Verdict.PROVED, count - 1, float(end), least)
        low, high = boxes.pop()
        middle = ((low + high) / 2).mid()
        found = _difference(tangent, low, high, middle)
        if found > 0:
            least = min(least, float(found.lower()))
        elif found < 0:
            return Certificate(Verdict.VIOLATED, count, float(end), float(found.upper()))
        else:
            boxes += [(low, middle), (middle, high)]
    return Certificate(Verdict.UNDECIDED, MAX_BOXES, float(end), least)


def _difference(tangent, low, high, middle):
    """Encloses profile minus tangent on a box: the better of a Taylor form and the plain one."""
    setting, beta, gap, value, slope = tangent
    box = low.union(high)
    offset = box - middle
    value_here, slope_here = taylor(setting, beta, middle, terms=2)
    plain, _, curvature = taylor(setting, beta, box)
    direct = plain - value - slope * (box - gap)
    at_middle = value_here - value - slope * (middle - gap)
    expanded = at_middle + (slope_here - slope) * offset + curvature * offset * offset
    return direct if direct.rad() < expanded.rad() or not expanded.is_finite() else expanded


CLAIMS = (
    Claim(
        name="tangent certificates",
        statement="the HUCL profile lies above its tangent at NC for every delta >= 0, so NC is a "
        "global minimiser of HUCL over the unit ball",
        reference="docs/hucl_optimum.md, Theorem 4(c)",
        hypotheses="InfoNCE with alpha = 1, q in {1, k}, k in {1, 2, 3, 4, 8, oo}, C in {2..6, 10, "
        "100}, beta in {0.1, 0.5, 0.9, 0.99} beta_c",
        evidence=Evidence.CERTIFIED,
        measure=measure_tangents,
        controls=(Control("beta = 1.01 beta_c", "beta at most beta_c", measure_beyond_threshold),),
    ),
)
