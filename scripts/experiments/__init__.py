"""Named experiments, and the data sets they run on."""
