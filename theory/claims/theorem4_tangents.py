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

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, Verdict, in_balls
from theory.model.rationals import ball, rational
from theory.model.simplex import nc_gap
from theory.optimum.profile import ProfileParameters, taylor
from theory.optimum.threshold import infonce_profiles, threshold

CLASSES = (2, 3, 4, 5, 6, 10, 100)
NEGATIVES = (1, 2, 3, 4, 8, None)
SHARES = ("0.1", "0.5", "0.9", "0.99")
MAX_BOXES = 20_000

Box = tuple[arb, arb]
"""The ends of an interval of gaps."""


class Certificate(NamedTuple):
    """The outcome of one attempt.

    Attributes:
        verdict: proved, violated (a point below the tangent was found) or undecided.
        boxes: how many intervals were examined.
        least: a lower bound of profile minus tangent away from delta0, if it is certified.
    """

    verdict: Verdict
    boxes: int = 0
    least: arb | None = None


class _Tangent(NamedTuple):
    """The tangent of a profile at ``delta0``, which is `gap`."""

    profile: ProfileParameters
    beta: arb
    gap: arb
    value: arb
    slope: arb


def certify_tangent(profile: ProfileParameters, beta: arb) -> Certificate:
    """Certifies, at the current precision, that the profile lies above its tangent at NC.

    The hardness is positive and exact. The verdict is "violated" where the slope at NC is positive,
    because NC is then not even a local minimum of the profile. Raises ValueError if alpha is zero.
    """
    if profile.psi.alpha <= 0:
        raise ValueError(f"the tail of the certificate needs alpha > 0, got {profile}")
    gap = ball(nc_gap(profile.num_classes))
    value, slope = taylor(profile, beta, gap, terms=2)
    if not slope <= 0:
        return Certificate(Verdict.VIOLATED if slope > 0 else Verdict.UNDECIDED)
    tangent = _Tangent(profile, beta, gap, value, slope)
    radius = _convex_radius(tangent)
    end = _start_of_tail(tangent)
    if radius is None or end is None:
        return Certificate(Verdict.UNDECIDED)
    boxes = [(arb(0), gap - radius), (gap + radius, end)]
    return _cover(tangent, [box for box in boxes if box[0] < box[1]])


def parameters(effort: Effort) -> list[tuple[ProfileParameters, arb]]:
    """Settings and hardnesses to certify: all 280 at full effort, a spread of them otherwise."""
    chosen = []
    for profile in infonce_profiles(CLASSES, NEGATIVES)[:: effort.choose(9, 3, 1)]:
        middle = rational(Fraction(threshold(profile).middle))
        chosen += [(profile, (arb(share) * arb(middle)).mid()) for share in SHARES]
    return chosen


@in_balls(bits=96)
def tangents_up_to_threshold(effort: Effort) -> Measurement:
    """Certifies the tangent property for all `parameters`."""
    return _certify(parameters(effort))


@in_balls(bits=96)
def tangents_beyond_threshold(effort: Effort) -> Measurement:
    """Asks for the same at 1.01 beta_c, where NC is not optimal."""
    at_99_percent = parameters(effort)[3::4]
    return _certify([(profile, (beta * 101 / 99).mid()) for profile, beta in at_99_percent])


def _certify(chosen: Sequence[tuple[ProfileParameters, arb]]) -> Measurement:
    """Records a certificate for every profile and hardness."""
    tally, boxes = Tally(), 0
    for profile, beta in chosen:
        certificate = certify_tangent(profile, beta)
        tally.record(certificate.verdict)
        if certificate.least is not None:
            tally.keep_slack(certificate.least)
        tally.models += 1
        boxes += certificate.boxes
    return tally.measurement(boxes=boxes)


def _convex_radius(tangent: _Tangent) -> arb | None:
    """A radius around delta0 within which the second derivative is positive for certain."""
    for power in range(2, 24):
        radius = tangent.gap / 2**power
        around = (tangent.gap - radius).union(tangent.gap + radius)
        if taylor(tangent.profile, tangent.beta, around)[2] > 0:
            return radius
    return None


def _start_of_tail(tangent: _Tangent) -> arb | None:
    """A power of two beyond which the profile is above its value at NC, hence above the tangent."""
    profile = tangent.profile
    psi, other = profile.psi, profile.num_classes - 1
    floor = ball(psi.alpha).log()
    q = rational(psi.weight(profile.k or 1))
    at_zero = (ball(psi.alpha) + arb(q)).log()
    for power in range(-2, 24):
        end = arb(2) ** power
        p = 1 / ((tangent.beta * end).exp() / other + 1)
        bound = _bound_from(profile, p, at_zero, floor)
        if end > tangent.gap and bound + tangent.slope * (tangent.gap - end) > tangent.value:
            return end
    return None


def _bound_from(profile: ProfileParameters, p: arb, at_zero: arb, floor: arb) -> arb:
    """A lower bound of the profile wherever the probability is at most p."""
    if profile.k is not None:
        no_other_class = (1 - p) ** profile.k
        return no_other_class * at_zero + (1 - no_other_class) * floor
    alpha = ball(profile.psi.alpha)
    return (alpha + (at_zero.exp() - alpha) * (1 - p)).log()


def _cover(tangent: _Tangent, boxes: list[Box]) -> Certificate:
    """Splits boxes until the difference is certainly positive on each."""
    least = None
    for count in range(1, MAX_BOXES):
        if not boxes:
            return Certificate(Verdict.PROVED, count - 1, least)
        low, high = boxes.pop()
        middle = ((low + high) / 2).mid()
        difference = _difference(tangent, low, high, middle)
        if difference > 0:
            lower = difference.lower()
            least = lower if least is None or lower < least else least
        elif difference < 0:
            return Certificate(Verdict.VIOLATED, count, difference)
        else:
            boxes += [(low, middle), (middle, high)]
    return Certificate(Verdict.UNDECIDED, MAX_BOXES, least)


def _difference(tangent: _Tangent, low: arb, high: arb, middle: arb) -> arb:
    """Encloses profile minus tangent on a box: the better of a Taylor form and the plain one."""
    profile, beta, gap, value, slope = tangent
    box = low.union(high)
    offset = box - middle
    value_here, slope_here = taylor(profile, beta, middle, terms=2)
    plain, _, curvature = taylor(profile, beta, box)
    direct = plain - value - slope * (box - gap)
    at_middle = value_here - value - slope * (middle - gap)
    expanded = at_middle + (slope_here - slope) * offset + curvature * offset * offset
    return direct if direct.rad() < expanded.rad() or not expanded.is_finite() else expanded


CLAIMS = (
    Claim(
        name="tangent certificates",
        statement=r"the HUCL profile lies above its tangent at NC for every $\delta \ge 0$ "
        "(certified); by Theorem 4 (c), which is proved, NC is a global minimiser of HUCL over the "
        "unit ball",
        reference="docs/hucl_optimum.md, Theorem 4 (c)",
        hypotheses=r"InfoNCE with $\alpha = 1$, $q$ in $\lbrace 1, k \rbrace$, $k$ in "
        r"$\lbrace 1, 2, 3, 4, 8, \infty \rbrace$, $C$ in $\lbrace 2, \dots, 6, 10, 100 \rbrace$, "
        r"$\beta$ in $\lbrace .1, .5, .9, .99 \rbrace \beta_c$ (full runs all 280, others every "
        "third, quick ones every ninth $(C, k, q)$)",
        evidence=Evidence.CERTIFIED,
        measure=tangents_up_to_threshold,
        controls=(
            Control(r"$\beta = 1.01 \beta_c$", r"$\beta \le \beta_c$", tangents_beyond_threshold),
        ),
    ),
)
