"""The sections of the report, in order; further ones are added here."""

from scripts.theory_report import (
    escape_sections,
    model_sections,
    optimum_figures,
    optimum_tables,
)

SECTIONS = (
    *model_sections.SECTIONS,
    *escape_sections.SECTIONS,
    *optimum_figures.SECTIONS,
    *optimum_tables.SECTIONS,
)
