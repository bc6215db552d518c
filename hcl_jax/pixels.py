"""Pixels as a network sees them: uint8 to [0, 1], and standardised channels."""

import jax.numpy as jnp
from jaxtyping import Array


def to_unit_floats(images: Array) -> Array:
    """uint8 in 0..255 to float32 in [0, 1]; floats stay as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images
