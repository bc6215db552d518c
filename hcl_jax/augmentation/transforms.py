"""Views: random changes of an image that keep its class.

An augmentation is a pure function ``(key, image) -> image`` of one image; `views` maps it over a
batch, with a separate key for every view of every image. Crops, colours and blurs are files of this
folder, and `recipes.py` composes them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax.precision import wide_dtype
from hcl_jax.validation.arrays import check_array, check_floating, check_key
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.images import check_image
from hcl_jax.validation.numbers import (
    check_count,
    check_integer,
    check_non_negative,
    check_probability,
    check_scalar,
)
from hcl_jax.validation.options import check_function

Augmentation = Callable[[PRNGKeyArray, Float[Array, "*image"]], Float[Array, "*image"]]
"""A pure function ``(key, image) -> image`` of one image, in floating point."""


def identity(key: PRNGKeyArray, image: Float[Array, "*image"]) -> Float[Array, "*image"]:
    """Returns the image unchanged, as the reference code does for CIFAR-100.

    Args:
        key: PRNG key that all augmentations take; not used here.
        image: image of any shape.

    Returns:
        The same image.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> identity(jax.random.key(0), jnp.ones(2)).tolist()
        [1.0, 1.0]
    """
    del key
    return image


def gaussian_noise(variance: float) -> Augmentation:
    """Adds independent Gaussian noise to every entry.

    Args:
        variance: variance of the noise, non-negative.

    Returns:
        An augmentation.

    Raises:
        ValueError: for a negative variance.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> gaussian_noise(0.0)(jax.random.key(0), jnp.ones(2)).tolist()
        [1.0, 1.0]
    """
    check_scalar("variance", variance)
    variance = check_non_negative("variance", variance)

    def add_noise(key: PRNGKeyArray, image: Float[Array, "*image"]) -> Float[Array, "*image"]:
        check_key("key", key)
        check_floating("an image", image)
        dtype = jnp.result_type(image)
        scale = jnp.sqrt(jnp.asarray(variance, wide_dtype(image))).astype(dtype)
        return image + scale * jax.random.normal(key, image.shape, dtype)

    return add_noise


def random_shift(max_pixels: int) -> Augmentation:
    """Shifts an image by a random whole number of pixels along each axis and fills with zeros.

    Args:
        max_pixels: largest shift in each direction in pixels, at least one.

    Returns:
        An augmentation of images (height, width, channel).

    Raises:
        ValueError, TypeError: if `max_pixels` is not a positive integer.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> random_shift(1)(jax.random.key(0), jnp.ones((8, 8, 1))).shape
        (8, 8, 1)
    """
    max_pixels = check_count("max_pixels", max_pixels)

    def shift(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        check_key("key", key)
        check_image(image)
        margin = ((max_pixels, max_pixels), (max_pixels, max_pixels), (0, 0))
        corner = jax.random.randint(key, (2,), 0, 2 * max_pixels + 1)
        start = jnp.concatenate([corner, jnp.zeros(1, corner.dtype)])
        return jax.lax.dynamic_slice(jnp.pad(image, margin), start, image.shape)

    return shift


def sometimes(augmentation: Augmentation, probability: float) -> Augmentation:
    """Applies an augmentation with a given probability, independently for each image.

    Both outcomes are computed and one is selected, so that a batch stays one program.

    Args:
        augmentation: augmentation that keeps the shape of the image.
        probability: probability that it is applied.

    Returns:
        An augmentation.

    Raises:
        ValueError: for a probability outside [0, 1], with which images are NaN where it is traced;
            when applied, if the shape changes.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> sometimes(gaussian_noise(1.0), 0.0)(jax.random.key(0), jnp.ones(2)).tolist()
        [1.0, 1.0]
    """
    check_function("augmentation", augmentation)
    probability = check_probability("probability", probability)

    def apply_or_leave(key: PRNGKeyArray, image: Float[Array, "*image"]) -> Float[Array, "*image"]:
        check_key("key", key)
        check_array("an image", image)
        gate, inner = jax.random.split(key)
        changed = augmentation(inner, image)
        if changed.shape != image.shape:
            raise ValueError(
                "an augmentation applied sometimes must keep the shape of the image, "
                f"got {changed.shape} from {image.shape}"
            )
        chosen = jnp.where(jax.random.bernoulli(gate, probability), changed, image)
        if is_concrete(probability):
            return chosen
        return jnp.where(jnp.isnan(probability), jnp.nan, chosen)

    return apply_or_leave


def compose(*augmentations: Augmentation) -> Augmentation:
    """Applies augmentations one after the other, each with a separate key.

    Args:
        *augmentations: augmentations in the order in which they are applied.

    Returns:
        An augmentation; the identity if there are none.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> both = compose(random_shift(1), gaussian_noise(0.01))
        >>> both(jax.random.key(0), jnp.ones((8, 8, 1))).shape
        (8, 8, 1)
    """
    for number, augmentation in enumerate(augmentations):
        check_function(f"augmentation {number}", augmentation)

    def apply_all(key: PRNGKeyArray, image: Float[Array, "..."]) -> Float[Array, "..."]:
        check_key("key", key)
        for augmentation, part in zip(
            augmentations, jax.random.split(key, max(1, len(augmentations))), strict=False
        ):
            image = augmentation(part, image)
        return image

    return apply_all


def views(
    key: PRNGKeyArray,
    images: Float[Array, "batch *image"],
    augmentation: Augmentation,
    num_views: int,
    *,
    first: Int[Array, ""] | int = 0,
) -> Float[Array, "view batch *image"]:
    """Draws several independent views of every image.

    Args:
        key: PRNG key of all draws.
        images: batch of images, or the part of a batch that one device holds.
        augmentation: augmentation that makes a view of one image.
        num_views: number of views of each image.
        first: index in the whole batch of the first of `images`; with it, an image has the same
            views on whichever device it is.

    Returns:
        The views, along a new leading axis.

    Raises:
        ValueError, TypeError: if `num_views` is not a positive integer, or another argument is not
            what it should be; also what the augmentation raises.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> views(jax.random.key(0), jnp.ones((5, 3)), gaussian_noise(0.01), 2).shape
        (2, 5, 3)
    """
    check_key("key", key)
    check_array("images", images)
    if not jnp.ndim(images):
        raise ValueError("images must be a batch along the first axis, got a single number")
    check_function("augmentation", augmentation)
    num_views = check_count("num_views", num_views)
    check_integer("first", first)
    numbers = first + jnp.arange(len(images))

    def view(key: PRNGKeyArray) -> Float[Array, "batch ..."]:
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
        return jax.vmap(augmentation)(keys, images)

    return jax.vmap(view)(jax.random.split(key, num_views))
