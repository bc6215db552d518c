"""What the theory says of a finite model in the limit of infinitely many negatives.

The thresholds and the optimum of HUCL (Theorem 4 of `docs/hucl_optimum.md`), the same for the model
as a balanced batch (Theorem C there), and the rates of escape from dimensional collapse
(`docs/escape.md`): for balanced classes, InfoNCE with a fixed q and exponential tilting.
"""

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, ctx

from theory.escape.matrix import EscapeProblem, escape_matrix, slopes
from theory.exact.batches import hucl_of_batch
from theory.model.eta_kinds import Exponential
from theory.model.latent_classes import ROUNDING, LatentClassModel
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball
from theory.model.simplex import nc_gap
from theory.optimum.floor import PrecisionError
from theory.optimum.profile import ProfileParameters, lambert_threshold, limit_minimum, taylor
from theory.optimum.threshold import threshold

ROUNDED = 8 * np.finfo(np.float64).eps
"""Of the largest row sum of S: the error of its eigenvalues in float64. Less counts as zero."""


def limit_values(model: LatentClassModel) -> dict[str, Any]:
    """Nested, with balls at the current precision; empty where the hypotheses do not hold.

    `hucl_threshold` is beta_c for ``k = infinity`` and `hucl_threshold_k` for the k of the model;
    `hucl_optimum` the gap, the norm and the loss of the least HUCL in the unit ball of C - 1 or
    more dimensions; `batch` the same where the points of the classes are a balanced batch, with its
    HUCL, every anchor left out of its own positives and negatives; `escape_rate`, in float64, where
    the classes are unit vectors. Raises PrecisionError if the precision does not suffice.
    """
    psi, eta = model.psi, model.eta
    if not (isinstance(psi, InfoNCE) and isinstance(eta, Exponential)):
        return {}
    if not (psi.legal and psi.has_limit and eta.beta >= 0 and model.hypotheses.balanced):
        return {}
    profile = ProfileParameters(model.num_classes, None, psi)
    found = _optimum(profile, eta.beta)
    found["hucl_threshold_k"] = _threshold_of_k(replace(profile, k=model.k))
    classes = _points_of_classes(model)
    members = _members(model, classes)
    if members is not None:
        rows = tuple(model.features[i] for points in classes for i in points)
        batch = _optimum(replace(profile, per_class=members), eta.beta)
        loss = hucl_of_batch(rows, members, beta=eta.beta, psi=psi)
        found["batch"] = {"per_class": members, "HUCL": loss, **batch}
    rates = _escape_rates(model, classes, psi, eta.beta)
    return found | ({} if rates is None else {"escape_rate": rates})


def _optimum(profile: ProfileParameters, beta: Fraction) -> dict[str, Any]:
    """beta_c, and gap, norm and loss of the optimum: NC up to beta_c, a smaller frame beyond."""
    most, limit = ball(nc_gap(profile.num_classes)), lambert_threshold(profile)
    if ball(beta) <= limit:
        gap, loss = most, taylor(profile, ball(beta), most, terms=1)[0]
    elif ball(beta) > limit:
        loss, gap = (lowest := limit_minimum(profile, ball(beta))).value, lowest.delta
    else:
        raise PrecisionError("whether beta is below the threshold is not decided; raise the bits")
    optimum = {"gap": gap, "norm": (gap / most).sqrt(), "loss": loss}
    return {"hucl_threshold": limit, "hucl_optimum": optimum}


def _threshold_of_k(profile: ProfileParameters) -> arb:
    """beta_c of a finite k, to half the precision."""
    try:
        found = threshold(profile, width=Fraction(1, 2 ** (ctx.prec // 2)), bits=ctx.prec)
    except ArithmeticError as error:
        raise PrecisionError(str(error)) from error
    return found.low.union(found.high)


def _points_of_classes(model: LatentClassModel) -> list[list[int]]:
    """The points that each class has."""
    return [[i for i, p in enumerate(law) if p > 0] for law in model.class_laws]


def _members(model: LatentClassModel, classes: list[list[int]]) -> int | None:
    """How many points each class has, if the model is a batch: equally likely, shared by none."""
    sizes = {len(points) for points in classes}
    points = [i for of_class in classes for i in of_class]
    alike = all(len({p for p in law if p > 0}) == 1 for law in model.class_laws)
    if len(sizes) == 1 and len(set(points)) == len(points) and alike and model.joint is None:
        [members] = sizes
        return members if members >= 2 else None
    return None


def _escape_rates(
    model: LatentClassModel, classes: list[list[int]], psi: InfoNCE, beta: Fraction
) -> dict[str, Any] | None:
    """The rates for both gradients; None unless every class is one unit vector."""
    features = [{model.features[i] for i in points} for points in classes]
    if any(len(of_class) > 1 for of_class in features):
        return None
    first = [points[0] for points in classes]
    if any(abs(model.gram[i][i] - 1) > ROUNDING for i in first):
        return None
    gram = [[ball(model.gram[i][j]) for j in first] for i in first]
    unused = len(model.features[0]) - _used_dimensions(gram)
    rates: dict[str, Any] = {"unused_dimensions": unused}
    for name, detached in (("detached_weights", True), ("full_gradient", False)):
        rates[name] = {
            loss: _rate(
                gram, EscapeProblem("SCL" in loss, Fraction(hardness), psi, detached), unused
            )
            for loss, hardness in (("SCL", 0), ("HSCL", beta), ("UCL", 0), ("HUCL", beta))
        }
    return rates


def _used_dimensions(gram: list[list[arb]]) -> int:
    """How many dimensions points span; one that they leave by a square of `ROUNDING` is not used.

    By Gram-Schmidt: the point that is farthest from the span of those before it comes next.
    """
    left, edge = [list(row) for row in gram], ball(ROUNDING)
    for used in range(len(left)):
        farthest = max(range(len(left)), key=lambda c: left[c][c].mid())
        square = left[farthest][farthest]
        if square <= edge:
            return used
        if not square > edge:
            raise PrecisionError("whether a dimension is used is not decided; raise the bits")
        taken = left[farthest]
        left = [
            [t - row[farthest] / square * along for t, along in zip(row, taken, strict=True)]
            for row in left
        ]
    return len(left)


def _rate(gram: list[list[arb]], problem: EscapeProblem, unused: int) -> float:
    """``2 |lambda_min(S)| / C``, 0 where every dimension is used or nothing grows.

    It is an eigenvalue in float64, rounded to the digits that are known.
    """
    exact = escape_matrix(gram, slopes(gram, problem))
    matrix = np.array([[float(entry) for entry in row] for row in exact])
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    error = ROUNDED * float(np.abs(matrix).sum(axis=1).max())
    if not unused or lowest >= -error:
        return 0.0
    known = max(1, math.floor(math.log10(-lowest / error)))
    return float(f"{-2 * lowest / len(matrix):.{known}g}")
