"""Figures of the HUCL optimum. matplotlib is imported only when one is drawn."""

from typing import TYPE_CHECKING

import numpy as np
from flint import arb

from scripts.theory_report.section import Section, blank_figure
from theory.checking import Effort
from theory.claims.proposition5_detached_gradient import (
    adam_on_class_means,
    predicted_losses,
    runs,
)
from theory.claims.theorem4_threshold import NEGATIVES
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.floor import floor
from theory.optimum.profile import ProfileParameters, limit_minimum, taylor
from theory.optimum.threshold import threshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROFILE = ProfileParameters(4, 2)
BETAS = (0.0, 0.4, 0.8125, 2.0, 5.0, 20.0)
CURVE_CLASSES = (2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000)


def profile_figure(effort: Effort) -> "Figure":
    """``L_k(delta)`` for several beta, with NC and the minimiser marked."""
    figure, [axes] = blank_figure(r"gap $\delta$", r"$L_k(\delta)$")
    deltas = np.linspace(0.0, 3.0, 121)
    for beta in BETAS:
        values = [_hucl(beta, delta) for delta in deltas]
        (line,) = axes.plot(deltas, values, label=rf"$\beta = {beta:g}$")
        if beta > 0:
            best = floor(
                num_classes=PROFILE.num_classes, k=2, psi=PROFILE.psi, beta=arb(beta)
            ).delta
            axes.plot(float(best), _hucl(beta, float(best)), "o", color=line.get_color())
    axes.axvline(float(nc_gap(PROFILE.num_classes)), color="0.5", linestyle="--", label="NC")
    axes.set_title(r"HUCL of collapsed classes, $C = 4$, $k = 2$, $q = \tau = 1$; dots: minima")
    axes.legend()
    return figure


def threshold_figure(effort: Effort) -> "Figure":
    """beta_c against C for several k."""
    figure, [axes] = blank_figure("number of classes $C$", r"$\beta_c$")
    for k in NEGATIVES:
        values = [threshold(ProfileParameters(c, k)).middle for c in CURVE_CLASSES]
        shown = r"\infty" if k is None else k
        axes.plot(CURVE_CLASSES, values, ".-", label=rf"$k = {shown}$")
    axes.set_xscale("log")
    axes.set_title(r"Hardness up to which neural collapse minimises HUCL ($q = \tau = 1$)")
    axes.legend()
    return figure


def optimum_figure(effort: Effort) -> "Figure":
    """Minima found over free features against the floor and the value at NC, C = 4, k = 1."""
    import jax

    from theory.free_features.minimisation import MinimisationProblem, PopulationLoss, minimise

    figure, [axes] = blank_figure(r"$\beta$", "HUCL")
    profile, hardnesses = ProfileParameters(4, 1), np.linspace(0.2, 8.0, 40)
    gap = ball(nc_gap(4))
    at_nc = [float(taylor(profile, arb(b), gap, terms=1)[0]) for b in hardnesses]
    lowest = [
        float(floor(num_classes=4, k=1, psi=profile.psi, beta=arb(b), within=gap).value)
        for b in hardnesses
    ]
    tried = (0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 7.0)
    objectives = tuple(PopulationLoss(False, b) for b in tried)
    with jax.enable_x64(True):
        found = minimise(jax.random.key(0), MinimisationProblem(4, 1, 3, 1), objectives)
    axes.plot(hardnesses, at_nc, label="neural collapse")
    axes.plot(hardnesses, lowest, label="Theorem 4")
    axes.plot(tried, [minimiser.value for minimiser in found], "o", label="minimisation")
    axes.axvline(threshold(profile).middle, color="0.5", linestyle="--", label=r"$\beta_c$")
    axes.set_title("Minimum of HUCL over the unit ball, $C = 4$, $k = 1$")
    axes.legend()
    return figure


def trajectory_figure(effort: Effort) -> "Figure":
    """Adam on HUCL with detached weights and with the full gradient, runs of the claim."""
    num_classes, beta = runs(effort)[0]
    names = ("HUCL", "distance to neural collapse")
    figure, [left, right] = blank_figure("step of Adam", *names, size=(9, 4))
    for stop_gradient, name in ((True, "detached weights"), (False, "full gradient")):
        path = adam_on_class_means(num_classes, beta, stop_gradient=stop_gradient)
        left.plot(path.steps, path.losses, label=name)
        right.semilogy(path.steps, np.maximum(path.etf_distances, 1e-16), label=name)
    for value, name in zip(predicted_losses(num_classes, beta), ("NC", "minimum"), strict=True):
        left.axhline(value, color="0.5", linestyle="--")
        above = 4 if name == "minimum" else -12
        left.annotate(name, (0, value), xytext=(0, above), textcoords="offset points")
    figure.suptitle(
        rf"One loss, two gradients: $C = {num_classes}$, $\beta = {beta:g}$, $k = \infty$"
    )
    left.legend()
    return figure


def minimiser_figure(effort: Effort) -> "Figure":
    """The norm of the optimal simplex ETF against beta, k = infinity."""
    figure, [axes] = blank_figure(r"$\beta$", "norm of the optimal frame")
    hardnesses = np.geomspace(0.2, 50.0, 80)
    for num_classes in (2, 4, 10, 100):
        gap = float(nc_gap(num_classes))
        deltas = [
            float(limit_minimum(ProfileParameters(num_classes, None), arb(b)).delta)
            for b in hardnesses
        ]
        axes.plot(hardnesses, np.sqrt(np.minimum(1.0, np.array(deltas) / gap)), label=num_classes)
    axes.set_xscale("log")
    axes.set_title(r"Beyond $\beta_c$ the frame shrinks (unit ball, $d = C - 1$, $k = \infty$)")
    axes.legend(title="$C$")
    return figure


def _hucl(beta: float, delta: float) -> float:
    """The profile of `PROFILE` at one gap."""
    return float(taylor(PROFILE, arb(beta), arb(delta), terms=1)[0])


SECTIONS = (
    Section(
        "HUCL of collapsed classes against their gap",
        r"$L_k(\delta)$ is the HUCL of a simplex ETF (simplex equiangular tight frame) whose "
        r"similarities are larger by $\delta$ within a class than between classes. NC minimises "
        "HUCL in the unit ball where the minimum (dot) lies at its gap $C/(C-1)$ (dashed line) or "
        "beyond it.",
        place="docs/hucl_optimum.md, section 1",
        figure=profile_figure,
    ),
    Section(
        r"The threshold $\beta_c$",
        r"Up to $\beta_c$ NC minimises HUCL in the unit ball, beyond it does not. The threshold "
        "grows slowly with the number of classes and falls with $k$.",
        place="docs/hucl_optimum.md, section 5",
        figure=threshold_figure,
    ),
    Section(
        "Minimisation over free features meets the floor of Theorem 4",
        "The dots were found by minimisation that knows no theory.",
        place="docs/hucl_optimum.md, section 2",
        figure=optimum_figure,
        slow=True,
    ),
    Section(
        "The size of the optimal frame",
        r"Beyond $\beta_c$ the optimal simplex ETF is smaller than NC, whose norm is 1.",
        place="docs/hucl_optimum.md, section 4",
        figure=minimiser_figure,
    ),
    Section(
        "Detached weights lead to NC, the full gradient near the minimum of HUCL",
        "Detached: the weights of the negatives count as constants to differentiation. In "
        "$C - 1$ dimensions the full gradient ends at class means of norm one with unequal gaps, a "
        "little above the minimum, which is that of a shrunk simplex ETF. The distance is that of "
        "the class means to a simplex ETF, relative, in the Frobenius norm.",
        place="docs/hucl_optimum.md, section 7",
        figure=trajectory_figure,
    ),
)
"""See docs/hucl_optimum.md."""
