"""Pipelines of augmentations: SimCLR's, dtypes, keys, edges; and pixel values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from hcl_jax import augmentation
from hcl_jax.augmentation import blurring, colors, crops, pixels, simclr


def batch_of(batch=4, side=32, channels=3):
    values = np.random.default_rng(0).uniform(size=(batch, side, side, channels))
    return jnp.asarray(values, jnp.float32)


@functools.lru_cache
def compiled(blurred=True):
    pipeline = simclr(32, blur=blurred)
    return jax.jit(functools.partial(augmentation.views, augmentation=pipeline, num_views=2))


def test_same_key_same_bits_and_another_key_other_bits():
    images = batch_of()
    first, again = (compiled()(jax.random.key(3), images) for _ in range(2))
    other = compiled()(jax.random.key(4), images)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(2, 3, 4)).all()


def test_every_view_of_every_image_has_its_own_randomness():
    same = jnp.broadcast_to(batch_of(1), (4, 32, 32, 3))
    found = np.asarray(compiled()(jax.random.key(0), same)).reshape(8, -1)
    assert len(np.unique(found, axis=0)) == 8


def test_an_image_does_not_see_its_neighbours():
    images = batch_of()
    changed = images.at[1:].set(0.3)
    found = [compiled()(jax.random.key(0), x)[:, 0] for x in (images, changed)]
    np.testing.assert_array_equal(*found)


def test_simclr_is_its_five_steps_in_order():
    image = batch_of(1, 20)[0]
    steps = [
        crops.random_resized_crop(20, scale=(0.08, 1.0)),
        crops.horizontal_flip(0.5),
        colors.color_jitter(0.8, 0.8, 0.8, 0.2, probability=0.8),
        colors.grayscale(0.2),
        blurring.gaussian_blur(3, sigma=(0.1, 2.0), probability=0.5),
    ]

    def by_hand(key, image):
        for part, step in zip(jax.random.split(key, 5), steps, strict=True):
            image = step(part, image)
        return image

    pipeline = simclr(20, strength=1.0, scale=(0.08, 1.0), blur=True)
    keys = jax.random.split(jax.random.key(6), 32)
    found, expected = (
        jax.jit(jax.vmap(f, in_axes=(0, None)))(keys, image) for f in (pipeline, by_hand)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("blurred", [False, True])
@pytest.mark.parametrize("value", ["random", 0.0, 1.0])
def test_views_stay_in_the_unit_interval(blurred, value):
    images = batch_of() if value == "random" else jnp.full((4, 32, 32, 3), value, jnp.float32)
    found = np.asarray(compiled(blurred)(jax.random.key(0), images))
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


def test_gates_of_one_pipeline_are_independent():
    image = batch_of(1, 4)[0]
    pipeline = augmentation.compose(crops.horizontal_flip(0.5), colors.grayscale(0.5))
    keys = jax.random.split(jax.random.key(0), 4000)
    found = np.asarray(jax.jit(jax.vmap(pipeline, in_axes=(0, None)))(keys, image))
    outcomes = []
    for flipped in (image, image[:, ::-1]):
        for result in (flipped, colors.to_grayscale(flipped)):
            outcomes.append(np.isclose(found, result, atol=1e-6).all(axis=(1, 2, 3)).sum())
    assert sum(outcomes) == 4000
    assert stats.chisquare(outcomes).pvalue > 1e-4


EVERYTHING = {
    "crop": crops.random_resized_crop(8),
    "padded crop": crops.random_crop(8, padding=2),
    "flip": crops.horizontal_flip(0.5),
    "jitter": colors.color_jitter(),
    "grayscale": colors.grayscale(0.5),
    "blur": blurring.gaussian_blur(3),
    "simclr": simclr(8, blur=True),
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_bfloat16_stays_bfloat16(name):
    """The arithmetic is float32: results are those of a float32 image, rounded once a step."""
    image = batch_of(1, 8)[0].astype(jnp.bfloat16)
    found = EVERYTHING[name](jax.random.key(0), image)
    assert found.dtype == jnp.bfloat16
    exact = EVERYTHING[name](jax.random.key(0), image.astype(jnp.float32))
    # One rounding for a single step; simclr has five, and its jitter can double each error twice.
    bound = 2**-9 if name != "simclr" else 16 * 2**-9
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=bound)


@pytest.mark.parametrize("name", [n for n in EVERYTHING if n not in ("blur", "simclr")])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_pixel_is_an_image(name, channels):
    image = jnp.full((1, 1, channels), 0.25)
    one = {**EVERYTHING, "padded crop": crops.random_crop(1, padding=0)}[name]
    found = np.asarray(jax.jit(one)(jax.random.key(0), image))
    assert found.shape == ((8, 8, channels) if name == "crop" else (1, 1, channels))
    assert np.isfinite(found).all()
    if name in ("crop", "padded crop", "flip"):
        np.testing.assert_allclose(found, 0.25, rtol=1e-6)


def test_gray_images_keep_one_channel():
    found = jax.jit(simclr(16))(jax.random.key(0), batch_of(1, 8, 1)[0])
    assert found.shape == (16, 16, 1)


def test_a_traced_probability_out_of_range_makes_images_of_nan():
    @jax.jit
    def apply(probability):
        return augmentation.sometimes(augmentation.gaussian_noise(1.0), probability)(
            jax.random.key(0), jnp.ones((3, 3, 1))
        )

    for probability in (-0.1, 1.1, jnp.nan):
        assert np.isnan(apply(probability)).all()
    np.testing.assert_array_equal(apply(0.0), 1)
    assert not np.any(np.asarray(apply(1.0)) == 1)


@pytest.mark.usefixtures("unchecked")
def test_sometimes_keeps_the_dtype_of_bytes():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    flip = augmentation.sometimes(lambda key, image: image[:, ::-1], 1.0)
    found = flip(jax.random.key(0), pixels)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels[:, ::-1])


def test_sometimes_needs_one_shape():
    changing = augmentation.sometimes(crops.random_resized_crop(4), 0.5)
    with pytest.raises(ValueError, match=r"keep the shape of the image, got \(4, 4, 3\) from \(8"):
        changing(jax.random.key(0), jnp.ones((8, 8, 3)))


def test_simclr_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"strength must be at most 2.5, got 3"):
        simclr(32, strength=3.0)
    with pytest.raises(ValueError, match="strength must not be negative"):
        simclr(32, strength=-1.0)
    with pytest.raises(ValueError, match="size must be at least 1"):
        simclr(0)


def test_bytes_become_unit_floats_and_floats_stay():
    values = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    found = pixels.to_unit_floats(jnp.asarray(values))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, values / 255.0, rtol=1e-6)
    assert found.max() == 1
    for dtype in (jnp.float32, jnp.bfloat16):
        images = batch_of().astype(dtype)
        assert pixels.to_unit_floats(images) is images
    vectors = 100 * jnp.ones((2, 3))
    assert pixels.to_unit_floats(vectors) is vectors
    with pytest.raises(TypeError, match="must be uint8 or floating point, got dtype int32"):
        pixels.to_unit_floats(jnp.ones((2, 2), jnp.int32))


def test_standardized_channels_are_as_by_hand():
    images = batch_of(5, 6)
    mean, std = (0.4914, 0.4822, 0.4465), np.array([0.2023, 0.1994, 0.2010])
    found = pixels.standardize(images, mean, std)
    expected = np.stack([(np.asarray(images)[..., c] - mean[c]) / std[c] for c in range(3)], -1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    own = np.asarray(images, np.float64)
    white = pixels.standardize(images, own.mean((0, 1, 2)), own.std((0, 1, 2)))
    np.testing.assert_allclose(np.mean(white, axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(white, axis=(0, 1, 2)), 1, atol=1e-5)
    half = images.astype(jnp.bfloat16)
    assert pixels.standardize(half, mean, std).dtype == jnp.bfloat16


ERRORS = {
    "mean must have one number for each of 3 channels": ((0.5,), (1.0, 1.0, 1.0)),
    "std must have one number for each of 3 channels": ((0.5, 0.5, 0.5), (1.0,)),
    "std must be positive": ((0.5, 0.5, 0.5), (1.0, 0.0, 1.0)),
    "mean must be finite": ((0.5, np.nan, 0.5), (1.0, 1.0, 1.0)),
}


@pytest.mark.parametrize("message", ERRORS)
def test_standardize_refuses(message):
    with pytest.raises(ValueError, match=message):
        pixels.standardize(batch_of(), *ERRORS[message])


def test_bytes_are_not_standardized(unchecked):
    with pytest.raises(TypeError, match="must be floating point, got dtype uint8"):
        pixels.standardize(jnp.ones((2, 3), jnp.uint8), (0.5,) * 3, (1.0,) * 3)


OF_IMAGES = {**EVERYTHING, "shift": augmentation.random_shift(1)}


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("mapped", [False, True])
def test_images_outside_the_unit_interval_are_refused(name, mapped):
    """Also where `views` maps over them; what interpolation rounds is no fault."""

    def apply(image):
        if mapped:
            return augmentation.views(jax.random.key(0), image[None], OF_IMAGES[name], 2)
        return OF_IMAGES[name](jax.random.key(0), image)

    image = batch_of(1, 8)[0].at[0, 0, 0].set(1.0)
    with pytest.raises(
        ValueError, match=r"an image must lie in \[0, 1\], got values from .* to 255; .*by 255"
    ):
        apply(255 * image)
    with pytest.raises(ValueError, match=r"\[0, 1\], got values from -0.01 to 1;"):
        apply(image.at[1, 1, 1].set(-0.01))
    for bad in (jnp.nan, jnp.inf):
        with pytest.raises(ValueError, match="an image must be finite"):
            apply(image.at[1, 1, 1].set(bad))
    if name == "flip":
        apply(image.at[0, 0, 0].set(1 + 1e-6))


def test_traced_images_are_not_looked_at():
    image = 255 * batch_of(1, 8)[0]
    assert jax.jit(colors.color_jitter())(jax.random.key(0), image).shape == image.shape


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, np.float64])
def test_bytes_stored_as_floats_are_not_unit_floats(unchecked, dtype):
    images = np.asarray(255 * batch_of(2, 4)).astype(dtype)
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\], .*divide bytes"):
        pixels.to_unit_floats(images)
    with pytest.raises(ValueError, match="images must be finite"):
        pixels.to_unit_floats(images * np.nan)


def test_standardize_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="images must be finite"):
        pixels.standardize(batch_of().at[0, 0, 0, 0].set(jnp.nan), (0.5,) * 3, (1.0,) * 3)
