"""One image file of any kind as an RGB square."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8


def read_square(file: Path | BinaryIO, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The centre of an image as an RGB square of this size."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        opened.draft("RGB", (2 * size, 2 * size))  # lets JPEG decode at a fraction of its size
        is_png = opened.format == "PNG"
        image = _in_rgb(ImageOps.exif_transpose(opened), is_png=is_png)
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))


def _in_rgb(image: Any, *, is_png: bool) -> Any:
    """Gray, palette, CMYK and transparent images in red, green and blue."""
    from PIL import Image

    # Some versions of Pillow have the 16 bits of a PNG in 32.
    if image.mode == "F" or (image.mode == "I" and not is_png):
        raise ValueError("an image of 32 bits, whose white is not known")
    if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255 instead of scaling them
        values = np.asarray(image)
        image = Image.fromarray((values.astype(np.uint32) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
