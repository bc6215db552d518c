"""Trained encoders as files that need no network code."""

from hcl_jax.encoders.reader import Embedded, Encoder, EncoderError, load_encoder, metadata_path

__all__ = ["Embedded", "Encoder", "EncoderError", "load_encoder", "metadata_path"]
