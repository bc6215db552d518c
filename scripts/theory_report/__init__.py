"""The report on the theory: findings, sections, figures, page."""
