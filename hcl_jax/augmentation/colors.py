"""Colours: random brightness, contrast, saturation and hue in random order, and grayscale.

The definitions are torchvision's for floating-point images in [0, 1]. An image of one channel
counts as gray: saturation and hue leave it unchanged.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax.augmentation.transforms import Augmentation, sometimes
from hcl_jax.precision import at_least_float32
from hcl_jax.validation.arrays import check_key
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.images import check_image
from hcl_jax.validation.numbers import check_finite, check_non_negative, check_scalar

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in gray, from torchvision and ITU-R 601-2."""

Planes = Float[Array, "c h w"]

_ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)


class Jitter(NamedTuple):
    """Random numbers of a colour jitter.

    Attributes:
        factors: factors of brightness, contrast and saturation, and the shift of the hue in turns.
        order: permutation of 0, 1, 2, 3, which stand for brightness, contrast, saturation and hue;
            the first is applied first.
    """

    factors: Float[Array, " 4"]
    order: Int[Array, " 4"]


def color_jitter(
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    *,
    probability: float = 1.0,
) -> Augmentation:
    """Changes brightness, contrast, saturation and hue by random amounts, in random order.

    For a strength b, the factor of brightness, contrast or saturation is uniform in
    [max(0, 1 - b), 1 + b]; for a strength h, the shift of the hue is uniform in [-h, h].

    Args:
        brightness: strength of the change of brightness, non-negative.
        contrast: strength of the change of contrast, non-negative.
        saturation: strength of the change of saturation, non-negative.
        hue: strength of the shift of the hue, in turns of the colour wheel, at most 1/2.
        probability: probability that an image is changed at all (SimCLR: 0.8).

    Returns:
        An augmentation of images (height, width, 1 or 3) in [0, 1].

    Raises:
        ValueError: for a negative strength, a hue above 1/2, or a probability outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> color_jitter(probability=0.8)(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)
    """
    strengths = {
        "brightness": brightness,
        "contrast": contrast,
        "saturation": saturation,
        "hue": hue,
    }
    _check_strengths(**strengths)
    return sometimes(lambda key, image: jitter(image, draw_jitter(key, **strengths)), probability)


def draw_jitter(
    key: PRNGKeyArray, *, brightness: float, contrast: float, saturation: float, hue: float
) -> Jitter:
    """Draws the factors and the order of a colour jitter, all independent and uniform.

    Args:
        key: PRNG key of all draws.
        brightness: strength of the change of brightness, see `color_jitter`.
        contrast: strength of the change of contrast.
        saturation: strength of the change of saturation.
        hue: strength of the shift of the hue, in turns of the colour wheel, at most 1/2.

    Returns:
        Factors and order, for `jitter`.

    Raises:
        ValueError: for a negative strength, or a hue above 1/2.

    Example:
        >>> import jax
        >>> drawn = draw_jitter(
        ...     jax.random.key(0), brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0
        ... )
        >>> drawn.factors.tolist(), sorted(drawn.order.tolist())
        ([1.0, 1.0, 1.0, 0.0], [0, 1, 2, 3])
    """
    check_key("key", key)
    _check_strengths(brightness, contrast, saturation, hue)
    strengths = (brightness, contrast, saturation)
    low = np.array([*(max(0.0, 1 - s) for s in strengths), -hue], np.float32)
    high = np.array([*(1 + s for s in strengths), hue], np.float32)
    uniform = jax.random.uniform(key, (5,), jnp.float32)
    number = jnp.minimum((uniform[4] * len(_ORDERS)).astype(jnp.int32), len(_ORDERS) - 1)
    return Jitter(jnp.asarray(low) + (high - low) * uniform[:4], jnp.asarray(_ORDERS)[number])


def jitter(image: Float[Array, "h w c"], drawn: Jitter) -> Float[Array, "h w c"]:
    """Applies given changes of colour in the given order.

    A change of brightness, contrast or saturation by a factor f is
    ``clip(f image + (1 - f) other, 0, 1)``, where the other image is black, the mean of the gray
    image, or the gray image itself. torchvision rounds the gray image of an integer image first;
    here, as in torchvision for floating-point images, it is not rounded.

    The three cheap changes are a loop whose body covers all of them, run over the steps before the
    hue and again over those after it. So the costly change of the hue is computed once, although
    the order differs from image to image and whatever one image of a batch needs is computed for
    all.

    Args:
        image: image of one or three channels in [0, 1]; the arithmetic is at least float32.
        drawn: factors and order, see `draw_jitter`.

    Returns:
        The changed image, in [0, 1] and in the dtype of `image`.

    Raises:
        ValueError, TypeError: if the image has another shape or is not floating point in [0, 1],
            or `drawn` is no `Jitter` of finite factors and a permutation.

    Example:
        >>> import jax.numpy as jnp
        >>> brighter = Jitter(jnp.array([2.0, 1.0, 1.0, 0.0]), jnp.arange(4))
        >>> jitter(jnp.full((1, 1, 1), 0.25), brighter).item()
        0.5
    """
    check_image(image, channels=(1, 3))
    _check_drawn(drawn)
    planes = _planes(image)
    factors, order = jnp.asarray(drawn.factors, planes.dtype), jnp.asarray(drawn.order, jnp.int32)
    hue_at = jnp.argmax(order == HUE)

    def before(step: Int[Array, ""], planes: Planes) -> Planes:
        return _blend(planes, order[step], jnp.where(step < hue_at, factors[order[step]], 1))

    def after(step: Int[Array, ""], planes: Planes) -> Planes:
        return _blend(planes, order[step], jnp.where(step > hue_at, factors[order[step]], 1))

    planes = jax.lax.fori_loop(0, 3, before, planes)
    planes = _shift_hue(planes, factors[HUE])
    planes = jax.lax.fori_loop(1, 4, after, planes)
    return jnp.moveaxis(planes, 0, -1).astype(jnp.result_type(image))


def grayscale(probability: float = 0.2) -> Augmentation:
    """Replaces the colours of an image by gray with a given probability.

    Args:
        probability: probability that an image becomes gray.

    Returns:
        An augmentation of images (height, width, 1 or 3).

    Raises:
        ValueError: for a probability outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> gray = grayscale(1.0)(jax.random.key(0), jnp.array([[[1.0, 0.0, 0.0]]]))
        >>> [round(float(value), 4) for value in gray[0, 0]]
        [0.2989, 0.2989, 0.2989]
    """
    return sometimes(lambda key, image: to_grayscale(image), probability)


def to_grayscale(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Gray = 0.2989 red + 0.587 green + 0.114 blue, in every channel.

    Args:
        image: image of three channels, or of one, which is gray already.

    Returns:
        An image of the same shape and dtype.

    Raises:
        ValueError, TypeError: if the image has another shape or is not floating point in [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> to_grayscale(jnp.full((4, 4, 1), 0.5)).shape
        (4, 4, 1)
    """
    check_image(image, channels=(1, 3))
    gray = _gray(_planes(image))
    return jnp.broadcast_to(gray[..., None], image.shape).astype(jnp.result_type(image))


def _check_strengths(brightness: float, contrast: float, saturation: float, hue: float) -> None:
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        check_scalar(name, strength)
        check_non_negative(name, strength)
    check_scalar("hue", hue)
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue must lie between 0 and 0.5 turns, got {hue}")


def _check_drawn(drawn: Any) -> None:
    """Raises unless it is a `Jitter` of finite factors and an order of the four changes."""
    if not isinstance(drawn, Jitter):
        found = type(drawn).__name__
        raise TypeError(f"drawn must be a Jitter, such as draw_jitter makes, got a {found}")
    for name, numbers in zip(Jitter._fields, drawn, strict=True):
        check_finite(name, numbers)
        if np.shape(numbers) != (4,):
            raise ValueError(f"{name} must have shape (4,), got {np.shape(numbers)}")
    if is_concrete(drawn.order) and sorted(np.asarray(drawn.order).tolist()) != [0, 1, 2, 3]:
        raise ValueError(f"order must be a permutation of 0, 1, 2, 3, got {drawn.order}")


def _planes(image: Float[Array, "h w c"]) -> Planes:
    """The image with channels first: long rows vectorise, three channels do not."""
    return at_least_float32(jnp.moveaxis(image, -1, 0))


def _gray(planes: Planes) -> Float[Array, "h w"]:
    if len(planes) == 1:
        return planes[0]
    return LUMA[0] * planes[0] + LUMA[1] * planes[1] + LUMA[2] * planes[2]


def _blend(planes: Planes, change: Int[Array, ""], factor: Float[Array, ""]) -> Planes:
    """Changes brightness, contrast or saturation by a factor."""
    gray = _gray(planes)
    other = jnp.where(change == CONTRAST, gray.mean(), jnp.where(change == SATURATION, gray, 0))
    return jnp.clip(factor * planes + (1 - factor) * other[None], 0, 1)


def _shift_hue(planes: Planes, shift: Float[Array, ""]) -> Planes:
    """Shifts the hue of HSV, which keeps the largest and the smallest channel of each pixel."""
    if len(planes) == 1:
        return planes
    red, green, blue = planes
    value = planes.max(axis=0)
    chroma = value - planes.min(axis=0)
    divisor = jnp.where(chroma == 0, 1, chroma)
    sixths = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = sixths + 6 * shift

    def channel(offset: int) -> Float[Array, "h w"]:
        position = sixths + offset
        position = position - 6 * jnp.floor(position / 6)
        return value - chroma * jnp.clip(jnp.minimum(position, 4 - position), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)])
