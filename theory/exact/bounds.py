"""The lower bounds of the theorems, for one choice of C, k, psi and eta, in balls.

With ``delta0 = C / (C - 1)``, features in the unit ball and balanced classes:

    Theorem 2:  SCL, HSCL >= psi_k(-delta0, .., -delta0)
    Theorem 3:  UCL, HUCL >= E psi_k(-delta0 b_1, .., -delta0 b_k),  b_i iid Bernoulli((C - 1)/C)

and, under exponential tilting, the floor of HUCL of `theory.optimum.hucl_floor`.
"""

from fractions import Fraction
from math import comb

from flint import arb

from theory.model.eta_kinds import EtaKind, Exponential
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE, PsiKind
from theory.model.rationals import rational
from theory.optimum.hucl_floor import Floor, floor
from theory.optimum.unimodal_floor import floor_by_slope

MANY = 24
"""From so many negatives on the floor of InfoNCE is found by Theorem 4(d), not without it."""


def etf_gap(num_classes: int) -> Fraction:
    """``delta0 = C / (C - 1)``: similarity within a class minus between classes, at NC.

    Example:
        >>> etf_gap(4)
        Fraction(4, 3)
    """
    return Fraction(num_classes, num_classes - 1)


def supervised_bound(num_classes: int, k: int, psi: PsiKind) -> arb:
    """``psi_k(-delta0, .., -delta0)``: the bound of SCL and HSCL (Theorem 2).

    Args:
        num_classes: C.
        k: the number of negatives.
        psi: the loss function.

    Returns:
        The bound.

    Example:
        >>> from theory.model.psi_kinds import InfoNCE
        >>> round(float(supervised_bound(100, 1, InfoNCE())), 5)
        0.31056
    """
    return at_gap(etf_gap(num_classes), k, k, psi)


def unsupervised_bound(num_classes: int, k: int, psi: PsiKind) -> arb:
    """``E psi_k(-delta0 b)`` with b_i iid Bernoulli((C - 1)/C): the bound of UCL (Theorem 3).

    Args:
        num_classes: C.
        k: the number of negatives.
        psi: the loss function; where it weights its places, b is exchangeable and so only the mean
            weight matters.

    Returns:
        The bound.

    Example:
        >>> from theory.model.psi_kinds import InfoNCE
        >>> round(float(unsupervised_bound(2, 1, InfoNCE())), 6)
        0.410038
    """
    different = arb(rational(Fraction(num_classes - 1, num_classes)))
    return bernoulli_mixture(different, etf_gap(num_classes), k, psi)


def hucl_at_collapse(num_classes: int, k: int, psi: PsiKind, eta: EtaKind) -> arb:
    """HUCL at NC under a product eta: Bernoulli with the tilted probability of another class.

    Args:
        num_classes: C.
        k: the number of negatives.
        psi: the loss function.
        eta: a product hardening function.

    Returns:
        ``E psi_k(-delta0 b)`` with b_i iid Bernoulli(p), ``p = (C-1) h(-1/(C-1)) / ((C-1)
        h(-1/(C-1)) + h(1))``.

    Example:
        >>> from theory.model.psi_kinds import InfoNCE
        >>> at_nc = hucl_at_collapse(2, 1, InfoNCE(), Exponential(Fraction(1)))
        >>> round(float(at_nc), 6)
        0.625652
    """
    others = num_classes - 1
    apart = eta.factor(rational(Fraction(-1, others)), 0) * others
    together = eta.factor(rational(Fraction(1)), 0)
    return bernoulli_mixture(apart / (apart + together), etf_gap(num_classes), k, psi)


def bernoulli_mixture(probability: arb, gap: Fraction, k: int, psi: PsiKind) -> arb:
    """``E psi_k(-gap b_1, .., -gap b_k)`` with b_i iid Bernoulli(probability)."""
    total = arb(0)
    for j in range(k + 1):
        weight = _power(probability, j) * _power(1 - probability, k - j) * comb(k, j)
        total += at_gap(gap, j, k, psi) * weight
    return total


def at_gap(gap: Fraction, different: int, k: int, psi: PsiKind) -> arb:
    """psi_k with `different` arguments ``-gap`` and the others 0."""
    live = psi.kink is None or -gap > psi.kink
    value = psi.collapsed(arb(rational(gap)), different, k, live=live)
    assert isinstance(value, arb)
    return value


def applicable_bounds(model: LatentClassModel) -> dict[str, arb]:
    """The bounds whose hypotheses a model satisfies, and where they are met.

    Args:
        model: the model.

    Returns:
        `scl` and `ucl` in the unit ball with balanced classes and a legal psi;
        `hucl_floor_any_norm`, with the minimiser `hucl_delta_star`, for balanced classes, a legal
        psi and ``eta = exp(beta sum t)`` with beta > 0; and in the unit ball also the minimum over
        ``delta <= delta0`` with its minimiser, and the value at NC.
    """
    classes, k, psi, eta = model.num_classes, model.k, model.psi, model.eta
    given, found = model.hypotheses, {}
    if not (given.balanced and given.psi_legal):
        return found
    if given.unit_ball:
        found["scl"] = supervised_bound(classes, k, psi)
        found["ucl"] = unsupervised_bound(classes, k, psi)
    if isinstance(eta, Exponential) and eta.beta > 0:
        beta = arb(rational(eta.beta))
        lowest = _lowest(classes, k, psi, beta)
        found |= {"hucl_floor_any_norm": lowest.value, "hucl_delta_star": lowest.delta}
        if given.unit_ball:
            edge = arb(rational(etf_gap(classes)))
            inside = _lowest(classes, k, psi, beta, within=edge)
            found |= {
                "hucl_min_unit_ball_predicted": inside.value,
                "hucl_delta_ball": inside.delta,
                "hucl_at_nc": hucl_at_collapse(classes, k, psi, eta),
            }
    return found


def _lowest(classes: int, k: int, psi: PsiKind, beta: arb, within: arb | None = None) -> Floor:
    if not isinstance(psi, InfoNCE):
        return floor(num_classes=classes, k=k, psi=psi, beta=beta, within=within)
    if k < MANY:
        try:
            return floor(num_classes=classes, k=k, psi=psi, beta=beta, within=within)
        except ArithmeticError:  # a temperature so low that there would be too many boxes
            pass
    return floor_by_slope(num_classes=classes, k=k, psi=psi, beta=beta, within=within)


def _power(base: arb, exponent: int) -> arb:
    return base**exponent if exponent else arb(1)
