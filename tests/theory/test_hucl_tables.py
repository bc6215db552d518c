"""The tables and figures of the HUCL optimum; its claims are measured with all others."""

import pytest

from scripts.theory_report.optimum_figures import FIGURES
from theory.checking import Effort
from theory.claims import free_features_optima, free_features_training, theorem4_threshold

TABLES = (
    *theorem4_threshold.TABLES,
    *free_features_optima.TABLES,
    *free_features_training.TABLES,
)


@pytest.mark.parametrize("table", TABLES[:2], ids=lambda table: table[0])
def test_rows_fit_their_header(table):
    *_, header, rows = table
    assert {len(row) for row in rows(Effort.QUICK)} == {len(header)}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES[2:], ids=lambda table: table[0])
def test_rows_of_slow_tables_fit_their_header(table):
    *_, header, rows = table
    assert {len(row) for row in rows(Effort.QUICK)} == {len(header)}


@pytest.mark.slow
@pytest.mark.parametrize(("title", "text", "slow", "draw"), FIGURES)
def test_figures_show_something(title, text, slow, draw):
    figure = draw(Effort.QUICK)
    assert title
    assert text
    assert all(axes.lines for axes in figure.axes)
