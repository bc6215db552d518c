"""Losses and bounds of a model, in balls and in float64."""
