"""SCL under unequal priors: thresholds of minority collapse, and what hardness does to them."""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from hcl_jax.geometry import minority_collapse_threshold, scl_optimum
from hcl_jax.losses import Average
from scripts.theory_report.section import Section, Table, blank_figure
from theory.checking import Effort
from theory.model.psi_kinds import InfoNCE
from theory.priors.limit import limit_ratio, limit_temperature

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ((1, 2), (1, 9), (2, 2), (2, 5), (3, 3), (10, 10), (10, 90))
"""Numbers of majority and of minority classes."""

TEMPERATURES = (1.0, 0.5, 0.1)
HARDNESSES = (0.0, 0.25, 0.5, 1.0, 2.0)
SMALL = (0.0, 0.05, *HARDNESSES[1:])
CURVES: tuple[tuple[int, Average], ...] = ((2, "anchors"), (2, "pairs"), (3, "anchors"))
"""Of the figure: the number of majority classes, and what is averaged over."""

NEGATIVES = (1, 2, 4, 16, 64, None)
INFINITE = r"\infty"
LIMITS = (10.0, 1.0, 0.1)
"""Temperatures of the table of imbalances without bound."""


def threshold_table(effort: Effort = Effort.FULL) -> Table:
    """R* of SCL for infinitely many negatives, averages over anchors and over pairs."""
    rows = [
        [
            *map(str, kinds),
            *(
                _shown(minority_collapse_threshold(*kinds, temperature, average=average))
                for average in ("anchors", "pairs")
                for temperature in TEMPERATURES
            ),
        ]
        for kinds in KINDS
    ]
    columns = [
        rf"{average}, $\tau = {t:g}$" for average in ("anchors", "pairs") for t in TEMPERATURES
    ]
    return Table(["$A$", "$B$", *columns], rows)


def negatives_table(effort: Effort = Effort.FULL) -> Table:
    """R* of SCL against the number of negatives, averages over anchors, temperature 1."""
    rows = [
        [
            *map(str, kinds),
            *(
                _shown(minority_collapse_threshold(*kinds, 1.0, num_negatives=k, average="anchors"))
                for k in NEGATIVES
            ),
        ]
        for kinds in KINDS[:4]
    ]
    columns = [rf"$k = {k or INFINITE}$" for k in NEGATIVES]
    return Table(["$A$", "$B$", *columns], rows)


def hardness_table(effort: Effort = Effort.FULL) -> Table:
    """The local threshold of HSCL, averages over anchors."""
    problems = (
        (2, 2, 1.0, None, True),
        (2, 2, 1.0, None, False),
        (2, 5, 1.0, None, True),
        (2, 2, 0.5, None, True),
        (2, 2, 1.0, 1, True),
        (2, 2, 1.0, 1, False),
    )
    rows = []
    for majority, minority, temperature, k, detached in problems:
        found = [
            _shown(
                minority_collapse_threshold(
                    majority,
                    minority,
                    temperature,
                    num_negatives=k,
                    beta=beta,
                    stop_gradient_hardening=detached,
                    average="anchors",
                )
            )
            for beta in HARDNESSES
        ]
        negatives = f"${INFINITE}$" if k is None else str(k)
        cells = [str(majority), str(minority), f"{temperature:g}", negatives]
        rows.append([*cells, "detached" if detached else "full", *found])
    columns = ["SCL" if beta == 0 else rf"$\beta = {beta:g}$" for beta in HARDNESSES]
    return Table(["$A$", "$B$", r"$\tau$", "$k$", "gradient", *columns], rows)


def small_hardness_table(effort: Effort = Effort.FULL) -> Table:
    """The local threshold of HSCL with one majority class, and with averages over pairs."""
    kinds: tuple[tuple[int, int, Average], ...] = (
        (1, 2, "anchors"),
        (1, 9, "anchors"),
        (2, 2, "pairs"),
        (3, 3, "pairs"),
    )
    rows = []
    for majority, minority, average in kinds:
        for detached in (True, False):
            found = [
                _shown(
                    minority_collapse_threshold(
                        majority,
                        minority,
                        1.0,
                        beta=beta,
                        stop_gradient_hardening=detached,
                        average=average,
                    )
                )
                for beta in SMALL
            ]
            gradient = "detached" if detached else "full"
            rows.append([str(majority), str(minority), average, gradient, *found])
    columns = ["SCL" if beta == 0 else rf"$\beta = {beta:g}$" for beta in SMALL]
    return Table(["$A$", "$B$", "average", "gradient", *columns], rows)


def limit_table(effort: Effort = Effort.FULL) -> Table:
    """The ratio that decides at imbalances without bound, and where it is 1."""
    rows = []
    for majority in (2, 3, 4, 5, 10):
        losses = [InfoNCE(tau=Fraction(temperature)) for temperature in LIMITS]
        ratios = [f"{float(limit_ratio(majority, psi)):.3f}" for psi in losses]
        critical = limit_temperature(majority)
        rows.append([str(majority), *ratios, "none" if critical is None else f"{critical:.3f}"])
    columns = [rf"$\varrho$ at $\tau = {tau:g}$" for tau in LIMITS]
    return Table(["$A$", *columns, r"$\varrho = 1$ at $\tau$"], rows)


def minority_figure(effort: Effort) -> "Figure":
    """Similarities of minority classes against imbalance, and thresholds against hardness."""
    figure, [left, right] = blank_figure(
        "imbalance $R$", "similarity of minority classes", "$R^*$ over that of SCL", size=(10, 4)
    )
    ratios = np.geomspace(1, 100, effort.choose(9, 25, 49))
    for colour, (majority, average) in enumerate(CURVES):
        found = [_similarity(majority, float(ratio), average) for ratio in ratios]
        label = f"$A = {majority}$, $B = 2$, averages over {average}"
        left.plot(ratios, found, color=f"C{colour}", label=label)
        threshold = minority_collapse_threshold(majority, 2, 1.0, average=average)
        if np.isfinite(threshold):
            left.axvline(threshold, color=f"C{colour}", linestyle=":")
    left.set(xscale="log", ylim=(-0.4, 1.05), title=r"the optimum of SCL, $\tau = 1$")
    left.legend(loc="lower right")
    betas = np.linspace(0, 2, effort.choose(9, 21, 41))
    for k, colour in ((None, "C0"), (4, "C1"), (1, "C2")):
        for detached, line in ((True, "-"), (False, "--")):
            found = [_local_threshold(float(beta), k, detached=detached) for beta in betas]
            name = rf"$k = {k or INFINITE}$, {'detached' if detached else 'full'}"
            right.plot(betas, np.array(found) / found[0], line, color=colour, label=name)
    right.axhline(1, color="grey", linewidth=0.8)
    right.set(xlabel=r"hardness $\beta$", title=r"HSCL, $A = B = 2$, $\tau = 1$ (local)")
    right.legend(loc="upper left")
    return figure


def save_figure(path: str) -> None:
    """Writes `minority_figure` as a file for the documentation, the same on every run."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "hcl-jax"}):
        minority_figure(Effort.FULL).savefig(path, metadata={"Date": None})


def _similarity(majority: int, imbalance: float, average: Average) -> float:
    """That of two minority classes at the optimum of SCL."""
    sizes = [imbalance] * majority + [1.0] * 2
    return scl_optimum(sizes, 1.0, average=average).gram[-1, -2]


def _local_threshold(beta: float, k: int | None, *, detached: bool) -> float:
    """That of HSCL with two classes of each kind."""
    return minority_collapse_threshold(
        2,
        2,
        1.0,
        num_negatives=k,
        beta=beta,
        stop_gradient_hardening=detached,
        average="anchors",
    )


def _shown(threshold: float) -> str:
    """A threshold in a table."""
    return "none" if np.isinf(threshold) else f"{threshold:.5g}"


SECTIONS = (
    Section(
        "Minority collapse",
        "Left: the similarity of two minority classes at the optimum of SCL against the imbalance; "
        "dotted, the thresholds $R^*$. Three majority classes keep them apart where averages are "
        "over anchors. Right: the local threshold of HSCL over that of SCL.",
        place="docs/unequal_priors.md, section 4",
        figure=minority_figure,
    ),
    Section(
        "The imbalance from which minority classes are one point",
        r"For SCL, InfoNCE with $\alpha = q = 1$ and infinitely many negatives; none: they are not "
        "at any of the imbalances $2^{n/8}$ up to $10^{12}$.",
        place="docs/unequal_priors.md, section 3",
        table=threshold_table,
    ),
    Section(
        "The same for finitely many negatives",
        r"Averages over anchors, $\tau = 1$.",
        place="docs/unequal_priors.md, section 3",
        table=negatives_table,
    ),
    Section(
        "Imbalances without bound",
        r"For SCL with averages over anchors, infinitely many negatives and $\alpha = q = 1$: "
        r"minority classes meet in the end if $\varrho$ is above 1 and do not if it is below, as "
        "it is at temperatures below that of the last column.",
        place="docs/unequal_priors.md, section 3",
        table=limit_table,
    ),
    Section(
        "Hardness and minority collapse",
        "At which imbalance the point of minority classes becomes stable against splitting; "
        "averages over anchors.",
        place="docs/unequal_priors.md, section 4",
        table=hardness_table,
    ),
    Section(
        "A little hardness and minority collapse",
        r"The same with one majority class and with averages over pairs; $\tau = 1$, infinitely "
        "many negatives.",
        place="docs/unequal_priors.md, section 4",
        table=small_hardness_table,
    ),
)
"""See docs/unequal_priors.md."""
