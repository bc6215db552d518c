"""Latent-class models with finitely many views, as exact numbers."""
