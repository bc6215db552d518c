"""The lower bounds of the theorems, for one choice of C, k, psi and eta, in balls.

With ``delta0 = C / (C - 1)``, features in the unit ball and balanced classes:

    Theorem 2:  SCL, HSCL >= psi_k(-delta0, .., -delta0)
    Theorem 3:  UCL, HUCL >= E psi_k(-delta0 b_1, .., -delta0 b_k),  b_i iid Bernoulli((C - 1)/C)

Under exponential tilting HUCL has the floor of `theory.optimum.floor`.
"""

from fractions import Fraction
from math import comb
from typing import cast

from flint import arb

from theory.model.kinds import EtaForm, EtaKind, PsiKind
from theory.model.rationals import ball, rational
from theory.model.simplex import nc_gap


def supervised_bound(num_classes: int, k: int, psi: PsiKind) -> arb:
    """``psi_k(-delta0, .., -delta0)``: the bound of SCL and HSCL (Theorem 2).

    Raises for fewer than two classes, fewer than one negative, and parameters of psi that are not
    one for each negative, as all functions here. Whether psi is legal is not asked.
    """
    return at_gap(nc_gap(num_classes), k, k, psi)


def unsupervised_bound(num_classes: int, k: int, psi: PsiKind) -> arb:
    """``E psi_k(-delta0 b)`` with b_i iid Bernoulli((C - 1)/C): the bound of UCL (Theorem 3).

    Where psi weights its places, b is exchangeable and so only the mean weight matters.
    """
    gap = nc_gap(num_classes)
    return bernoulli_mixture(ball(Fraction(num_classes - 1, num_classes)), gap, k, psi)


def hucl_at_collapse(num_classes: int, k: int, psi: PsiKind, eta: EtaKind) -> arb:
    """HUCL at NC under a product eta ``h(t_1) .. h(t_k)``.

    It is ``E psi_k(-delta0 b)`` with b_i iid Bernoulli(p), p the tilted probability of another
    class, ``p = (C-1) h(-1/(C-1)) / ((C-1) h(-1/(C-1)) + h(1))``, and the UCL there where h is zero
    at both. Raises ValueError for another eta.
    """
    if eta.form is not EtaForm.PRODUCT:
        raise ValueError(f"eta must be a product of one factor for every negative, got {eta}")
    gap, others = nc_gap(num_classes), num_classes - 1
    apart = eta.factor(rational(Fraction(-1, others)), 0) * others
    together = eta.factor(rational(Fraction(1)), 0)
    if apart + together == 0:
        return unsupervised_bound(num_classes, k, psi)
    return bernoulli_mixture(apart / (apart + together), gap, k, psi)


def bernoulli_mixture(probability: arb, gap: Fraction, k: int, psi: PsiKind) -> arb:
    """``E psi_k(-gap b_1, .., -gap b_k)`` with b_i iid Bernoulli(probability)."""
    psi.check_negatives(k)
    total = arb(0)
    for j in range(k + 1):
        weight = probability**j * (1 - probability) ** (k - j) * comb(k, j)
        total += at_gap(gap, j, k, psi) * weight
    return total


def at_gap(gap: Fraction, different: int, k: int, psi: PsiKind) -> arb:
    """psi_k with `different` arguments ``-gap`` and the others 0."""
    psi.check_negatives(k)
    live = psi.kink is None or -gap > psi.kink
    return cast(arb, psi.collapsed(ball(gap), different, k, live=live))
