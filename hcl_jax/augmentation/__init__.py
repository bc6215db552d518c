"""Random views of images, on the device."""

from hcl_jax.augmentation.blurring import blur, gaussian_blur
from hcl_jax.augmentation.colors import (
    Jitter,
    color_jitter,
    draw_jitter,
    grayscale,
    jitter,
    to_grayscale,
)
from hcl_jax.augmentation.crops import (
    Box,
    horizontal_flip,
    random_box,
    random_crop,
    random_resized_crop,
    resized_crop,
)
from hcl_jax.augmentation.pixels import standardize, to_unit_floats
from hcl_jax.augmentation.recipes import simclr
from hcl_jax.augmentation.transforms import (
    Augmentation,
    compose,
    gaussian_noise,
    identity,
    random_shift,
    sometimes,
    views,
)

__all__ = [
    "Augmentation",
    "Box",
    "Jitter",
    "blur",
    "color_jitter",
    "compose",
    "draw_jitter",
    "gaussian_blur",
    "gaussian_noise",
    "grayscale",
    "horizontal_flip",
    "identity",
    "jitter",
    "random_box",
    "random_crop",
    "random_resized_crop",
    "random_shift",
    "resized_crop",
    "simclr",
    "sometimes",
    "standardize",
    "to_grayscale",
    "to_unit_floats",
    "views",
]


def __dir__() -> list[str]:
    return __all__
