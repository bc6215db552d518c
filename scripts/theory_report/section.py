"""A figure or a table of the report, with its place. matplotlib is imported where one is drawn."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from theory.checking import Effort

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Table(NamedTuple):
    """A table of the report.

    Attributes:
        header: the names of the columns.
        rows: the cells, as many in each row as there are columns.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]


class Section(NamedTuple):
    """A figure or a table of the report, at a place of the pages of the theory.

    Attributes:
        title: what it shows.
        text: one paragraph.
        place: where it stands, as the reference of a claim: "docs/escape.md, section 6".
        figure: draws a figure, or None.
        table: makes a table, or None.
        slow: whether a quick report leaves the figure and the table out.
    """

    title: str
    text: str
    place: str
    figure: "Callable[[Effort], Figure] | None" = None
    table: Callable[[Effort], Table] | None = None
    slow: bool = False


def blank_figure(
    horizontal: str, *verticals: str, size: tuple[float, float] = (7, 4.5)
) -> "tuple[Figure, list[Axes]]":
    """A figure with one set of axes for each vertical label, next to each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    row = list(figure.subplots(1, len(verticals), squeeze=False)[0])
    for axes, vertical in zip(row, verticals, strict=True):
        axes.set(xlabel=horizontal, ylabel=vertical)
    return figure, row
