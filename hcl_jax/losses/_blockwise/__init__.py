"""The weights estimator in memory linear in the rows."""
