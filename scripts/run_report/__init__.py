"""The report of runs: what they wrote, predictions of the theory, charts, page."""
