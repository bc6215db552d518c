"""The geometry of a representation: neural collapse (NC) and dimensional collapse (DC), measured.

At NC every class is one point and the class means form a simplex equiangular tight frame (ETF):
unit norm, zero sum, equal inner products ``-1/(C-1)``. At DC the class means span far fewer than
C - 1 directions. `zero_sum`, `unit_norm`, `equal_inner_product`, `within_class` and the spectrum
are the metrics of the paper's experiments (arXiv 2311.05139).

Distances have no derivative at 0, where an optimiser that minimises them ends; there the gradients
of all metrics take the derivative of a norm and of a standard deviation to be 0.

    classes.py       class means, the paper's metrics, NC1 and NC2
    spectrum.py      how many directions the class means span
    simplex.py       the simplex ETF and the distance to it
    hypersphere.py   alignment and uniformity
    separation.py    the class-distance normalised variance
    summary.py       `measure`: the metrics that runs record, at once
    accumulator.py   `Accumulator`: nearly the same of embeddings that come in batches
    escape.py        how fast class means leave dimensional collapse, in theory
    shrunk_frames.py the hardness up to which NC is the optimum of HUCL, and the optimum beyond
    unequal_priors.py    the optimum of SCL where classes are not equally frequent
    minority_collapse.py at which imbalance rare classes become one point there
"""

from hcl_jax.geometry.accumulator import Accumulator
from hcl_jax.geometry.classes import (
    NC2,
    class_means,
    equal_inner_product,
    nc1,
    nc2,
    unit_norm,
    within_class,
    zero_sum,
)
from hcl_jax.geometry.escape import escape_matrix, escape_rate
from hcl_jax.geometry.hypersphere import alignment, uniformity
from hcl_jax.geometry.minority_collapse import minority_collapse_threshold
from hcl_jax.geometry.separation import cdnv
from hcl_jax.geometry.shrunk_frames import HUCLOptimum, hucl_optimum, hucl_threshold
from hcl_jax.geometry.simplex import etf_distance, simplex_etf
from hcl_jax.geometry.spectrum import (
    DIRECTION_TOLERANCE,
    directions,
    effective_rank,
    singular_values,
)
from hcl_jax.geometry.streamed_geometry import StreamedGeometry
from hcl_jax.geometry.summary import Geometry, measure
from hcl_jax.geometry.unequal_priors import SCLOptimum, collapsed_scl, scl_optimum

__all__ = [
    "DIRECTION_TOLERANCE",
    "NC2",
    "Accumulator",
    "Geometry",
    "HUCLOptimum",
    "SCLOptimum",
    "StreamedGeometry",
    "alignment",
    "cdnv",
    "class_means",
    "collapsed_scl",
    "directions",
    "effective_rank",
    "equal_inner_product",
    "escape_matrix",
    "escape_rate",
    "etf_distance",
    "hucl_optimum",
    "hucl_threshold",
    "measure",
    "minority_collapse_threshold",
    "nc1",
    "nc2",
    "scl_optimum",
    "simplex_etf",
    "singular_values",
    "uniformity",
    "unit_norm",
    "within_class",
    "zero_sum",
]


def __dir__() -> list[str]:
    return __all__
