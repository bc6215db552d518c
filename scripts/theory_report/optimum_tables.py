"""Tables of the HUCL optimum, of minimisation over free features, and of their training."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp

from hcl_jax import geometry
from scripts.theory_report.section import Section, Table
from theory.checking import Effort
from theory.claims import free_features_optima as optima
from theory.claims import free_features_training as training
from theory.claims import random_batches
from theory.claims.proposition5_detached_gradient import (
    adam_on_class_means,
    end_of_run,
    predicted_losses,
)
from theory.claims.theorem4_threshold import profiles
from theory.free_features.minimisation import (
    MinimisationProblem,
    Minimiser,
    PopulationLoss,
    class_mean_geometry,
)
from theory.free_features.predictions import predict
from theory.free_features.trajectories import Trajectory
from theory.model.psi_kinds import InfoNCE
from theory.optimum.profile import ProfileParameters
from theory.optimum.threshold import threshold

PROBLEM = ["$C$", "$d$", "points", "$k$", "constraint", "loss"]
SHAPE = ["gaps found", "mean norm", "zero sum", "within class"]


def threshold_table(effort: Effort = Effort.FULL) -> Table:
    """beta_c to six decimals, a row for every C (at quick effort for three of them)."""
    rows: dict[int, list[str]] = {}
    for profile in profiles(effort):
        row = rows.setdefault(profile.num_classes, [str(profile.num_classes)])
        row.append(f"{threshold(profile).middle:.6f}")
    columns = [rf"$k = {k}$" for k in (1, 2, 4, 8, r"\infty")]
    columns += [f"$k = q = {k}$" for k in (2, 4, 8)]
    return Table(["$C$", *columns], list(rows.values()))


def temperature_table(effort: Effort = Effort.FULL) -> Table:
    """beta_c for k = infinity at lower temperatures, for both ways to count beta.

    The last column, beta times the temperature, is the multiplier of similarity / temperature.
    """
    rows = []
    for num_classes in (10, 100)[: effort.choose(1, 2, 2)]:
        for tau in (Fraction(1), Fraction(1, 2), Fraction(1, 10)):
            beta = threshold(ProfileParameters(num_classes, None, InfoNCE(tau=tau))).middle
            numbers = (f"{float(tau):g}", f"{beta:.6g}", f"{beta * float(tau):.6g}")
            rows.append([str(num_classes), *numbers])
    return Table(["$C$", r"$\tau$", r"$\beta_c$", r"$\beta_c \tau$"], rows)


def batch_table(effort: Effort = Effort.FULL) -> Table:
    """beta_c for k = infinity in balanced batches of m members a class, and in the population."""
    sizes = (2, 3, 5, 10, 26, 51, None)
    rows = []
    for num_classes in (2, 10, 100)[: effort.choose(2, 3, 3)]:
        found = (threshold(ProfileParameters(num_classes, None, per_class=m)) for m in sizes)
        rows.append([str(num_classes), *(f"{bracket.middle:.5f}" for bracket in found)])
    return Table(["$C$", *(f"$m = {m}$" for m in sizes[:-1]), "population"], rows)


def window_table(effort: Effort = Effort.FULL) -> Table:
    """The hardnesses at which shrinking NC lowers the HUCL of random batches."""
    rows, enough = [], random_batches.ENOUGH[: effort.choose(4, 7, 7)]
    for num_classes, negatives in sorted((*random_batches.FEW, *enough)):
        shown = "never, up to 40"
        if (num_classes, negatives) not in random_batches.FEW:
            window = random_batches.window_of(num_classes, negatives)
            shown = f"{float(window.opens[1]):.3f} to {float(window.closes[0]):.3f}"
        rows.append([str(num_classes), str(negatives), shown])
    return Table(["$C$", "$N$", r"$\beta$"], rows)


def optimum_table(effort: Effort) -> Table:
    """Prediction and outcome, a row for every problem and objective of the claim."""
    rows = []
    chosen = optima.problems(effort)
    for problem, objective, found in _minimised(chosen, optima.objectives(effort), effort):
        value, gap = predict(problem, objective)
        numbers = [f"{value:.8f}", f"{found.value:.8f}", f"{found.value - value:.1e}", f"{gap:.4f}"]
        rows.append([*_names(problem, objective), *numbers, *_shape_cells(found)])
    return Table([*PROBLEM, "predicted", "found", "difference", "gap", *SHAPE], rows)


def low_dimension_table(effort: Effort) -> Table:
    """Minima for ``d < C - 1``, where no simplex ETF exists and no bound is attained."""
    pairs = ((3, 1), (4, 2), (5, 2), (6, 2), (6, 3))[: effort.choose(1, 2, 5)]
    losses = [PopulationLoss(s, beta) for s in (True, False) for beta in (0.0, 1.0, 5.0, 20.0)]
    problems = [MinimisationProblem(c, 1, d, 1) for c, d in pairs]
    return _table_above_a_bound(r"bound for $d \ge C - 1$", problems, losses, effort)


def sphere_table(effort: Effort) -> Table:
    """HUCL minima on the unit sphere for ``d = C - 1``, where Theorem 4 gives only a floor."""
    classes = (2, 3, 4, 5)[: effort.choose(1, 2, 4)]
    problems = [MinimisationProblem(c, 2, c - 1, k, "sphere") for c in classes for k in (1, 2)]
    losses = [PopulationLoss(False, beta) for beta in (1.0, 5.0, 20.0)]
    return _table_above_a_bound("floor", problems, losses, effort)


def end_table(effort: Effort = Effort.FULL) -> Table:
    """Where Adam ends with the full gradient of HUCL, in C - 1 dimensions and in C."""
    rows = []
    for num_classes, beta in ((4, 5.0), (20, 3.0), (50, 5.0), (100, 5.0))[: effort.choose(1, 2, 4)]:
        at_nc, least = predicted_losses(num_classes, beta)
        for extra in (0, 1):
            path = adam_on_class_means(num_classes, beta, stop_gradient=False, extra_dims=extra)
            end, loss = end_of_run(path, num_classes), float(path.losses[-1])
            gap = geometry.hucl_optimum(num_classes, beta, 1.0).gap
            problem = [str(num_classes), f"{beta:g}", str(num_classes - 1 + extra)]
            share = f"{100 * (loss - least) / (at_nc - least):.3f} %"
            gaps = f"{end.least_gap:.3f} to {end.largest_gap:.3f}"
            norms = f"{1 - end.off_sphere:.2f}"
            rows.append([*problem, f"{loss:.6f}", f"{least:.6f}", share, gaps, f"{gap:.3f}", norms])
    header = ["$C$", r"$\beta$", "$d$", "loss", "minimum", "share of the way left", "gaps"]
    return Table([*header, r"$\delta^\ast$", "least norm"], rows)


def training_table(effort: Effort) -> Table:
    """A row for every start, normalisation and loss: when NC is reached, and how the run ends."""
    rows = []
    for start in (training.SPREAD, training.NEARLY_FLAT)[: effort.choose(1, 2, 2)]:
        count = effort.choose(1, 3 if start is training.SPREAD else 1, 3)
        for normalization in list(training.NORMALIZATIONS)[:count]:
            for loss in training.LOSSES:
                path = training.trajectory(loss, normalization, start)
                rows.append([start.name, normalization, loss, *_end_cells(path)])
    header = ["start", "normalisation", "loss", "step at NC", "zero sum", "unit norm"]
    return Table([*header, "equal inner product", "within class", "directions"], rows)


def _table_above_a_bound(
    bound: str,
    problems: Sequence[MinimisationProblem],
    losses: Sequence[PopulationLoss],
    effort: Effort,
) -> Table:
    """A row for every problem and loss: a bound, and the minimum found above it."""
    rows = []
    for problem, objective, found in _minimised(problems, losses, effort):
        numbers = [f"{predict(problem, objective).value:.6f}", f"{found.value:.6f}"]
        rows.append([*_names(problem, objective), *numbers, *_shape_cells(found)])
    return Table([*PROBLEM, bound, "found", *SHAPE], rows)


def _minimised(
    problems: Sequence[MinimisationProblem], losses: Sequence[PopulationLoss], effort: Effort
) -> Iterator[tuple[MinimisationProblem, PopulationLoss, Minimiser]]:
    """Every problem and objective with the best minimiser found."""
    for problem in problems:
        found = optima.solve(problem, tuple(losses), effort)
        for objective, minimiser in zip(losses, found, strict=True):
            yield problem, objective, minimiser


def _names(problem: MinimisationProblem, objective: PopulationLoss) -> list[str]:
    """The cells of `PROBLEM`."""
    k = r"$\infty$" if problem.k is None else str(problem.k)
    counts = [str(problem.num_classes), str(problem.dim), str(problem.points), k]
    return [*counts, problem.constraint, str(objective)]


def _shape_cells(found: Minimiser) -> list[str]:
    """The cells of `SHAPE`."""
    shape = class_mean_geometry(found.features)
    gaps = f"{shape.least_gap:.3f}..{shape.largest_gap:.3f}"
    return [gaps, f"{shape.norm:.3f}", f"{shape.zero_sum:.3f}", f"{shape.within_class:.1e}"]


def _end_cells(path: Trajectory) -> list[str]:
    """When a run came to NC, and the geometry of its last features."""
    with jax.enable_x64(True):
        labels = jnp.repeat(jnp.arange(training.CLASSES), training.POINTS)
        found = geometry.measure(jnp.asarray(path.features), labels, training.CLASSES)
    first = path.first_step_below(training.AT_NC)
    numbers = (found.zero_sum, found.unit_norm, found.equal_inner_product, found.within_class)
    when = "never" if first is None else str(first)
    return [when, *(f"{float(number):.4f}" for number in numbers), f"{int(found.directions)}"]


SECTIONS = (
    Section(
        r"$\beta_c$, the hardness up to which NC minimises HUCL in the unit ball (InfoNCE, "
        r"$\alpha = \tau = 1$)",
        "Middles of certified brackets, to six decimals; $q = 1$ where it is not named. A quick "
        "run gives the first rows only.",
        place="docs/hucl_optimum.md, section 5",
        table=threshold_table,
    ),
    Section(
        r"$\beta_c$ at lower temperatures, $k = \infty$",
        r"Below $\tau = 1$ NC stops being optimal at ever smaller hardness. The last column is the "
        r"multiplier of $t/\tau$.",
        place="docs/hucl_optimum.md, section 5",
        table=temperature_table,
    ),
    Section(
        r"$\beta_c$ of balanced batches, $k = \infty$, $\tau = 1$",
        "$m$ members of each class, and an anchor is not its own negative, as is the default of "
        "the library's losses (Theorem C).",
        place="docs/hucl_optimum.md, section 8",
        table=batch_table,
    ),
    Section(
        "Random batches: the hardnesses at which shrinking NC helps",
        "$N$ negatives drawn independently from $C$ balanced classes, the weights estimator of "
        r"HUCL at a simplex ETF, $\tau = 1$: certified ends of the window, to three decimals.",
        place="docs/hucl_optimum.md, section 8",
        table=window_table,
    ),
    Section(
        "Minimisation over free features against the theorems",
        "The lowest of several starts, ended by L-BFGS-B. The number after a loss is "
        r"$\beta$, gap the similarity within a class minus that between classes; zero sum is the "
        "norm of the mean of the class means, within class the mean distance to the class mean. "
        "At NC both vanish.",
        place="docs/hucl_optimum.md, section 2",
        table=optimum_table,
    ),
    Section(
        "Where HUCL training ends with the full gradient",
        r"Adam on free class means from one random start in the unit ball, $k = \infty$. The "
        "share is of the way from NC to the minimum; at the shrunk and the offset frame all gaps "
        r"are $\delta^\ast$. In $C - 1$ dimensions the runs end on the sphere, at unequal gaps.",
        place="docs/hucl_optimum.md, section 7",
        table=end_table,
        slow=True,
    ),
    Section(
        "Fewer dimensions than classes minus one: bounds are not attained",
        r"Observed: the lowest of few starts, which at $\beta = 20$ may be a local minimum.",
        place="docs/hucl_optimum.md, section 6",
        table=low_dimension_table,
        slow=True,
    ),
    Section(
        "HUCL on the unit sphere in $C - 1$ dimensions: no closed form known for $C > 2$",
        "Observed: the lowest of few starts. The floor of Theorem 4 is out of reach here.",
        place="docs/hucl_optimum.md, section 6",
        table=sphere_table,
        slow=True,
    ),
    Section(
        rf"Free features, $C = {training.CLASSES}$, $d = {training.CLASSES - 1}$, "
        rf"$\beta = {training.BETA:g}$, detached weights",
        "Observed, one run each of SCL, UCL and their hardened forms without a network. Step at "
        f"NC is the first with a relative distance to NC below {training.AT_NC:g}; the next "
        "four numbers are the distances of the end from the parts of NC, directions how many "
        "principal directions are in use.",
        place="docs/hucl_optimum.md, section 7",
        table=training_table,
        slow=True,
    ),
)
"""See docs/hucl_optimum.md."""
