"""Everything about the HUCL optimum and about optimisation, for the report.

`CLAIMS` are values of `theory.claim.Claim`; `TABLES` are (title, text, whether it takes long,
header, function of the effort that makes the rows); `FIGURES` are those of `theory.hucl_figures`.
"""

from collections.abc import Callable

from theory import (
    branch_and_bound,
    collapse_claims,
    collapse_reduction,
    hucl_figures,
    hucl_optimum,
    hucl_threshold,
    miniature,
    profile_monotonicity,
    sphere_optimum,
    tangent_certificates,
    tilt_gradient,
)
from theory.claim import Claim, Effort

Table = tuple[str, str, bool, list[str], Callable[[Effort], list[list[str]]]]

CLAIMS: tuple[Claim, ...] = (
    *hucl_optimum.CLAIMS,
    *collapse_reduction.CLAIMS,
    *profile_monotonicity.CLAIMS,
    *hucl_threshold.CLAIMS,
    *tangent_certificates.CLAIMS,
    *branch_and_bound.CLAIMS,
    *sphere_optimum.CLAIMS,
    *collapse_claims.CLAIMS,
    *tilt_gradient.CLAIMS,
    *miniature.CLAIMS,
)

TABLES: tuple[Table, ...] = (
    *hucl_threshold.TABLES,
    *collapse_claims.TABLES,
    *miniature.TABLES,
)

FIGURES = hucl_figures.FIGURES
