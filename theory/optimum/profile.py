"""The HUCL value of class-collapsed representations as a function of one number, with derivatives.

    L_k(delta) = E psi_k(-delta b_1, .., -delta b_k),   b_i iid Bernoulli(p(delta)),
    p(delta) = (C - 1) / (C - 1 + exp(beta delta)),

is the HUCL value of every class-collapsed representation whose similarities are larger by `delta`
within a class than between classes. Neural collapse in the unit ball is ``delta = C / (C - 1)``.
`theory.optimum.hucl_floor` holds finite k; here InfoNCE joins ``k = infinity``, where the value is

    L_oo(delta) = log(alpha + q a(delta)),
    a(delta) = (1 + (C-1) e^{-(beta + 1/tau) delta}) / (1 + (C-1) e^{-beta delta}),

and the closed forms of its minimum.
"""

from typing import NamedTuple

from flint import arb, arb_series

from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import rational
from theory.optimum.hucl_floor import collapsed_taylor


class Setting(NamedTuple):
    """What the profile depends on besides the hardness.

    Attributes:
        num_classes: C, at least 2.
        k: the number of negatives; None stands for infinitely many.
        psi: InfoNCE with its alpha, q and temperature.
    """

    num_classes: int
    k: int | None
    psi: InfoNCE = InfoNCE()

    def __str__(self) -> str:
        weight = "k" if self.psi.q is None else str(self.psi.q)
        negatives = "oo" if self.k is None else str(self.k)
        return f"C={self.num_classes} k={negatives} q={weight} tau={self.psi.tau}"


class Minimum(NamedTuple):
    """Where a profile is least, and its value there."""

    delta: arb
    value: arb


def nc_gap(num_classes: int) -> arb:
    """``C / (C - 1)``: similarity within minus between classes at neural collapse.

    Example:
        >>> float(nc_gap(5))
        1.25
    """
    return arb(num_classes) / (num_classes - 1)


def taylor(setting: Setting, beta: arb, delta: arb, *, terms: int = 3) -> tuple[arb, ...]:
    """Taylor coefficients of the profile, enclosed.

    Args:
        setting: classes, negatives and loss.
        beta: the hardness, any sign.
        delta: where; a wide ball gives enclosures over all of it.
        terms: how many coefficients.

    Returns:
        ``L(delta), L'(delta), L''(delta) / 2, ..``.

    Raises:
        ValueError: for ``k = infinity`` with ``q = k``, which has no limit.

    Example:
        >>> value, slope = taylor(Setting(100, None), arb(5), nc_gap(100), terms=2)
        >>> round(float(value), 4), slope > 0
        (0.5615, True)
    """
    if setting.k is not None:
        return collapsed_taylor(
            delta,
            num_classes=setting.num_classes,
            k=setting.k,
            psi=setting.psi,
            beta=beta,
            terms=terms,
        )
    alpha, q, rate = _limit_parameters(setting)
    variable = arb_series([delta, 1], terms)
    other = setting.num_classes - 1
    tilted = (variable * (-(beta + rate))).exp() * other + 1
    series = (tilted / ((variable * (-beta)).exp() * other + 1) * q + alpha).log()
    return tuple(series[i] for i in range(terms))


def slope_at_nc(setting: Setting, beta: arb) -> arb:
    """``L'(C / (C - 1))``: positive where shrinking the simplex ETF lowers HUCL.

    Example:
        >>> slope_at_nc(Setting(4, 1), arb("0.87")) < 0, slope_at_nc(Setting(4, 1), arb("0.88")) > 0
        (True, True)
    """
    return taylor(setting, beta, nc_gap(setting.num_classes), terms=2)[1]


def limit_minimum(setting: Setting, beta: arb) -> Minimum:
    """The minimum over ``delta >= 0`` for ``k = infinity``, in closed form up to one root.

    With ``d = delta / tau`` and ``b = beta tau`` the minimiser is the unique root of
    ``(b + 1) e^{-d} + (C - 1) e^{-(b + 1) d} = b``, and the minimum is
    ``log(alpha + q a*)`` with ``a* = (1 + 1/b) e^{-d}``.

    Args:
        setting: with ``k = None``.
        beta: the hardness, positive.

    Returns:
        The minimiser and the minimum, enclosed.

    Raises:
        ValueError: if k is finite or beta not positive.

    Example:
        >>> delta, value = limit_minimum(Setting(4, None), arb(5))
        >>> round(float(delta), 4), round(float(value), 8)
        (0.2921, 0.63975545)
    """
    if setting.k is not None or not beta > 0:
        raise ValueError(f"the closed form needs k = infinity and beta > 0, got {setting}, {beta}")
    alpha, q, rate = _limit_parameters(setting)
    scaled = beta / rate
    root = _root(setting.num_classes, scaled)
    return Minimum(root / rate, (alpha + q * (1 + 1 / scaled) * (-root).exp()).log())


def limit_threshold(setting: Setting) -> arb:
    """beta_c for ``k = infinity``: the root of the equation of `limit_minimum` at neural collapse.

    Args:
        setting: with ``k = None``.

    Returns:
        An enclosure; alpha and q do not matter.

    Example:
        >>> round(float(limit_threshold(Setting(10, None))), 6)
        1.411323
    """
    _, _, rate = _limit_parameters(setting)
    gap = nc_gap(setting.num_classes) * rate
    low, high = arb(0), arb(1)
    while _excess(setting.num_classes, high, gap) > 0:
        high = 2 * high
    return _bisect(lambda b: _excess(setting.num_classes, b, gap), low, high) * rate


def _limit_parameters(setting):
    psi = setting.psi
    if psi.q is None:
        raise ValueError("InfoNCE with q = k has no limit for k to infinity")
    return arb(rational(psi.alpha)), arb(rational(psi.q)), 1 / arb(rational(psi.tau))


def _excess(num_classes, scaled_beta, gap):
    """Decreasing in both arguments; positive left of the minimiser."""
    return (
        (scaled_beta + 1) * (-gap).exp()
        + (num_classes - 1) * (-(scaled_beta + 1) * gap).exp()
        - scaled_beta
    )


def _root(num_classes, scaled_beta):
    high = arb(1)
    while _excess(num_classes, scaled_beta, high) > 0:
        high = 2 * high
    return _bisect(lambda gap: _excess(num_classes, scaled_beta, gap), arb(0), high)


def _bisect(decreasing, low, high):
    """Encloses the root of a decreasing function; stops where the sign cannot be told."""
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
