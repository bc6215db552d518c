"""Trained encoders as files that need no network code.

Writing them needs the networks, so `export_encoder` is imported from `hcl_jax.encoders.export`.
"""

from hcl_jax.encoders.reader import (
    Encoder,
    EncoderError,
    EncoderOutputs,
    load_encoder,
    metadata_path,
)

__all__ = ["Encoder", "EncoderError", "EncoderOutputs", "load_encoder", "metadata_path"]


def __dir__() -> list[str]:
    return __all__
