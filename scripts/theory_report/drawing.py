"""The figures and tables of the report as parts of a page, drawn in several processes."""

import threading
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from hcl_jax.system.pages import described, drawing, svg
from scripts.theory_report.section import Section, Table
from scripts.theory_report.sections import SECTIONS
from scripts.theory_report.spreading import spread
from scripts.theory_report.wording import plain, typeset
from theory.checking import Effort

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shown = dict[str, Any]
"""What a template is given of a section."""


def draw(
    sections: Sequence[Section],
    effort: Effort,
    *,
    processes: int,
    progress: Callable[[int], object] = lambda count: None,
) -> list[Shown]:
    """All sections, in order; in one process unless they are those of the report.

    The sections of a file share what they compute, so a file stays in one process. `progress` is
    called with the number of sections that have been drawn.
    """
    lock = threading.Lock()

    def ended(count: int) -> None:
        with lock:
            progress(count)

    def here(numbers: Sequence[int]) -> list[Shown]:
        drawn = []
        for number in numbers:
            drawn.append(shown(sections[number], effort, f"f{number}"))
            ended(1)
        return drawn

    of_file = groupby(range(len(sections)), key=lambda number: _file_of(sections[number]))
    drawn = spread(
        [list(numbers) for _, numbers in of_file],
        here,
        lambda numbers: (_shown_by_number, numbers, effort),
        processes=processes if tuple(sections) == SECTIONS else 1,
        ended=lambda found: ended(len(found)),
    )
    return list(chain.from_iterable(drawn))


def _file_of(section: Section) -> str:
    """The module whose function draws a section."""
    draws = section.figure or section.table
    return "" if draws is None else draws.__module__


def _shown_by_number(numbers: Sequence[int], effort: Effort) -> list[Shown]:
    """Sections of the report in another process, to which functions cannot be sent."""
    return [shown(SECTIONS[number], effort, f"f{number}") for number in numbers]


def shown(section: Section, effort: Effort, name: str) -> dict[str, Any]:
    """A section with its figure and table, or without them where it is slow and time is short."""
    left_out = section.slow and effort is Effort.QUICK
    shown: dict[str, Any] = {"left_out": left_out, "figure": "", "table": None}
    shown |= {"title": typeset(section.title), "text": typeset(section.text)}
    if section.figure is not None and not left_out:
        with drawing():
            shown["figure"] = _inline(section.figure(effort), name, section)
    if section.table is not None and not left_out:
        header, rows = section.table(effort)
        cells = [[cell_of(cell) for cell in row] for row in rows]
        shown["table"] = Table([typeset(name) for name in header], cells)
    return shown


def _inline(figure: "Figure", name: str, section: Section) -> Markup:
    """A figure to stand in the page, which says what it shows."""
    return described(svg(figure, name), plain(f"{section.title}. {section.text}"))


def cell_of(value: object) -> Markup:
    """A number to six digits, or words with formulas."""
    return typeset(value if isinstance(value, str) else number_of(value))


def number_of(value: object) -> str:
    """A cell: numbers to six digits, and nothing for None."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
