"""The threshold beta_c of `theory.optimum.threshold`: signs at its ends, losses on either side."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.profile import ProfileParameters, limit_threshold, slope_at_nc, taylor
from theory.optimum.threshold import Bracket, infonce_profiles, threshold

CLASSES = (2, 3, 4, 5, 6, 10, 100, 1000)
NEGATIVES = (1, 2, 4, 8, None)
TEMPERATURES = (Fraction(1), Fraction(1, 2), Fraction(1, 10))
MARGIN = arb("1e-30")


def profiles(effort: Effort) -> list[ProfileParameters]:
    """The settings of the table of beta_c; at quick effort those of the first three C."""
    count = effort.choose(3, len(CLASSES), len(CLASSES))
    return infonce_profiles(CLASSES[:count], NEGATIVES)


@in_balls(bits=160)
def sign_change(effort: Effort) -> Measurement:
    """The sign of the slope of the profile at NC, at both ends of every bracket of beta_c."""
    return _compare_signs({profile: threshold(profile) for profile in profiles(effort)})


@in_balls(bits=160)
def sign_change_for_fewer_classes(effort: Effort) -> Measurement:
    """The same with beta_c of one class fewer, as if the own class were not among negatives."""
    return _compare_signs(
        {
            profile: threshold(replace(profile, num_classes=profile.num_classes - 1))
            for profile in profiles(effort)
            if profile.num_classes > 2
        }
    )


@in_balls(bits=160)
def limit_in_closed_form(effort: Effort) -> Measurement:
    """The sign of the slope to either side of the closed form of beta_c for k = infinity."""
    return _compare_signs({profile: _around_the_limit(profile) for profile in limits(effort)})


@in_balls(bits=160)
def one_negative_in_closed_form(effort: Effort) -> Measurement:
    """The same for one negative, of which the closed form knows nothing."""
    return _compare_signs(
        {replace(profile, k=1): _around_the_limit(profile) for profile in limits(effort)}
    )


def limits(effort: Effort) -> list[ProfileParameters]:
    """Infinitely many negatives at three temperatures."""
    count = effort.choose(3, len(CLASSES), len(CLASSES))
    return [
        ProfileParameters(num_classes, None, InfoNCE(tau=tau))
        for num_classes in CLASSES[:count]
        for tau in TEMPERATURES
    ]


def _around_the_limit(profile: ProfileParameters) -> Bracket:
    """The closed form of beta_c, 1e-30 of it to either side."""
    found = limit_threshold(profile)
    return Bracket(found * (1 - MARGIN), found * (1 + MARGIN))


@in_balls(bits=160)
def shrunk_frame_wins_above(effort: Effort) -> Measurement:
    """At 1.01 beta_c some shrunk frame has a smaller HUCL than NC."""
    return _compare_frames(effort, arb(101) / 100)


@in_balls(bits=160)
def shrunk_frame_wins_below(effort: Effort) -> Measurement:
    """Asks at 0.99 beta_c for a shrunk frame that is better than NC; there is none."""
    return _compare_frames(effort, arb(99) / 100)


@in_balls(bits=160)
def nc_wins_far_above(effort: Effort) -> Measurement:
    """Asks at 5 beta_c that NC be better than the shrunk frames."""
    return _compare_frames(effort, arb(5), nc_wins=True)


def _compare_signs(brackets: Mapping[ProfileParameters, Bracket]) -> Measurement:
    """Records a negative slope at the lower ends, and a positive one at the upper ends."""
    tally, width = Tally(), 0.0
    for profile, (low, high) in brackets.items():
        tally.above(arb(0), slope_at_nc(profile, low))
        tally.above(slope_at_nc(profile, high), arb(0))
        tally.models += 1
        width = max(width, float(high - low))
    return tally.measurement(**{"widest bracket": width})


def _compare_frames(effort: Effort, factor: arb, *, nc_wins: bool = False) -> Measurement:
    """Records, at `factor` beta_c, whether the best of thirteen shrunk frames beats NC."""
    tally = Tally()
    for profile in profiles(effort):
        beta = (threshold(profile).high * factor).mid()
        gap = ball(nc_gap(profile.num_classes))
        at_nc = taylor(profile, beta, gap, terms=1)[0]
        shrunk = [gap * (1 - arb(2) ** -power) for power in range(1, 14)]
        values = [taylor(profile, beta, delta, terms=1)[0] for delta in shrunk]
        best = min(values, key=lambda value: float(value.upper()))
        tally.above(*((best, at_nc) if nc_wins else (at_nc, best)))
        tally.models += 1
    return tally.measurement()


CLAIMS = (
    Claim(
        name="the HUCL threshold",
        statement="the slope of the HUCL profile at NC changes sign between the ends of the "
        r"bracket of $\beta_c$ (certified); by Theorem 4 (d), which is proved, NC is optimal in "
        "the unit ball up to there, and not beyond",
        reference="docs/hucl_optimum.md, Theorem 4",
        hypotheses="balanced, conditionally independent positives, exponential tilting, InfoNCE "
        r"($\alpha = \tau = 1$, $q = 1$ and $q = k$), $C$ in "
        r"$\lbrace 2, \dots, 6, 10, 100, 1000 \rbrace$ (quick runs: 2, 3, 4), $k$ in "
        r"$\lbrace 1, 2, 4, 8, \infty \rbrace$",
        evidence=Evidence.CERTIFIED,
        measure=sign_change,
        controls=(
            Control(
                r"$\beta_c$ of $C - 1$ classes",
                "the anchor's own class counts among the negatives",
                sign_change_for_fewer_classes,
            ),
        ),
    ),
    Claim(
        name="the HUCL threshold of infinitely many negatives",
        statement=r"$\beta_c$ for $k = \infty$ is the root of "
        r"$(1 + \beta \tau) e^{-\delta_0/\tau} + (C-1) e^{-(\beta + 1/\tau) \delta_0} = \beta \tau$"
        ", to a relative $10^{-30}$",
        reference="docs/hucl_optimum.md, Theorem 4",
        hypotheses=r"as for the threshold, $k = \infty$, $\tau$ in $\lbrace 1, .5, .1 \rbrace$",
        evidence=Evidence.CERTIFIED,
        measure=limit_in_closed_form,
        controls=(Control("$k = 1$", r"$k = \infty$", one_negative_in_closed_form),),
    ),
    Claim(
        name="neural collapse loses to a shrunk frame",
        statement=r"at $1.01 \beta_c$ a simplex ETF of smaller norm has a smaller HUCL than NC",
        reference="docs/hucl_optimum.md, Theorem 4 (b)",
        hypotheses="as for the threshold",
        evidence=Evidence.CERTIFIED,
        measure=shrunk_frame_wins_above,
        controls=(
            Control(r"$\beta = 0.99 \beta_c$", r"$\beta > \beta_c$", shrunk_frame_wins_below),
            Control("NC minimises HUCL", r"$\beta \le \beta_c$", nc_wins_far_above),
        ),
    ),
)
