"""Views: random changes of an image that keep its class.

An augmentation is a pure function ``(key, image) -> image`` of one image; `views` maps it over a
batch, with a key of its own for every view of every image. Crops, colours and blurs have files of
their own; `hcl_jax.augmentation.recipes` puts them together.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax.validation import check_count, check_non_negative, check_probability

Augmentation = Callable[[PRNGKeyArray, Float[Array, "*image"]], Float[Array, "*image"]]


def identity(key: PRNGKeyArray, image: Float[Array, "*image"]) -> Float[Array, "*image"]:
    """The image as it is: what the reference code does for CIFAR-100.

    Args:
        key: unused; all augmentations have one signature.
        image: any array.

    Returns:
        The same array.

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
        variance: of the noise, non-negative.

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
    check_non_negative("variance", variance)
    scale = variance**0.5

    def add_noise(key, image):
        return image + scale * jax.random.normal(key, image.shape, image.dtype)

    return add_noise


def random_shift(max_pixels: int) -> Augmentation:
    """Moves an image by a random whole number of pixels along each axis; zeros move in.

    Args:
        max_pixels: the largest move in each direction, at least one.

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
    check_count("max_pixels", max_pixels)

    def shift(key, image):
        margin = ((max_pixels, max_pixels), (max_pixels, max_pixels), (0, 0))
        corner = jax.random.randint(key, (2,), 0, 2 * max_pixels + 1)
        start = jnp.concatenate([corner, jnp.zeros(1, corner.dtype)])
        return jax.lax.dynamic_slice(jnp.pad(image, margin), start, image.shape)

    return shift


def sometimes(augmentation: Augmentation, probability: float) -> Augmentation:
    """Applies an augmentation to each image with a probability, and else leaves it as it is.

    Both outcomes are computed and one is selected, so a batch stays one program.

    Args:
        augmentation: must keep the shape of the image.
        probability: of applying it.

    Returns:
        An augmentation.

    Raises:
        ValueError: for a probability outside [0, 1]; when applied, if the shape changes.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> sometimes(gaussian_noise(1.0), 0.0)(jax.random.key(0), jnp.ones(2)).tolist()
        [1.0, 1.0]
    """
    check_probability("probability", probability)

    def apply_or_leave(key, image):
        gate, inner = jax.random.split(key)
        changed = augmentation(inner, image)
        if changed.shape != image.shape:
            raise ValueError(
                "an augmentation applied sometimes must keep the shape of the image, "
                f"got {changed.shape} from {image.shape}"
            )
        return jnp.where(jax.random.bernoulli(gate, probability), changed, image)

    return apply_or_leave


def compose(*augmentations: Augmentation) -> Augmentation:
    """Applies augmentations one after the other, each with a key of its own.

    Args:
        *augmentations: the first is applied first.

    Returns:
        An augmentation.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> both = compose(random_shift(1), gaussian_noise(0.01))
        >>> both(jax.random.key(0), jnp.ones((8, 8, 1))).shape
        (8, 8, 1)
    """

    def apply_all(key, image):
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
    """Several independent views of every image.

    Args:
        key: draws the views.
        images: a batch, or the part of one that a device holds.
        augmentation: a function of one image.
        num_views: how many views of each image.
        first: the number of the first image in the whole batch; an image has the same views on
            whichever device it is.

    Returns:
        The views, along a new leading axis.

    Raises:
        ValueError, TypeError: if `num_views` is not a positive integer.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> views(jax.random.key(0), jnp.ones((5, 3)), gaussian_noise(0.01), 2).shape
        (2, 5, 3)
    """
    check_count("num_views", num_views)
    numbers = first + jnp.arange(len(images))

    def view(key):
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
        return jax.vmap(augmentation)(keys, images)

    return jax.vmap(view)(jax.random.split(key, num_views))
