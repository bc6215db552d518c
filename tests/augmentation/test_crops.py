"""Crops and flips against torchvision's definitions: exactly where drawn, in law where random."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import naive_views as naive
from scipy import stats

from hcl_jax.augmentation import crops

DRAWS = 20000
# A correct sampler fails a test of this level once in 10,000 seeds; the wrong ones are far beyond.
LEVEL = 1e-4


def image_of(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).uniform(size=(height, width, channels)).astype(np.float32)


resized_crop = jax.jit(crops.resized_crop, static_argnums=2)


def box_of(*sides):
    return crops.Box(*jnp.array(sides, jnp.int32))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("shape", "box", "size"),
    [
        ((9, 7), (0, 0, 9, 7), 5),  # reduced, both axes differently
        ((9, 7), (2, 1, 6, 5), 6),  # one axis as it is
        ((9, 7), (3, 4, 4, 3), 16),  # enlarged beyond the image
        ((40, 31), (5, 3, 35, 20), 4),  # far reduced: wide triangles
        ((9, 7), (8, 6, 1, 1), 3),  # one pixel, in the corner
        ((1, 1), (0, 0, 1, 1), 1),
    ],
)
def test_resized_crop_is_pillows(shape, box, size, channels):
    image = image_of(*shape, channels)
    found = resized_crop(image, box_of(*box), size)
    np.testing.assert_allclose(found, naive.resized_crop(image, box, size), atol=1e-6)


def test_resized_crop_sees_nothing_outside_the_box():
    image = image_of(12, 12)
    outside = np.ones_like(image)
    outside[3:8, 2:9] = image[3:8, 2:9]
    box = box_of(3, 2, 5, 7)
    found = [resized_crop(i, box, 4) for i in (image, outside)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("size", [9, 36])
def test_resized_crop_of_a_ramp_is_a_ramp(size):
    """A closed form: away from the edges, at whole strides and where the box is enlarged."""
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[None, :, None] / 32, (30, 30, 1))
    found = np.asarray(resized_crop(ramp, box_of(0, 6, 30, 18), size))[5, :, 0]
    expected = (6 + (np.arange(size) + 0.5) * 18 / size - 0.5) / 32
    np.testing.assert_allclose(found[2:-2], expected[2:-2], rtol=1e-6)


@functools.lru_cache
def drawn_boxes(height, width, scale, ratio):
    draw = functools.partial(crops.random_box, height=height, width=width, scale=scale, ratio=ratio)
    keys = jax.random.split(jax.random.key(7), DRAWS)
    return np.stack(jax.jit(jax.vmap(draw))(keys), axis=1)


def naive_boxes(height, width, scale, ratio, **wrong):
    generator = np.random.default_rng(11)
    return np.array(
        [naive.box(generator, height, width, scale, ratio, **wrong) for _ in range(DRAWS)]
    )


def least_p_value(boxes, others):
    """Two-sample Kolmogorov-Smirnov over place, area and shape; conservative for integers."""
    statistics = [
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0] + b[:, 2],
        lambda b: b[:, 1] + b[:, 3],
    ]
    return min(stats.ks_2samp(s(boxes), s(others)).pvalue for s in statistics) * len(statistics)


LAWS = {
    "cifar": (32, 32, (0.2, 1.0), (3 / 4, 4 / 3)),
    "imagenet": (224, 224, (0.08, 1.0), (3 / 4, 4 / 3)),
    "wide": (24, 60, (0.3, 1.0), (1 / 2, 2.0)),  # many tries fail, some fall back
    "tall": (70, 20, (0.1, 0.9), (1 / 3, 1.5)),
}


@pytest.mark.parametrize("law", LAWS)
def test_boxes_follow_the_documented_law(law):
    boxes = drawn_boxes(*LAWS[law])
    height, width = LAWS[law][:2]
    assert (boxes >= [0, 0, 1, 1]).all()
    assert (boxes[:, 0] + boxes[:, 2] <= height).all()
    assert (boxes[:, 1] + boxes[:, 3] <= width).all()
    assert least_p_value(boxes, naive_boxes(*LAWS[law])) > LEVEL


@pytest.mark.parametrize(
    ("law", "wrong"),
    [
        ("imagenet", {"log_ratio": False}),
        ("wide", {"tries": 1}),
        ("wide", {"tries": 5}),
        ("cifar", {"last_place": False}),
    ],
)
def test_wrong_laws_of_boxes_are_rejected(law, wrong):
    assert least_p_value(drawn_boxes(*LAWS[law]), naive_boxes(*LAWS[law], **wrong)) < LEVEL / 100


def test_area_shape_and_place_are_uniform():
    """On an image so large that rounding is invisible the laws are continuous and known."""
    side, scale, ratio = 4000, (0.1, 0.5), (3 / 4, 4 / 3)
    boxes = drawn_boxes(side, side, scale, ratio).astype(np.float64)
    area = boxes[:, 2] * boxes[:, 3] / side**2
    shape = np.log(boxes[:, 3] / boxes[:, 2])
    assert stats.kstest(area, stats.uniform(0.1, 0.4).cdf).pvalue > LEVEL
    assert stats.kstest(shape, stats.uniform(np.log(3 / 4), 2 * np.log(4 / 3)).cdf).pvalue > LEVEL
    for place, length in ((0, 2), (1, 3)):
        free = side - boxes[:, length] + 1
        assert stats.kstest((boxes[:, place] + 0.5) / free, "uniform").pvalue > LEVEL
    independent = np.corrcoef([area, shape, boxes[:, 0] / (side - boxes[:, 2])])
    assert abs(independent[np.triu_indices(3, 1)]).max() < 5 / np.sqrt(DRAWS)


@pytest.mark.parametrize(
    ("shape", "scale", "centre"),
    [
        ((10, 100), (0.2, 1.0), (0, 43, 10, 13)),
        ((100, 10), (0.2, 1.0), (43, 0, 13, 10)),
        ((10, 12), (1e-4, 1e-4), (0, 0, 10, 12)),  # all boxes are rounded to no pixel
    ],
)
def test_where_nothing_fits_the_centre_is_taken(shape, scale, centre):
    assert (drawn_boxes(*shape, scale, (3 / 4, 4 / 3)) == centre).all()


def test_random_resized_crop_is_the_drawn_box_resampled():
    image = jnp.asarray(image_of(20, 30))
    key = jax.random.key(3)
    box = jax.jit(lambda key: crops.random_box(key, 20, 30, scale=(0.08, 1.0)))(key)
    found = jax.jit(crops.random_resized_crop(8, scale=(0.08, 1.0)))(key, image)
    expected = naive.resized_crop(np.asarray(image), [int(side) for side in box], 8)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_random_crop_takes_every_place_equally_often():
    image = np.arange(1, 21, dtype=np.float32).reshape(4, 5, 1) / 32
    padded = np.pad(np.asarray(image), ((2, 2), (2, 2), (0, 0)))
    windows = [padded[i : i + 5, j : j + 5].tobytes() for i in range(4) for j in range(5)]
    keys = jax.random.split(jax.random.key(0), 4000)
    found = jax.jit(jax.vmap(crops.random_crop(5, padding=2), in_axes=(0, None)))(keys, image)
    counts = np.bincount([windows.index(np.asarray(w).tobytes()) for w in found], minlength=20)
    assert stats.chisquare(counts).pvalue > LEVEL
    assert stats.chisquare(np.append(counts[:-1] + counts[-1] / 19, 0)).pvalue < LEVEL / 100


@pytest.mark.parametrize("probability", [0.0, 0.5, 0.2, 1.0])
def test_flips_are_as_frequent_as_told(probability):
    image = jnp.asarray(image_of(3, 4))
    keys = jax.random.split(jax.random.key(1), 10000)
    flip = jax.vmap(crops.horizontal_flip(probability), in_axes=(0, None))
    found = jax.jit(flip)(keys, image)
    mirrored = np.asarray(image)[:, ::-1]
    flipped = (np.asarray(found) == mirrored).all(axis=(1, 2, 3))
    kept = (np.asarray(found) == np.asarray(image)).all(axis=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert stats.binomtest(int(flipped.sum()), 10000, probability).pvalue > LEVEL
    other = probability + 0.05 if probability < 1 else 0.95
    assert stats.binomtest(int(flipped.sum()), 10000, other).pvalue < LEVEL


ERRORS = {
    "size must be at least 1, got 0": lambda: crops.random_resized_crop(0),
    r"scale must be \(low, high\) with 0 < low <= high, got \(0.5, 0.2\)": lambda: (
        crops.random_resized_crop(8, scale=(0.5, 0.2))
    ),
    "share of the image's area, at most 1": lambda: crops.random_resized_crop(8, scale=(0.5, 2.0)),
    r"ratio must be \(low, high\)": lambda: crops.random_resized_crop(8, ratio=(0.0, 1.0)),
    "height must be at least 1": lambda: crops.random_box(jax.random.key(0), 0, 4),
    r"box must lie inside the image of 4 x 8, got Box\(top=1, left=0, height=4": lambda: (
        crops.resized_crop(jnp.ones((4, 8, 3)), crops.Box(1, 0, 4, 4), 2)
    ),
    "ratio must be finite in float32": lambda: crops.random_resized_crop(8, ratio=(1.0, 1e39)),
    "padding must be at least 0, got -1": lambda: crops.random_crop(4, padding=-1),
    "crop of 9 x 9 does not fit into an image of shape": lambda: crops.random_crop(9, padding=2)(
        jax.random.key(0), jnp.ones((4, 8, 3))
    ),
    "probability must lie between 0 and 1, got 1.5": lambda: crops.horizontal_flip(1.5),
    r"must have shape \(height, width, channel\), got shape \(4, 8\)": lambda: (
        crops.horizontal_flip()(jax.random.key(0), jnp.ones((4, 8)))
    ),
    r"got shape \(0, 8, 3\)": lambda: crops.random_resized_crop(4)(
        jax.random.key(0), jnp.ones((0, 8, 3))
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(unchecked, message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


def test_bytes_are_refused_with_the_way_out(unchecked):
    with pytest.raises(
        TypeError, match=r"got dtype uint8; hcl_jax.augmentation.to_unit_floats converts"
    ):
        crops.random_resized_crop(4)(jax.random.key(0), jnp.ones((8, 8, 3), jnp.uint8))
