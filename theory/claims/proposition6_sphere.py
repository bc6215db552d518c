"""HUCL on the unit sphere in C - 1 dimensions, where neither a smaller nor an offset frame fits.

Two classes (d = 1) are settled: NC minimises HUCL for every beta >= 0, for separable losses and for
InfoNCE with ``k alpha >= q`` (Proposition 6 of `docs/hucl_optimum.md`). From three classes on NC
stops being optimal at some hardness; here better points, rational and exactly on the sphere,
certify it at given hardnesses. What the optimum is there remains open.
"""

import random
from collections.abc import Mapping
from fractions import Fraction

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses
from theory.model.eta_kinds import Exponential
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel, Matrix, Vector
from theory.model.psi_kinds import InfoNCE, LogisticSum
from theory.model.random_models import Rng, own_points, random_law, uniform
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.profile import ProfileParameters, taylor

SEED = 61

WITNESSES = {
    (3, 5): "-0.344; 0; 0.344",
    (3, 1): "-0.061; 0.061; 1.531; 1.991; -1.531; -1.991",
    (4, 5): "0 0.285; 0.243 0; -0.243 0; 0 -0.285",
    (5, 5): "0.296 0.019 0.127; -0.296 -0.019 -0.127; 0.102 -0.01 -0.236; "
    "-0.043 -0.218 0.131; -0.06 0.228 0.105",
}
"""Points on the sphere by stereographic projection, the same number for each class, for (C, beta).

They were found by minimisation (`theory.free_features.minimisation`) and rounded. For C = 3 and
beta = 1 every class is split in two, 0.12 to either side of its vertex: within-class variance pays.
"""

LOSSES: tuple[PsiKind, ...] = (
    InfoNCE(),
    InfoNCE(q=None),
    InfoNCE(tau=Fraction(1, 5)),
    LogisticSum(Fraction(1)),
)


def lifted(shadow: Vector) -> Vector:
    """The point of the unit sphere of d dimensions with a stereographic projection of d - 1."""
    squared = sum((x * x for x in shadow), Fraction(0))
    return (*(2 * x / (squared + 1) for x in shadow), (squared - 1) / (squared + 1))


def sphere_model(num_classes: int, beta: Fraction, shadows: str) -> LatentClassModel:
    """A balanced model on the sphere, k = 1, with projected points in the format of `WITNESSES`."""
    rows = [tuple(map(Fraction, row.split())) for row in shadows.split(";")]
    laws = own_points([uniform(len(rows) // num_classes)] * num_classes)
    features = tuple(map(lifted, rows))
    return LatentClassModel(
        uniform(num_classes), laws, features, 1, InfoNCE(), Exponential(beta), name="sphere"
    )


@in_balls()
def two_classes_on_the_sphere(effort: Effort) -> Measurement:
    """HUCL of two classes on {-1, 1} against its value at NC."""
    return _compare_two_classes(effort.choose(20, 120, 2000), norm=Fraction(1))


@in_balls()
def two_classes_inside_the_ball(effort: Effort) -> Measurement:
    """The same on {-1/2, 1/2}."""
    return _compare_two_classes(effort.choose(20, 40, 200), norm=Fraction(1, 2))


@in_balls()
def witnesses(effort: Effort) -> Measurement:
    """Points on the sphere of C - 1 dimensions have a smaller HUCL than NC."""
    return _compare_witnesses({(classes, beta): Fraction(beta) for classes, beta in WITNESSES})


@in_balls()
def witnesses_below_threshold(effort: Effort) -> Measurement:
    """The same points at hardness 3/10, below beta_c, where NC is optimal."""
    return _compare_witnesses(dict.fromkeys(WITNESSES, Fraction(3, 10)))


def _compare_two_classes(count: int, *, norm: Fraction) -> Measurement:
    """Records that models of two classes at two points have at least the HUCL of NC."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(count):
        psi, k = rng.choice(LOSSES), rng.choice((1, 2, 3))
        beta = rng.choice((Fraction(1, 2), Fraction(1), Fraction(5), Fraction(20)))
        model = _two_point_model(rng, psi, k, beta, norm)
        at_nc = _two_classes(own_points([uniform(1)] * 2), k, psi, beta)
        tally.at_least(exact_losses(model).hucl, exact_losses(at_nc).hucl)
        tally.models += 1
    return tally.measurement()


def _two_point_model(
    rng: Rng, psi: PsiKind, k: int, beta: Fraction, norm: Fraction
) -> LatentClassModel:
    """Both classes have any law on the two points; a third of them are near NC."""
    if rng.random() < 1 / 3:
        small = [Fraction(rng.randint(0, 9), 10**3) for _ in range(2)]
        laws = ((1 - small[0], small[0]), (small[1], 1 - small[1]))
    else:
        laws = tuple(random_law(rng, 2, zeros=True) for _ in range(2))
    return _two_classes(laws, k, psi, beta, norm=norm)


def _two_classes(
    laws: Matrix, k: int, psi: PsiKind, beta: Fraction, *, norm: Fraction = Fraction(1)
) -> LatentClassModel:
    """Two classes with these laws on the points `norm` and ``-norm``."""
    features = ((norm,), (-norm,))
    return LatentClassModel(uniform(2), laws, features, k, psi, Exponential(beta))


def _compare_witnesses(hardnesses: Mapping[tuple[int, int], Fraction]) -> Measurement:
    """Records that NC has a larger HUCL than the witnesses, at the hardness given for each."""
    tally, details = Tally(), {}
    for (num_classes, named), beta in hardnesses.items():
        loss = exact_losses(sphere_model(num_classes, beta, WITNESSES[num_classes, named])).hucl
        gap = ball(nc_gap(num_classes))
        at_nc = taylor(ProfileParameters(num_classes, 1), ball(beta), gap, terms=1)[0]
        tally.above(at_nc, loss)
        tally.models += 1
        name = rf"$C = {num_classes}$, $\beta = {beta}$, the points for $\beta = {named}$"
        details[name] = f"{float(loss):.6f} here, {float(at_nc):.6f} at NC"
    return tally.measurement(**details)


CLAIMS = (
    Claim(
        name="two classes on the sphere",
        statement="NC minimises HUCL for two classes on the unit sphere of one dimension, for "
        "every hardness",
        reference="docs/hucl_optimum.md, Proposition 6",
        hypotheses="$C = 2$, $d = 1$, unit sphere, exponential tilting, separable loss or InfoNCE "
        r"with $k (\alpha/q + e^{-2/\tau}) \ge 1 - e^{-2/\tau}$, such as $k \alpha \ge q$, which "
        r"is tried, or $k = 1$ or $k = \infty$",
        evidence=Evidence.PROVED,
        measure=two_classes_on_the_sphere,
        controls=(Control("norm 1/2", "norm one", two_classes_inside_the_ball),),
    ),
    Claim(
        name="more classes on the sphere",
        statement="on the unit sphere of $C - 1$ dimensions there are points with a smaller HUCL "
        "than NC",
        reference="docs/hucl_optimum.md, section 6",
        hypotheses=r"InfoNCE, $k = 1$, $(C, \beta)$ in "
        r"$\lbrace (3, 5), (4, 5), (3, 1), (5, 5) \rbrace$",
        evidence=Evidence.CERTIFIED,
        measure=witnesses,
        controls=(
            Control(r"$\beta = 3/10$", r"$\beta$ above $\beta_c$", witnesses_below_threshold),
        ),
    ),
)
