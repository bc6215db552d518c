"""Minimisation and training of free features."""
