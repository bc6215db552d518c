"""What is in the report: the pages of the theory, and the figures and tables at their places.

A page is added to `PAGES`, a figure or a table to `SECTIONS`, a claim to `theory.claims.CLAIMS`, an
open question to `theory.open_questions.OPEN`. The last three name a place of a page.
"""

from scripts.theory_report import (
    escape_sections,
    model_sections,
    network_escape,
    optimum_figures,
    optimum_tables,
    priors_sections,
)

PAGES = ("docs/theory.md", "docs/hucl_optimum.md", "docs/escape.md", "docs/unequal_priors.md")
"""The pages, in the order of the report."""

SECTIONS = (
    *model_sections.SECTIONS,
    *escape_sections.SECTIONS,
    *network_escape.SECTIONS,
    *optimum_figures.SECTIONS,
    *optimum_tables.SECTIONS,
    *priors_sections.SECTIONS,
)
