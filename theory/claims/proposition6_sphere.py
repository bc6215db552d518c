"""HUCL on the unit sphere in C - 1 dimensions, where neither a smaller nor an offset frame fits.

Two classes (d = 1) are settled: NC minimises HUCL for every beta >= 0, for separable losses and for
InfoNCE with ``k alpha >= q`` (Proposition 6 of `docs/hucl_optimum.md`). From three classes on NC
stops being optimal at some hardness; here better points, rational and exactly on the sphere,
certify it at given hardnesses. What the optimum is there remains open.
"""

import random
from collections import Counter
from fractions import Fraction

from flint import ctx

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Verdict, compare
from theory.exact.balls import exact_losses
from theory.model.eta_kinds import Exponential
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel, Vector
from theory.model.psi_kinds import InfoNCE, LogisticSum
from theory.model.random_models import own_points, random_law, uniform
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.profile import ProfileParameters, taylor

SEED = 61
PRECISION = 200

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
    """The point of the unit sphere with this stereographic projection; exact.

    Args:
        shadow: d - 1 coordinates.

    Returns:
        d coordinates.

    Example:
        >>> lifted((Fraction(1, 2),))
        (Fraction(4, 5), Fraction(-3, 5))
    """
    squared = sum((x * x for x in shadow), Fraction(0))
    return (*(2 * x / (squared + 1) for x in shadow), (squared - 1) / (squared + 1))


def sphere_model(num_classes: int, beta: Fraction, shadows: str) -> LatentClassModel:
    """A balanced model on the unit sphere, k = 1, InfoNCE, exponential tilting.

    Args:
        num_classes: C.
        beta: the hardness.
        shadows: points as in `WITNESSES`, those of one class next to each other.

    Returns:
        The model.

    Example:
        >>> sphere_model(3, Fraction(5), WITNESSES[3, 5]).hypotheses.unit_ball
        True
    """
    rows = [tuple(map(Fraction, row.split())) for row in shadows.split(";")]
    laws = own_points([uniform(len(rows) // num_classes)] * num_classes)
    features = tuple(map(lifted, rows))
    return LatentClassModel(
        uniform(num_classes), laws, features, 1, InfoNCE(), Exponential(beta), name="sphere"
    )


def measure_two_classes(effort: Effort) -> Measurement:
    """Compares HUCL of two classes on {-1, 1} with its value at NC."""
    return _measure_two_classes(effort.choose(20, 120, 2000), shrink=Fraction(1))


def measure_smaller(effort: Effort) -> Measurement:
    """The same on {-1/2, 1/2}, inside the ball."""
    return _measure_two_classes(effort.choose(20, 40, 200), shrink=Fraction(1, 2))


def measure_better_points(effort: Effort) -> Measurement:
    """Certifies points on the sphere of C - 1 dimensions with a smaller HUCL than NC."""
    return _measure_better({key: Fraction(key[1]) for key in WITNESSES})


def measure_mild(effort: Effort) -> Measurement:
    """The same points at hardness 3/10, below beta_c, where NC is optimal."""
    return _measure_better(dict.fromkeys(WITNESSES, Fraction(3, 10)))


def _measure_two_classes(count, *, shrink):
    generator = random.Random(SEED)
    verdicts, least = Counter(), float("inf")
    with ctx.workprec(PRECISION):
        for _ in range(count):
            psi, k = generator.choice(LOSSES), generator.choice((1, 2, 3))
            beta = generator.choice((Fraction(1, 2), Fraction(1), Fraction(5), Fraction(20)))
            model = _two_point_model(generator, psi, k, beta, shrink)
            setting = ProfileParameters(2, k)
            loss = exact_losses(model).hucl
            at_nc = exact_losses(_at_nc(setting, psi, beta)).hucl
            verdict = compare(loss, at_nc)
            verdicts[verdict] += 1
            if verdict is not Verdict.EQUAL:
                least = min(least, float(loss - at_nc))
    return Measurement(verdicts, count, least, SEED)


def _two_point_model(generator, psi, k, beta, shrink):
    """Both classes have any law on the two points; a third of them are near NC."""
    if generator.random() < 1 / 3:
        small = [Fraction(generator.randint(0, 9), 10**3) for _ in range(2)]
        laws = ((1 - small[0], small[0]), (small[1], 1 - small[1]))
    else:
        laws = tuple(random_law(generator, 2, zeros=True) for _ in range(2))
    features = ((shrink,), (-shrink,))
    return LatentClassModel(uniform(2), laws, features, k, psi, Exponential(beta))


def _at_nc(setting, psi, beta):
    one = Fraction(1)
    laws = own_points([uniform(1)] * 2)
    return LatentClassModel(uniform(2), laws, ((one,), (-one,)), setting.k, psi, Exponential(beta))


def _measure_better(hardnesses):
    verdicts, least, details = Counter(), float("inf"), {}
    with ctx.workprec(PRECISION):
        for (num_classes, named), beta in hardnesses.items():
            loss = exact_losses(sphere_model(num_classes, beta, WITNESSES[num_classes, named])).hucl
            gap = ball(nc_gap(num_classes))
            at_nc = taylor(ProfileParameters(num_classes, 1), ball(beta), gap, terms=1)[0]
            verdicts[compare(at_nc, loss)] += 1
            least = min(least, float(at_nc - loss))
            name = f"C={num_classes} beta={beta}, the points for beta={named}"
            details[name] = f"{float(loss):.6f} here, {float(at_nc):.6f} at NC"
    return Measurement(verdicts, len(hardnesses), least, details=details)


CLAIMS = (
    Claim(
        name="two classes on the sphere",
        statement="NC minimises HUCL for two classes on the unit sphere of one dimension, for "
        "every hardness",
        reference="docs/hucl_optimum.md, Proposition 6",
        hypotheses="C = 2, d = 1, unit sphere, exponential tilting, separable loss or InfoNCE with "
        "k alpha >= q",
        evidence=Evidence.PROVED,
        measure=measure_two_classes,
        controls=(Control("norm 1/2", "norm one", measure_smaller),),
    ),
    Claim(
        name="more classes on the sphere",
        statement="on the unit sphere of C - 1 dimensions there are points with a smaller HUCL "
        "than NC",
        reference="docs/hucl_optimum.md, section 6",
        hypotheses="InfoNCE, k = 1, (C, beta) in {(3, 5), (4, 5), (3, 1), (5, 5)}",
        evidence=Evidence.CERTIFIED,
        measure=measure_better_points,
        controls=(Control("beta = 3/10", "beta above beta_c", measure_mild),),
    ),
)
