"""Pixel values: from bytes to floating point in [0, 1], and then to standardised channels."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from hcl_jax.precision import wide_dtype
from hcl_jax.validation.arrays import check_array, check_floating
from hcl_jax.validation.images import check_unit_interval
from hcl_jax.validation.numbers import check_finite, check_positive


def to_unit_floats(images: Shaped[Array, "*images"]) -> Float[Array, "*images"]:
    """Converts bytes 0..255 to float32 in [0, 1], and returns floating-point images unchanged.

    Args:
        images: uint8 or floating-point images, of any shape.

    Returns:
        Floating-point images.

    Raises:
        ValueError: for floating-point images (of three axes or more, such as height, width and
            channel) that are not in [0, 1], where the numbers are concrete. Vectors need not be.
        TypeError: for any other dtype, whose largest value would be a guess.

    Example:
        >>> import jax.numpy as jnp
        >>> to_unit_floats(jnp.array([0, 255], jnp.uint8)).tolist()
        [0.0, 1.0]
    """
    check_array("images", images)
    dtype = jnp.result_type(images)
    if dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"images must be uint8 or floating point, got dtype {dtype}")
    check_floating("images", images)
    if jnp.ndim(images) >= 3:
        check_unit_interval("images", images)
    return images


def standardize(
    images: Float[Array, "*batch channel"],
    mean: Sequence[float] | np.ndarray,
    std: Sequence[float] | np.ndarray,
) -> Float[Array, "*batch channel"]:
    """Standardises each channel, ``(images - mean) / std``: the last step before the network.

    Args:
        images: floating-point images with any number of leading axes, channels last.
        mean: mean of each channel over the data set, in the units of `images`.
        std: standard deviation of each channel over the data set, positive.

    Returns:
        Images of the same shape and dtype; the arithmetic is at least float32.

    Raises:
        ValueError: if `mean` and `std` do not have one finite number for each channel, or a
            standard deviation is not positive; if a pixel is concrete and not finite.
        TypeError: if the images are not floating point.

    Example:
        >>> import jax.numpy as jnp
        >>> standardize(jnp.ones((2, 1)), mean=(0.5,), std=(0.25,)).tolist()
        [[2.0], [2.0]]
    """
    check_floating("images", images)
    if not jnp.ndim(images):
        raise ValueError("images must have channels along the last axis, got a single number")
    check_finite("images", images)
    channels = images.shape[-1]
    for name, values in {"mean": mean, "std": std}.items():
        check_finite(name, values)
        if np.shape(values) != (channels,):
            raise ValueError(
                f"{name} must have one number for each of {channels} channels, got {values}"
            )
    std = check_positive("std", std)
    shape = (1,) * (images.ndim - 1) + (channels,)
    dtype = wide_dtype(images)
    centred = jnp.asarray(images, dtype) - np.reshape(mean, shape).astype(dtype)
    standardized = centred / np.reshape(std, shape).astype(dtype)
    return standardized.astype(jnp.result_type(images))
