"""Figures and a table of the four losses on finite models, evaluated in balls."""

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from flint import ctx

from scripts.theory_report.section import Section, Table, blank_figure
from theory.checking import BITS, Effort
from theory.exact.balls import exact_losses
from theory.exact.bounds import hucl_at_collapse, supervised_bound, unsupervised_bound
from theory.model.eta_kinds import Exponential
from theory.model.latent_classes import LatentClassModel
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import ball_features, neural_collapse, random_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED = 9
SIZE = (6.5, 4)
PSI = InfoNCE()


def between(
    model: LatentClassModel, collapsed: LatentClassModel, step: Fraction
) -> LatentClassModel:
    """Features on the way from one model to another, ``step`` of the way from the second."""
    mixed = tuple(
        tuple(step * a + (1 - step) * b for a, b in zip(x, y, strict=True))
        for x, y in zip(model.features, collapsed.features, strict=True)
    )
    return replace(collapsed, features=mixed)


def approach_to_collapse(effort: Effort) -> "Figure":
    """Slacks of the bounds along a path from a random representation to NC."""
    collapsed = neural_collapse(num_classes=3, points=2, k=2, eta=Exponential(Fraction(2)))
    start = random_model(
        random.Random(SEED), sizes=(3, 2, 2), k=2, features=ball_features, overlapping=False
    )
    steps = [Fraction(2) ** -i for i in range(effort.choose(8, 16, 24))]
    names, slacks = ("SCL", "HSCL", "UCL", "HUCL"), []
    with ctx.workprec(BITS):
        bounds = [float(bound(3, 2, PSI)) for bound in (supervised_bound, unsupervised_bound)]
        for step in steps:
            losses = exact_losses(between(start, collapsed, step))
            supervised = [float(loss) - bounds[0] for loss in (losses.scl, losses.hscl)]
            unsupervised = [float(loss) - bounds[1] for loss in (losses.ucl, losses.hucl)]
            slacks.append(supervised + unsupervised)
    figure, [axes] = blank_figure(
        "distance from neural collapse (share of the way to a random representation)",
        "loss minus its bound",
        size=SIZE,
    )
    for name, column in zip(names, zip(*slacks, strict=True), strict=True):
        axes.loglog([float(step) for step in steps], column, "o-", markersize=3, label=name)
    axes.legend()
    return figure


def growth_with_hardness(effort: Effort) -> "Figure":
    """HSCL and HUCL of one representation, and HUCL at NC, against beta."""
    model = random_model(random.Random(SEED), sizes=(3, 2, 2), k=2, psi=PSI, balanced=True)
    betas = [Fraction(i, 2) for i in range(-6, 21, effort.choose(2, 1, 1))]
    with ctx.workprec(BITS):
        losses = [exact_losses(replace(model, eta=Exponential(beta))) for beta in betas]
        at_nc = [float(hucl_at_collapse(3, 2, PSI, Exponential(beta))) for beta in betas]
    figure, [axes] = blank_figure(r"hardness $\beta$ (negative: softened)", "loss", size=SIZE)
    grid = [float(beta) for beta in betas]
    axes.plot(grid, [float(x.hscl) for x in losses], label="HSCL, a random representation")
    axes.plot(grid, [float(x.hucl) for x in losses], label="HUCL, a random representation")
    axes.plot(grid, at_nc, "--", label="HUCL at neural collapse")
    axes.axvline(0, color="grey", linewidth=0.7)
    axes.legend()
    return figure


def growth_with_negatives(effort: Effort) -> "Figure":
    """L_oo - L_k against k."""
    model = random_model(
        random.Random(SEED), sizes=(2, 2, 2), k=1, psi=PSI, features=ball_features, joint=False
    )
    model = replace(model, eta=Exponential(Fraction(2)))
    ks: Sequence[int] = (1, 2, 4, 8, 16)[: effort.choose(4, 5, 5)]
    with ctx.workprec(BITS):
        limit = exact_losses(model, limit=True)
        finite = [exact_losses(replace(model, k=k)) for k in ks]
    figure, [axes] = blank_figure(
        "number of negatives $k$", "loss for infinitely many minus loss for $k$", size=SIZE
    )
    for name in ("scl", "hscl", "ucl", "hucl"):
        gaps = [float(getattr(limit, name) - getattr(x, name)) for x in finite]
        axes.loglog(ks, gaps, "o-", label=name.upper())
    axes.loglog(ks, [gaps[0] / k for k in ks], ":", color="grey", label="$1/k$")
    axes.set_xticks(ks, labels=[str(k) for k in ks])
    axes.minorticks_off()
    axes.legend(loc="lower left")
    return figure


def values_at_collapse(effort: Effort) -> Table:
    """The losses at NC for InfoNCE."""
    rows = []
    with ctx.workprec(BITS):
        for classes in (2, 3, 4, 5, 6, 10, 100):
            hucl = [hucl_at_collapse(classes, 1, PSI, Exponential(Fraction(b))) for b in (1, 5)]
            row = (supervised_bound(classes, 1, PSI), unsupervised_bound(classes, 1, PSI), *hucl)
            rows.append((classes, *(f"{float(value):.9f}" for value in row)))
    return Table(("$C$", "SCL = HSCL", "UCL", r"HUCL, $\beta = 1$", r"HUCL, $\beta = 5$"), rows)


SECTIONS = (
    Section(
        "The way to neural collapse",
        "How far the four losses are above the bounds on a straight way to neural collapse, "
        r"$C = 3$, two points a class, $k = 2$, $\beta = 2$. SCL, HSCL and UCL come down to their "
        "bounds; HUCL stays above the bound of UCL, which no representation attains under HUCL.",
        place="docs/theory.md, the losses at NC",
        figure=approach_to_collapse,
    ),
    Section(
        "Hardness",
        r"The hardened losses are non-decreasing in $\beta$, negative $\beta$ included; at "
        r"$\beta = 0$ they are SCL and UCL.",
        place="docs/theory.md, Theorem 1",
        figure=growth_with_hardness,
    ),
    Section(
        "The number of negatives",
        "The loss with $k$ negatives approaches that with infinitely many from below, like $1/k$.",
        place="docs/theory.md, the number of negatives",
        figure=growth_with_negatives,
    ),
    Section(
        "Losses at neural collapse",
        r"InfoNCE with $\alpha = q = \tau = 1$ and $k = 1$, from the closed forms.",
        place="docs/theory.md, the losses at NC",
        table=values_at_collapse,
    ),
)
