"""The views of SimCLR (Chen et al., 2020, appendix A), which SupCon and its successors use too."""

from hcl_jax.augmentation.blurring import gaussian_blur
from hcl_jax.augmentation.colors import color_jitter, grayscale
from hcl_jax.augmentation.crops import horizontal_flip, random_resized_crop
from hcl_jax.augmentation.transforms import Augmentation, compose
from hcl_jax.validation.numbers import check_count, check_non_negative, check_scalar
from hcl_jax.validation.options import check_choice


def simclr(
    size: int,
    *,
    strength: float = 0.5,
    scale: tuple[float, float] = (0.2, 1.0),
    blur: bool = False,
) -> Augmentation:
    """Random resized crop, flip (1/2), colour jitter (0.8), grayscale (0.2), and blur (1/2) if any.

    The parameters are SimCLR's and the single steps torchvision's: the strengths of the jitter are
    0.8 `strength` for brightness, contrast and saturation and 0.2 `strength` for hue; the blur has
    a standard deviation between 0.1 and 2 and a kernel of about a tenth of the image. SimCLR
    resamples its crops bicubically; here they are resampled bilinearly.

    Args:
        size: height and width of the view.
        strength: strength of the colour jitter: 0.5 for CIFAR, which is a jitter of
            (0.4, 0.4, 0.4, 0.1), and 1 for ImageNet.
        scale: bounds of the area of the crop, as a share of the area of the image; SimCLR has
            (0.08, 1).
        blur: whether images are blurred; usual for images larger than those of CIFAR.

    Returns:
        An augmentation of images (height, width, 1 or 3) in [0, 1].

    Raises:
        ValueError, TypeError: if `size` is not a positive integer, bounds are not positive and in
            order, an area is above 1, or the strength is negative or above 2.5, where the shift of
            the hue would exceed 1/2.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from hcl_jax.augmentation import views
        >>> views(jax.random.key(0), jnp.ones((4, 32, 32, 3)), simclr(32), 2).shape
        (2, 4, 32, 32, 3)
    """
    size = check_count("size", size)
    check_scalar("strength", strength)
    check_non_negative("strength", strength)
    check_choice("blur", blur, (False, True))
    if strength > 2.5:
        raise ValueError(f"strength must be at most 2.5, got {strength}")
    colors = 0.8 * strength
    steps = [
        random_resized_crop(size, scale=scale),
        horizontal_flip(0.5),
        color_jitter(colors, colors, colors, 0.2 * strength, probability=0.8),
        grayscale(0.2),
    ]
    if blur:
        steps.append(gaussian_blur(2 * (size // 20) + 1, probability=0.5))
    return compose(*steps)
