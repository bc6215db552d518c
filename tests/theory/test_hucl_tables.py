"""The sections of the report: tables fit their headers, figures show something.

Of both those that are quick, and those that a quick report leaves out; the others are drawn by
`test_the_sections_of_the_report_are_drawn_in_several_processes`.
"""

import pytest
from references.unset_formulas import unset_formulas

from scripts.theory_report import network_escape, optimum_figures, optimum_tables
from scripts.theory_report.optimum_tables import batch_table, temperature_table
from scripts.theory_report.sections import SECTIONS
from scripts.theory_report.wording import typeset
from theory.checking import Effort

OPTIMUM = {*optimum_figures.SECTIONS, *optimum_tables.SECTIONS}
TABLES = [section for section in SECTIONS if section.table is not None]
LONG_FIGURES = {"Minority collapse"}
FIGURES = [s for s in SECTIONS if s.figure is not None and s.title not in LONG_FIGURES]
QUICK_TABLES = {"Losses at neural collapse", *(s.title for s in optimum_tables.SECTIONS[:2])}


@pytest.fixture(autouse=True)
def short_courses(monkeypatch):
    """Networks train for a twentieth of the time: of their courses no number is looked at here."""
    network_escape.course.cache_clear()
    monkeypatch.setattr(network_escape, "EPOCHS", 5)
    yield
    network_escape.course.cache_clear()


def _marked(section, fast):
    return pytest.param(section, marks=[] if fast else [pytest.mark.slow], id=section.title)


@pytest.mark.parametrize(
    "section",
    [_marked(s, s.title in QUICK_TABLES) for s in TABLES if s.title in QUICK_TABLES or s.slow],
)
def test_rows_fit_their_header(section):
    header, rows = section.table(Effort.QUICK)
    assert {len(row) for row in rows} == {len(header)}
    cells = [cell for row in (header, *rows) for cell in row if isinstance(cell, str)]
    assert not unset_formulas("; ".join(map(typeset, cells)))


@pytest.mark.parametrize("section", [_marked(s, s not in OPTIMUM and not s.slow) for s in FIGURES])
def test_figures_show_something(section):
    figure = section.figure(Effort.QUICK)
    assert section.title
    assert section.text
    assert all(axes.lines for axes in figure.axes)


def test_every_section_has_a_figure_or_a_table():
    assert all((section.table is None) != (section.figure is None) for section in SECTIONS)
    assert OPTIMUM < set(SECTIONS)


def test_table_of_temperatures():
    assert temperature_table().rows[0] == ["10", "1", "1.41132", "1.41132"]


def test_table_of_batches():
    """Three rows of an independent computation."""
    assert batch_table().rows == [
        ["2", "0.32119", "0.28839", "0.27043", "0.25993", "0.25439", "0.25281", "0.25122"],
        ["10", "1.75187", "1.60467", "1.51559", "1.45988", "1.42926", "1.42036", "1.41132"],
        ["100", "3.59031", "3.37780", "3.24523", "3.16051", "3.11328", "3.09945", "3.08538"],
    ]
