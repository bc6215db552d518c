"""The metrics of a run that tables, figures and reports show, in their order, and their words."""

from collections.abc import Mapping
from typing import NamedTuple


class Metric(NamedTuple):
    """How a metric is shown.

    Attributes:
        label: its name on an axis.
        column: its name in tables; None where they leave it out.
        share: whether it is a share, which is shown in per cent.
        vanishes: whether it is 0 at neural collapse.
    """

    label: str
    column: str | None = None
    share: bool = False
    vanishes: bool = False


METRICS: Mapping[str, Metric] = {
    "loss": Metric("loss"),
    "zero_sum": Metric("zero-sum", "zero-sum", vanishes=True),
    "unit_norm": Metric("unit-norm", "unit-norm", vanishes=True),
    "equal_inner_product": Metric("equal inner-product", "equal-ip", vanishes=True),
    "within_class": Metric("within-class", "within-class", vanishes=True),
    "directions": Metric("directions", "directions"),
    "top1": Metric("top-1 on test images, %", "top-1 %", share=True),
    "nearest_mean": Metric("nearest mean on test images, %", share=True),
}
"""By their names in the records of a run. The report has a curve of each, tables those with a
column; the figure of a run has the panels of the paper."""

COLUMNS: Mapping[str, str] = {
    name: metric.column for name, metric in METRICS.items() if metric.column is not None
}
"""Those that tables have."""
