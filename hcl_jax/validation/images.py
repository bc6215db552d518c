"""Checks of images: their shape, and whether pixels lie in [0, 1]."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hcl_jax.validation.arrays import check_array, check_floating
from hcl_jax.validation.concrete import is_concrete

ROUNDING = 1e-5
"""How far a pixel may leave [0, 1]: what interpolation rounds, and far less than a shade."""

WAY_OUT = "hcl_jax.augmentation.to_unit_floats converts uint8"


def check_image(image: Any, *, channels: tuple[int, ...] = ()) -> None:
    """Raises unless `image` is floating point in [0, 1], (height, width, channel), none of them 0.

    Where `channels` are given, the number of channels must be one of them. The values are looked at
    where they are concrete, those of a batch that `jax.vmap` maps over too.
    """
    check_array("an image", image)
    shape, dtype = jnp.shape(image), jnp.result_type(image)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"an image must have shape (height, width, channel), got shape {shape}")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"an image must be floating point in [0, 1], got dtype {dtype}; {WAY_OUT}")
    check_floating("an image", image)
    if channels and shape[2] not in channels:
        expected = " or ".join(map(str, channels))
        raise ValueError(f"an image must have {expected} channels here, got shape {shape}")
    check_unit_interval("an image", image)


def check_unit_interval(name: str, images: Any) -> None:
    """Raises ValueError unless pixels are finite and in [0, 1], as far as they are concrete."""
    while hasattr(images, "batch_dim"):  # jax.vmap maps over it
        images = images.val
    if not is_concrete(images) or not np.size(images):
        return
    with jax.ensure_compile_time_eval():
        low, high = float(jnp.min(images)), float(jnp.max(images))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} must be finite, got values from {low} to {high}")
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(
            f"{name} must lie in [0, 1], got values from {low:.6g} to {high:.6g}; divide bytes "
            f"that are stored as floats by 255 ({WAY_OUT})"
        )
