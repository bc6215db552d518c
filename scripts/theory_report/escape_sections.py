"""The escape from dimensional collapse: rates at Paley frames, and those measured in the losses."""

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING

import jax
import numpy as np
from flint import ctx

from scripts.experiments.paper import METHODS, PAPER
from scripts.theory_report.section import Section, Table, blank_figure
from theory.checking import BITS, Effort
from theory.claims import escape_runs
from theory.claims.escape_flow import CASES, measured_rate, predicted_rate
from theory.claims.escape_paley import lambert_kappa
from theory.escape.matrix import EscapeProblem
from theory.escape.paley import PRIMES, paley_spectrum
from theory.model.psi_kinds import InfoNCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRIME = 101
"""Classes of the figure, about those of CIFAR-100."""

LEAST = 1e-7
"""Rates below are not shown."""


def escape_rate(
    prime: int,
    beta: Fraction,
    *,
    supervised: bool,
    tau: Fraction = Fraction(1),
    detached: bool = True,
) -> float:
    """The rate at which a Paley frame is left: ``2 |lambda| / p``, InfoNCE, the population."""
    problem = EscapeProblem(supervised, beta, InfoNCE(tau=tau), detached)
    with ctx.workprec(BITS):
        return max(0.0, -2 * float(paley_spectrum(prime, problem).new) / prime)


def rate_figure(effort: Effort) -> "Figure":
    """The rate against hardness, and the directions that the paper found by training."""
    figure, [left, right] = blank_figure(
        r"hardness $\beta$", "rate of escape", "directions of 99", size=(10, 4)
    )
    betas = [Fraction(n, 20) for n in range(effort.choose(61, 641, 641))]
    for supervised, name, colour in ((True, "HSCL", "C0"), (False, "HUCL", "C1")):
        rates = [escape_rate(PRIME, beta, supervised=supervised) for beta in betas]
        shown = [rate if rate > LEAST else np.nan for rate in rates]
        left.plot([float(beta) for beta in betas], shown, color=colour, label=name)
        methods = [m for m in METHODS if m.objective.removeprefix("H") == name.removeprefix("H")]
        marked = [escape_rate(PRIME, Fraction(m.beta), supervised=supervised) for m in methods]
        left.plot([m.beta for m in methods], marked, "o", color=colour)
        found = [PAPER[f"{m.objective} {m.beta:g}".removesuffix(" 0")].directions for m in methods]
        known = [(m.beta, int(f)) for m, f in zip(methods, found, strict=True) if f.isdigit()]
        shift = -0.15 if supervised else 0.15
        right.plot(
            [beta + shift for beta, _ in known],
            [f for _, f in known],
            "o-",
            color=colour,
            label=name,
        )
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=2)
        axes.set_xticks([0, 2, 5, 10, 30], ["0", "2", "5", "10", "30"])
        axes.set_xlim(-0.3, 35)
    left.set(yscale="log", ylim=(LEAST, 3e-3), title=f"predicted, Paley frame of {PRIME} classes")
    right.set(title="found by training on CIFAR-100 (the paper)")
    right.annotate("HUCL 10 and 30: no cliff,\ngradual decay", (12, 30), color="C1", ha="center")
    left.legend(loc="lower left")
    right.legend(loc="upper left")
    return figure


def save_figure(path: str) -> None:
    """Writes `rate_figure` as a file for the documentation, the same on every run."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "hcl-jax"}):
        rate_figure(Effort.FULL).savefig(path, metadata={"Date": None})


def speed_up_table(effort: Effort = Effort.FULL) -> Table:
    """The rate of HSCL over that of SCL."""
    betas, rows = (1, 2, 5, 10, 30), []
    for prime in (13, 101):
        for tau in (Fraction(1), Fraction(1, 10)):
            for detached in (True, False):
                options = {"supervised": True, "tau": tau, "detached": detached}
                slowest = escape_rate(prime, Fraction(0), **options)
                found = [escape_rate(prime, Fraction(b), **options) / slowest for b in betas]
                gradient = "detached" if detached else "full"
                cells = [str(prime), f"{float(tau):g}", gradient, f"{slowest:.3g}"]
                rows.append([*cells, *(f"{factor:.2f}" for factor in found)])
    columns = [rf"$\beta = {b}$" for b in betas]
    return Table(["$C$", r"$\tau$", "gradient", "rate of SCL", *columns], rows)


def peak_table(effort: Effort = Effort.FULL) -> Table:
    """The hardness at which HUCL is fastest, to a hundredth, and where it is as slow as UCL."""
    rows = []
    for prime in PRIMES:
        betas = [Fraction(n, 100) for n in range(1001)]
        rates = [escape_rate(prime, beta, supervised=False) for beta in betas]
        best = int(np.argmax(rates))
        slower = next(n for n, rate in enumerate(rates) if n > best and rate < rates[0])
        lambert = float(lambert_kappa(prime)) - 1
        numbers = [f"{lambert:.2f}", f"{float(betas[best]):.2f}", f"{rates[best] / rates[0]:.2f}"]
        rows.append([str(prime), *numbers, f"{float(betas[slower]):.2f}"])
    columns = ["Lambert form", r"peak at $\beta$", "rate over UCL", r"below UCL from $\beta$"]
    return Table(["$C$", *columns], rows)


def measured_table(effort: Effort = Effort.FULL) -> Table:
    """The growth of thin starts in the shipped loss, with the prediction."""
    rows = []
    with jax.enable_x64(True):
        for case in CASES[: effort.choose(3, 5, 7)]:
            rows.append([str(case), f"{measured_rate(case):.6f}", f"{predicted_rate(case):.6f}"])
    return Table(["loss", "measured", "predicted"], rows)


def run_table(effort: Effort = Effort.FULL) -> Table:
    """Times of escape at three step sizes, growth over prediction, directions at the end."""
    rows = []
    for objective in itertools.chain(*escape_runs.SLOW_AND_FAST[: effort.choose(1, 2, 2)]):
        found = [escape_runs.escape(objective, step) for step in escape_runs.STEPS]
        times = [f"{one.time:.0f}" for one in found]
        share = f"{found[0].growth / found[0].predicted:.2f}"
        rows.append([str(objective), *times, share, str(found[0].directions)])
    times = [f"time, step {step:g}" for step in escape_runs.STEPS]
    return Table(["objective", *times, "growth over prediction", "directions of 19"], rows)


SECTIONS = (
    Section(
        "How fast dimensional collapse is left, against hardness",
        "Left: the rate at which 101 classes at a Paley frame, which spans half the dimensions of "
        r"NC, move into a new one (InfoNCE, $\tau = 1$, detached weights). Dots: the paper's "
        "hardnesses; HUCL's rate at 30 is below what is shown. Right: the directions that the "
        "paper's training on CIFAR-100 found; for HUCL at 10 and 30 it gives none.",
        place="docs/escape.md, section 6",
        figure=rate_figure,
    ),
    Section(
        "The rate of HSCL over that of SCL at Paley frames",
        "Per unit of time of gradient flow of the mean loss over classes.",
        place="docs/escape.md, section 6",
        table=speed_up_table,
    ),
    Section(
        "Suitable hardness for HUCL",
        r"Where HUCL leaves a Paley frame fastest ($\tau = 1$, detached weights, population). "
        r"The Lambert form is $\beta = (1 + W((C-1)/e)) (C-1)/C - 1$.",
        place="docs/escape.md, section 6",
        table=peak_table,
    ),
    Section(
        "Rates measured in the library's losses",
        "Gradient flow from a Paley frame of 13 classes with a thickness of a millionth.",
        place="docs/escape.md, section 6",
        table=measured_table,
    ),
    Section(
        "Runs that leave dimensional collapse, at three step sizes",
        "Gradient descent on 20 classes near 4 dimensions: the time, step size times steps, until "
        "the norm of the other coordinates, each of about $10^{-5}$ at first, is $10^{-2}$; for "
        "step 1 its growth from $10^{-4}$ on, as a share of the integral of the predicted rate, "
        "and the directions after a time of 1584.",
        place="docs/escape.md, section 6",
        table=run_table,
    ),
)
"""See docs/escape.md."""
