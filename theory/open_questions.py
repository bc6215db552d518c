"""What is open: questions that the proofs leave, with what is known of each."""

from typing import NamedTuple


class OpenQuestion(NamedTuple):
    """A question, and what bears on it.

    Attributes:
        question: what is asked; formulas in TeX between dollars, here and in what is known.
        known: what is proved, certified or observed of it.
        reference: where it arises, as the reference of a claim.
    """

    question: str
    known: str
    reference: str


OPEN = (
    OpenQuestion(
        r"the optimum of HUCL on the unit sphere with $d = C - 1$, $C \ge 3$",
        r"NC is not optimal at larger $\beta$ (certified); $C = 2$ is proved",
        "docs/hucl_optimum.md, section 6",
    ),
    OpenQuestion(
        "the optimum of HUCL in fewer than $C - 1$ dimensions, and of the other losses there",
        "minima found by optimisation",
        "docs/hucl_optimum.md, section 6",
    ),
    OpenQuestion(
        "the optimum of HUCL under other tilts than the exponential",
        "nothing",
        "docs/hucl_optimum.md, section 2",
    ),
    OpenQuestion(
        "the optimum of HUCL in batches drawn at random",
        "balanced batches are proved",
        "docs/hucl_optimum.md, section 8",
    ),
    OpenQuestion(
        r"the bound of UCL under unequal priors, InfoNCE with $k = \infty$ and $C \ge 3$",
        r"$C = 2$ is proved; it fails for some $\alpha$, $q$ and $\tau$ if $4 \le k < \infty$",
        "docs/theory.md, Theorem 3",
    ),
    OpenQuestion(
        r"whether $R_N \le L_N$ tilted, the weights against the samples estimator",
        "proved to order $1/N$; no random law violates it",
        "docs/theory.md, the number of negatives",
    ),
    OpenQuestion(
        r"whether the exact rate of escape grows with $\beta$ for HSCL at zero-sum frames that are "
        r"critical at every $\beta$, and has one peak for HUCL at Paley frames",
        "for HSCL it grows for four classes and at Paley frames (proved), and can fall at other "
        "zero-sum frames (certified); for HUCL the leading order has one peak (proved)",
        "docs/escape.md, section 7",
    ),
    OpenQuestion(
        "how long a network takes to leave dimensional collapse",
        "the rate of free class means is proved and observed; one network multiplies it by 12 to "
        "15 at a small learning rate, and by less at larger ones (observed)",
        "docs/escape.md, section 6",
    ),
    OpenQuestion(
        "the optimum of HSCL, UCL and HUCL under unequal priors",
        "that of SCL is proved; for HSCL where minority classes at one point are stable",
        "docs/unequal_priors.md, section 5",
    ),
    OpenQuestion(
        r"whether minority classes at one point stay optimal for SCL with $\alpha = q = 1$ at all "
        "imbalances above $R^*$",
        "certified for eleven cases from $R_0 (1 + 10^{-3})$ on, where $R_0$ is a zero of "
        r"$\sigma$, for $A = 1$ up to $10^9$, and what happens at imbalances without bound is "
        r"proved; for SCL with $\alpha = 0$, and for HSCL, they need not (certified)",
        "docs/unequal_priors.md, section 3",
    ),
)
"""Every open question, in the order of the report."""
