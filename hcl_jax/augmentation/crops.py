"""Crops and flips: the part of the image that a view shows.

The definitions are torchvision's. A random resized crop draws a box and resamples it to a fixed
size; resampling is two multiplications by interpolation matrices that depend on the box, so shapes
are static and the work is what an accelerator does best.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Int, PRNGKeyArray

from hcl_jax.augmentation.transforms import Augmentation, sometimes
from hcl_jax.precision import wide_dtype
from hcl_jax.validation.arrays import check_key
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.images import check_image
from hcl_jax.validation.numbers import check_count, check_integer, check_interval
from hcl_jax.validation.options import check_kind

TRIES = 10
"""Number of boxes that torchvision draws before it falls back to the centre of the image."""


class Box(NamedTuple):
    """A rectangle of whole pixels.

    Attributes:
        top: first row of the box.
        left: first column of the box.
        height: number of rows.
        width: number of columns.
    """

    top: Int[Array, ""]
    left: Int[Array, ""]
    height: Int[Array, ""]
    width: Int[Array, ""]


def random_resized_crop(
    size: int,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Augmentation:
    """Crops a box of random area, shape and position and resamples it to a square.

    `random_box` draws the box and `resized_crop` resamples it.

    Args:
        size: height and width of the view; may exceed those of the image.
        scale: bounds of the area of the box, as a share of the area of the image. The default is
            usual for contrastive learning on CIFAR; torchvision and SimCLR have (0.08, 1).
        ratio: bounds of the width of the box over its height.

    Returns:
        An augmentation of images (height, width, channel).

    Raises:
        ValueError, TypeError: if `size` is not a positive integer, bounds are not positive and in
            order, or an area is above 1.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> random_resized_crop(16)(jax.random.key(0), jnp.ones((32, 24, 3))).shape
        (16, 16, 3)
    """
    size = check_count("size", size)
    _check_bounds(scale, ratio)

    def crop(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "s s c"]:
        check_key("key", key)
        check_image(image)
        box = random_box(key, image.shape[0], image.shape[1], scale=scale, ratio=ratio)
        return resized_crop(image, box, size)

    return crop


def random_box(
    key: PRNGKeyArray,
    height: int,
    width: int,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """Draws the box of a random resized crop.

    Its area is uniform and its width over height log-uniform, both rounded to whole pixels. The
    first of ten such draws that fits into the image is placed uniformly; if none does, the box is
    the largest in the centre whose shape is within the bounds. All ten are drawn at once.

    Args:
        key: PRNG key of all draws.
        height: height of the image in pixels.
        width: width of the image in pixels.
        scale: bounds of the area of the box, as a share of the area of the image.
        ratio: bounds of the width of the box over its height.

    Returns:
        The box, inside the image.

    Raises:
        ValueError, TypeError: if a side is not a positive integer, bounds are not positive and in
            order, or an area is above 1.

    Example:
        >>> import jax
        >>> box = random_box(jax.random.key(0), 32, 32, scale=(1.0, 1.0), ratio=(1.0, 1.0))
        >>> [int(side) for side in box]
        [0, 0, 32, 32]
    """
    check_key("key", key)
    height, width = check_count("height", height), check_count("width", width)
    _check_bounds(scale, ratio)
    uniform = jax.random.uniform(key, (2 * TRIES + 2,), jnp.float32)
    area = height * width * _between(scale, uniform[:TRIES])
    shape = jnp.exp(_between((math.log(ratio[0]), math.log(ratio[1])), uniform[TRIES:-2]))
    widths, heights = jnp.rint(jnp.sqrt(area * shape)), jnp.rint(jnp.sqrt(area / shape))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    sides = jnp.stack([heights, widths])[:, jnp.argmax(fits)].astype(jnp.int32)
    free = jnp.array([height, width], jnp.int32) - sides
    # The product can round up to free + 1 when the draw is the largest below 1.
    places = (free + 1).astype(uniform.dtype)
    corner = jnp.minimum((uniform[-2:] * places).astype(jnp.int32), free)
    drawn = jnp.concatenate([corner, sides])
    centre = jnp.array(_centre(height, width, ratio), jnp.int32)
    return Box(*jnp.where(fits.any(), drawn, centre))


def resized_crop(image: Float[Array, "h w c"], box: Box, size: int) -> Float[Array, "s s c"]:
    """Resamples a box of the image to a square by antialiased bilinear interpolation.

    Pixel centres are at half-integers. Along each axis the weight of pixel j for output i is, up to
    normalisation over the pixels of the box,

        max(0, 1 - |j + 1/2 - (i + 1/2) r| / max(r, 1)),    r = side of the box / size:

    plain bilinear interpolation where the box is enlarged, and a triangle as wide as the stride
    where it is reduced. This is torchvision's ``resized_crop(..., antialias=True)``, its default,
    and the resampling of Pillow.

    Args:
        image: floating-point image; the arithmetic is at least float32.
        box: box inside the image.
        size: height and width of the result.

    Returns:
        The resampled box, in the dtype of the image.

    Raises:
        ValueError, TypeError: if the image has another shape or dtype or is not in [0, 1], `size`
            is not a positive integer, or `box` is no box inside the image, as far as its numbers
            are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.arange(8.0).reshape(2, 4, 1) / 8
        >>> box = Box(*jnp.array([0, 1, 2, 2]))
        >>> resized_crop(image, box, 2)[..., 0].tolist()
        [[0.125, 0.25], [0.625, 0.75]]
    """
    check_image(image)
    size = check_count("size", size)
    height, width, _ = image.shape
    _check_box(box, height, width)
    dtype = wide_dtype(image)
    rows = _interpolation(box.top, box.height, height, size, dtype)
    columns = _interpolation(box.left, box.width, width, size, dtype)
    exact = jax.lax.Precision.HIGHEST
    planes = jnp.moveaxis(image.astype(dtype), -1, 0)
    planes = jnp.einsum("ih,chw->ciw", rows, planes, precision=exact)
    planes = jnp.einsum("ciw,jw->cij", planes, columns, precision=exact)
    return jnp.moveaxis(planes, 0, -1).astype(jnp.result_type(image))


def random_crop(size: int, *, padding: int = 4) -> Augmentation:
    """Crops a square at a uniformly random position of the zero-padded image: usual for CIFAR.

    Args:
        size: height and width of the view.
        padding: number of zeros on each side of the image.

    Returns:
        An augmentation of images (height, width, channel).

    Raises:
        ValueError, TypeError: if `size` is not a positive or `padding` not a non-negative integer;
            when applied, if the padded image is smaller than the view.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> random_crop(32)(jax.random.key(0), jnp.ones((32, 32, 3))).shape
        (32, 32, 3)
    """
    size = check_count("size", size)
    padding = check_count("padding", padding, minimum=0)

    def crop(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "s s c"]:
        check_key("key", key)
        check_image(image)
        padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        height, width, channels = padded.shape
        if min(height, width) < size:
            raise ValueError(
                f"a crop of {size} x {size} does not fit into an image of shape {image.shape} "
                f"with {padding} pixels of padding"
            )
        limits = jnp.array([height - size + 1, width - size + 1, 1])
        corner = jax.random.randint(key, (3,), 0, limits)
        return jax.lax.dynamic_slice(padded, corner, (size, size, channels))

    return crop


def horizontal_flip(probability: float = 0.5) -> Augmentation:
    """Exchanges left and right with a given probability.

    Args:
        probability: probability that an image is flipped.

    Returns:
        An augmentation of images (height, width, channel).

    Raises:
        ValueError: for a probability outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> horizontal_flip(1.0)(jax.random.key(0), jnp.array([[[1.0], [0.5]]]))[0, :, 0].tolist()
        [0.5, 1.0]
    """

    def flip(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        del key
        check_image(image)
        return image[:, ::-1]

    return sometimes(flip, probability)


def _check_box(box: Any, height: int, width: int) -> None:
    """Raises unless it is a `Box` of integers, inside the image where they are concrete."""
    check_kind("box", box, Box, "random_box(key, height, width)")
    for name, side in box._asdict().items():
        check_integer(f"{name} of the box", side)
    if not all(map(is_concrete, box)):
        return
    top, left, box_height, box_width = map(int, box)
    inside = 0 <= top < top + box_height <= height and 0 <= left < left + box_width <= width
    if not inside:
        raise ValueError(f"box must lie inside the image of {height} x {width}, got {box}")


def _check_bounds(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    check_interval("scale", scale)
    check_interval("ratio", ratio)
    if scale[1] > 1:
        raise ValueError(f"scale is a share of the image's area, at most 1, got {scale}")


def _between(bounds: tuple[float, float], uniform: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Uniform numbers between the bounds, from uniform numbers in [0, 1)."""
    low, high = bounds
    return low + (high - low) * uniform


def _centre(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """Top, left, height, width of the largest central box whose shape is within the bounds."""
    box_height, box_width = height, width
    if width / height < ratio[0]:
        box_height = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        box_width = max(1, round(height * ratio[1]))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def _interpolation(
    start: Int[Array, ""], length: Int[Array, ""], pixels: int, size: int, dtype: DTypeLike
) -> Float[Array, "size pixels"]:
    """The matrix of antialiased bilinear interpolation from `length` pixels after `start`."""
    start, length = jnp.asarray(start, jnp.int32), jnp.asarray(length, jnp.int32)
    stride = length.astype(dtype) / size
    position = jnp.arange(pixels, dtype=jnp.int32) - start
    centre = (jnp.arange(size, dtype=dtype) + 0.5) * stride
    distance = jnp.abs(position[None, :].astype(dtype) + 0.5 - centre[:, None])
    inside = (position >= 0) & (position < length)
    triangle = jnp.maximum(0, 1 - distance / jnp.maximum(stride, 1))
    weights = jnp.where(inside[None, :], triangle, 0)
    return weights / weights.sum(axis=1, keepdims=True)
