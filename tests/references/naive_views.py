"""torchvision's documented image transforms, one image at a time, in float64 and with loops."""

import colorsys
import math

import numpy as np


def box(generator, height, width, scale, ratio, *, tries=10, log_ratio=True, last_place=True):
    """Top, left, height, width of a random resized crop; the options make it wrong on purpose."""
    for _ in range(tries):
        area = height * width * generator.uniform(*scale)
        if log_ratio:
            aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        else:
            aspect = generator.uniform(*ratio)
        w = round(math.sqrt(area * aspect))
        h = round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = generator.integers(0, max(1, height - h + last_place))
            left = generator.integers(0, max(1, width - w + last_place))
            return top, left, h, w
    shape = width / height
    h, w = height, width
    if shape < min(ratio):
        h = round(w / min(ratio))
    elif shape > max(ratio):
        w = round(h * max(ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def resized_crop(image, box, size):
    """Pillow's antialiased bilinear resampling of a box, first along columns, then along rows."""
    top, left, height, width = box
    cropped = image[top : top + height, left : left + width].astype(np.float64)
    return resized_rows(resized_rows(cropped, size).swapaxes(0, 1), size).swapaxes(0, 1)


def resized_rows(image, size):
    rows = []
    stride = len(image) / size
    support = max(stride, 1.0)
    for i in range(size):
        centre = stride * (i + 0.5)
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), len(image))
        total, weights = 0.0, 0.0
        for j in range(first, last):
            weight = max(0.0, 1 - abs((j - centre + 0.5) / support))
            total, weights = total + weight * image[j], weights + weight
        rows.append(total / weights)
    return np.array(rows)


def gray(image):
    if image.shape[2] == 1:
        return image.astype(np.float64)
    return np.repeat(image.astype(np.float64) @ np.array([0.2989, 0.587, 0.114]), 3).reshape(
        image.shape
    )


def brightness(image, factor):
    return np.clip(factor * image, 0, 1)


def contrast(image, factor):
    return np.clip(factor * image + (1 - factor) * gray(image).mean(), 0, 1)


def saturation(image, factor):
    return np.clip(factor * image + (1 - factor) * gray(image), 0, 1)


def hue(image, shift):
    if image.shape[2] == 1:
        return image
    turned = np.empty(image.shape)
    for place in np.ndindex(*image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*image[place])
        turned[place] = colorsys.hsv_to_rgb((h + shift) % 1.0, s, v)
    return turned


def jitter(image, factors, order):
    image = image.astype(np.float64)
    for change in order:
        image = (brightness, contrast, saturation, hue)[change](image, factors[change])
    return image


def blur(image, sigma, kernel_size):
    """Two-dimensional correlation with the Gaussian, reflected without repeating the edge."""
    reach = kernel_size // 2
    x = np.arange(-reach, reach + 1)
    line = np.exp(-0.5 * (x / sigma) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    height, width, _ = image.shape
    blurred = np.zeros(image.shape)

    def inside(place, length):
        place = abs(place)
        return 2 * (length - 1) - place if place >= length else place

    for i, j in np.ndindex(height, width):
        for a in x:
            for b in x:
                pixel = image[inside(i + a, height), inside(j + b, width)]
                blurred[i, j] += kernel[a + reach, b + reach] * pixel
    return blurred
