"""Gaussian blur of random width."""

import functools
import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax.augmentation.transforms import Augmentation, sometimes
from hcl_jax.precision import wide_dtype
from hcl_jax.validation.arrays import check_key
from hcl_jax.validation.images import check_image
from hcl_jax.validation.numbers import check_count, check_interval, check_positive, check_scalar


def gaussian_blur(
    kernel_size: int,
    *,
    sigma: tuple[float, float] = (0.1, 2.0),
    probability: float = 1.0,
) -> Augmentation:
    """Blurs an image with a Gaussian of random width.

    Args:
        kernel_size: side of the kernel in pixels, odd (SimCLR: about a tenth of the image).
        sigma: bounds of the uniformly drawn standard deviation, in pixels; SimCLR's by default.
        probability: probability that an image is blurred at all (SimCLR: 0.5).

    Returns:
        An augmentation of images (height, width, channel).

    Raises:
        ValueError, TypeError: if `kernel_size` is not odd and positive, the bounds are not positive
            and in order, or the probability is outside [0, 1].

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> gaussian_blur(3)(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)
    """
    kernel_size = _check_kernel_size(kernel_size)
    check_interval("sigma", sigma)

    def blur_at_random(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        check_key("key", key)
        drawn = jax.random.uniform(key, (), jnp.float32, minval=sigma[0], maxval=sigma[1])
        return blur(image, drawn, kernel_size)

    return sometimes(blur_at_random, probability)


def blur(
    image: Float[Array, "h w c"], sigma: Float[Array, ""], kernel_size: int
) -> Float[Array, "h w c"]:
    """Correlates rows and columns with a normalised Gaussian; the image is reflected at its edges.

    The kernel is exp(-x^2 / (2 sigma^2)) at whole x from -k to k, divided by its sum, for
    kernel_size = 2 k + 1. The reflection does not repeat the pixel at the edge. This is
    torchvision's ``gaussian_blur``.

    Args:
        image: floating-point image; the arithmetic is at least float32.
        sigma: standard deviation of the Gaussian in pixels, a positive number.
        kernel_size: side of the kernel in pixels, odd.

    Returns:
        The blurred image, in the dtype of `image`.

    Raises:
        ValueError, TypeError: if `kernel_size` is not odd and positive, or more than half of it
            does not fit into the image; if `sigma` is not a positive number.

    Example:
        >>> import jax.numpy as jnp
        >>> blur(jnp.ones((4, 4, 1)), jnp.array(0.5), 3).shape
        (4, 4, 1)
    """
    check_image(image)
    check_scalar("sigma", sigma)
    sigma = check_positive("sigma", sigma)
    kernel_size = _check_kernel_size(kernel_size)
    height, width, _ = image.shape
    reach = kernel_size // 2
    if reach >= min(height, width):
        raise ValueError(
            f"a kernel of {kernel_size} pixels reflects {reach} pixels at each edge and needs an "
            f"image of at least {reach + 1} x {reach + 1}, got shape {image.shape}"
        )
    dtype = wide_dtype(image)
    offsets = jnp.arange(-reach, reach + 1, dtype=dtype)
    weights = jax.nn.softmax(-((offsets / jnp.asarray(sigma, dtype)) ** 2) / 2)
    planes = jnp.moveaxis(image.astype(dtype), -1, 0)
    planes = jnp.pad(planes, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    planes = _sum(weights[i] * planes[:, i : i + height] for i in range(kernel_size))
    planes = _sum(weights[i] * planes[:, :, i : i + width] for i in range(kernel_size))
    return jnp.moveaxis(planes, 0, -1).astype(jnp.result_type(image))


def _sum(terms: Iterable[Float[Array, "c h w"]]) -> Float[Array, "c h w"]:
    """The sum as one expression, which the compiler turns into one loop."""
    return functools.reduce(operator.add, terms)


def _check_kernel_size(kernel_size: int) -> int:
    kernel_size = check_count("kernel_size", kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, got {kernel_size}")
    return kernel_size
