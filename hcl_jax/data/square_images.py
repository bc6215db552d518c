"""One image file of any kind as an RGB square."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

LARGEST_SIDE = 2**13
"""Pixels; files that say they are larger are refused before they are decoded."""


def read_square(file: Path | BinaryIO, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The centre of an image as an RGB square of this size."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        if max(opened.size) > LARGEST_SIDE:
            raise ValueError(f"{opened.size[0]} x {opened.size[1]} pixels are too many")
        opened.draft("RGB", (2 * size, 2 * size))  # lets JPEG decode at a fraction of its size
        image = _in_rgb(ImageOps.exif_transpose(opened))
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def _in_rgb(image: Any) -> Any:
    """Gray, palette, CMYK and transparent images in red, green and blue."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("an image of floating-point numbers, whose white is not known")
    if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255 instead of scaling them
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 2**16 - 1:
            raise ValueError(f"gray values from {values.min()} to {values.max()} are not 16 bits")
        image = Image.fromarray((values.astype(np.uint32) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
