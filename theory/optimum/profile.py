"""The profile of InfoNCE: the HUCL value of class-collapsed representations, and its slope.

`theory.optimum.collapsed_loss` holds the profile ``L_k(delta)`` for finite k and any psi; here
InfoNCE joins ``k = infinity``, where the value is

    L_oo(delta) = log(alpha + q a(delta)),
    a(delta) = (1 + rho e^{-(beta + 1/tau) delta}) / (1 + rho e^{-beta delta}),

and the closed forms of its minimum. Here rho is how many negatives are of other classes for one of
the own: C - 1 for the population, m (C - 1) / (m - 1) in a balanced batch (Theorem C of
`docs/hucl_optimum.md`). Neural collapse (NC) in the unit ball is the gap ``delta = C / (C - 1)``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from flint import arb, arb_series

from hcl_jax.validation.numbers import check_count
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.collapsed_loss import Minimum, collapsed_taylor


@dataclass(frozen=True)
class ProfileParameters:
    """What the profile depends on besides the hardness; checked when made.

    Attributes:
        num_classes: C, at least 2.
        k: the number of negatives; None stands for infinitely many.
        psi: InfoNCE with its alpha, q and temperature.
        per_class: the number m of members of each class in a balanced batch, in which an anchor is
            not its own negative, for ``k = infinity``; None for the population.
    """

    num_classes: int
    k: int | None
    psi: InfoNCE = field(default_factory=InfoNCE)
    per_class: int | None = None

    def __post_init__(self) -> None:
        check_count("num_classes", self.num_classes, minimum=2)
        self.psi.check_legal()
        if self.k is not None:
            check_count("k", self.k)
        if self.per_class is not None:
            check_count("per_class", self.per_class, minimum=2)
            if self.k is not None:
                raise ValueError(f"batches need k = infinity, got {self}")

    def __str__(self) -> str:
        weight = "k" if self.psi.q is None else str(self.psi.q)
        negatives = "oo" if self.k is None else str(self.k)
        batch = "" if self.per_class is None else f" m={self.per_class}"
        return f"C={self.num_classes} k={negatives} q={weight} tau={self.psi.tau}{batch}"

    @property
    def others(self) -> Fraction:
        """rho, the number of negatives of other classes for one of the own."""
        if self.per_class is None:
            return Fraction(self.num_classes - 1)
        return Fraction(self.per_class * (self.num_classes - 1), self.per_class - 1)


def taylor(profile: ProfileParameters, beta: arb, delta: arb, *, terms: int = 3) -> tuple[arb, ...]:
    """``L(delta), L'(delta), L''(delta) / 2, ..``, enclosed over the ball delta.

    Raises ValueError for ``k = infinity`` with ``q = k``, which has no limit.
    """
    others = ball(profile.others)
    if profile.k is not None:
        return collapsed_taylor(
            delta,
            num_classes=profile.num_classes,
            k=profile.k,
            psi=profile.psi,
            beta=beta,
            terms=terms,
        )
    alpha, q, rate = _limit_parameters(profile)
    variable = arb_series([delta, 1], terms)
    tilted = (variable * (-(beta + rate))).exp() * others + 1
    series = (tilted / ((variable * (-beta)).exp() * others + 1) * q + alpha).log()
    return tuple(series[i] for i in range(terms))


def slope_at_nc(profile: ProfileParameters, beta: arb) -> arb:
    """``L'(C / (C - 1))``: positive where shrinking the simplex ETF lowers HUCL."""
    return taylor(profile, beta, ball(nc_gap(profile.num_classes)), terms=2)[1]


def limit_minimum(profile: ProfileParameters, beta: arb) -> Minimum:
    """The minimum over ``delta >= 0`` for ``k = infinity``, in closed form up to one root.

    With ``d = delta / tau`` and ``b = beta tau`` the minimiser is the unique root of
    ``(b + 1) e^{-d} + rho e^{-(b + 1) d} = b``, and the minimum is
    ``log(alpha + q a*)`` with ``a* = (1 + 1/b) e^{-d}``. Raises ValueError if k is finite, q stands
    for it, or beta is not positive.
    """
    if not beta > 0:
        raise ValueError(f"the closed form needs beta > 0, got {profile}, {beta}")
    alpha, q, rate = _limit_parameters(profile)
    scaled = beta / rate
    root = _root(lambda gap: _excess(ball(profile.others), scaled, gap))
    return Minimum(root / rate, (alpha + q * (1 + 1 / scaled) * (-root).exp()).log())


def limit_threshold(profile: ProfileParameters) -> arb:
    """beta_c for ``k = infinity``, enclosed: the root of the equation of `limit_minimum` at NC.

    Neither alpha nor q matters. Raises ValueError as `limit_minimum`.
    """
    _, _, rate = _limit_parameters(profile)
    gap = ball(nc_gap(profile.num_classes)) * rate
    return _root(lambda scaled: _excess(ball(profile.others), scaled, gap)) * rate


def lambert_threshold(profile: ProfileParameters) -> arb:
    """beta_c for ``k = infinity`` by the function of Lambert.

    ``beta_c = (1/A + W(rho e^{-1/A} / A)) / delta0``, ``A = (e^D - 1) / D``, ``D = delta0 / tau``.
    Raises ValueError as `limit_minimum`.
    """
    _, _, rate = _limit_parameters(profile)
    gap = ball(nc_gap(profile.num_classes))
    inverse = gap * rate / (gap * rate).expm1()
    return (inverse + (ball(profile.others) * inverse * (-inverse).exp()).lambertw()) / gap


def _limit_parameters(profile: ProfileParameters) -> tuple[arb, arb, arb]:
    """alpha, q and the inverse of tau, for infinitely many negatives."""
    if profile.k is not None:
        raise ValueError(f"the closed form needs k = infinity, got {profile}")
    psi = profile.psi
    return ball(psi.alpha), ball(psi.limit_weight), 1 / ball(psi.tau)


def _excess(others: arb, scaled_beta: arb, gap: arb) -> arb:
    """Decreasing in both arguments; positive left of the minimiser."""
    return (
        (scaled_beta + 1) * (-gap).exp() + others * (-(scaled_beta + 1) * gap).exp() - scaled_beta
    )


def _root(decreasing: Callable[[arb], arb]) -> arb:
    """Encloses the positive root of a decreasing function, until its sign cannot be told."""
    low, high = arb(0), arb(1)
    while decreasing(high) > 0:
        high = 2 * high
    while True:
        middle = ((low + high) / 2).mid()
        if not low < middle < high:
            return low.union(high)
        value = decreasing(middle)
        if value > 0:
            low = middle
        elif value < 0:
            high = middle
        else:
            return low.union(high)
