"""Colours and blur against torchvision's definitions: exactly where drawn, in law where random."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import naive_views as naive
from scipy import stats

from hcl_jax.augmentation import blurring, colors

DRAWS = 24000
# A correct sampler fails a test of this level once in 10,000 seeds; the wrong ones are far beyond.
LEVEL = 1e-4
ORDERS = np.array(list(itertools.permutations(range(4))))


def image_of(channels=3):
    """Random pixels, and the corners of the colour cube, where hue and clipping have edges."""
    pixels = np.random.default_rng(0).uniform(size=(6, 7, channels))
    pixels[0] = np.linspace(0, 1, 7)[:, None]  # gray, from black to white
    if channels == 3:
        corners = list(itertools.product((0.0, 1.0), repeat=3))
        pixels[1] = corners[:7]
        pixels[2] = 0.5 * np.array(corners[1:])
        pixels[3, :, 1] = pixels[3, :, 0]  # two equal channels
    return pixels.astype(np.float32)


@functools.lru_cache
def jitter_all_orders():
    return jax.jit(jax.vmap(colors.jitter, in_axes=(None, colors.Jitter(0, 0))))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strong", [False, True])
def test_jitter_is_torchvisions_in_every_order(channels, strong):
    image, generator = image_of(channels), np.random.default_rng(int(strong))
    spread = np.array([1.0, 1.0, 1.0, 0.5]) if strong else np.array([0.4, 0.4, 0.4, 0.1])
    factors = np.array([1, 1, 1, 0]) + spread * generator.uniform(-1, 1, (24, 4))
    drawn = colors.Jitter(jnp.asarray(factors, jnp.float32), jnp.asarray(ORDERS, jnp.int32))
    found = np.asarray(jitter_all_orders()(jnp.asarray(image), drawn))
    for i, order in enumerate(ORDERS):
        expected = naive.jitter(image, factors[i], order)
        np.testing.assert_allclose(found[i], expected, atol=1e-5, err_msg=str(order))


def test_the_order_matters_to_that_test():
    """The control: with the order reversed most images differ by far more than its tolerance."""
    factors = np.array([1.6, 0.5, 1.7, 0.3])
    differences = [
        abs(naive.jitter(image_of(), factors, o) - naive.jitter(image_of(), factors, o[::-1])).max()
        for o in ORDERS
    ]
    assert min(differences) > 0.01


@pytest.mark.parametrize("change", range(4))
def test_one_change_alone(change):
    """Against each formula by itself, the other factors being neutral."""
    image = image_of()
    factors = np.array([1.0, 1.0, 1.0, 0.0])
    factors[change] = -0.37 if change == colors.HUE else 1.7
    drawn = colors.Jitter(jnp.asarray(factors, jnp.float32), jnp.arange(4))
    alone = (naive.brightness, naive.contrast, naive.saturation, naive.hue)[change]
    expected = alone(image.astype(np.float64), factors[change])
    np.testing.assert_allclose(colors.jitter(jnp.asarray(image), drawn), expected, atol=1e-5)


@functools.lru_cache
def draws(**strengths):
    keys = jax.random.split(jax.random.key(5), DRAWS)
    draw = functools.partial(colors.draw_jitter, **strengths)
    return [np.asarray(part) for part in jax.jit(jax.vmap(draw))(keys)]


STRENGTHS = {"brightness": 0.4, "contrast": 1.5, "saturation": 0.8, "hue": 0.1}
RANGES = [(0.6, 1.4), (0.0, 2.5), (0.2, 1.8), (-0.1, 0.1)]


@pytest.mark.parametrize("change", range(4))
def test_factors_are_uniform_in_torchvisions_ranges(change):
    factors = draws(**STRENGTHS)[0][:, change]
    low, high = RANGES[change]
    assert stats.kstest(factors, stats.uniform(low, high - low).cdf).pvalue > LEVEL
    wrong = stats.uniform(low - 0.02 * (high - low), high - low)
    assert stats.kstest(factors, wrong.cdf).pvalue < LEVEL / 100


def order_p_value(orders):
    codes = orders @ [64, 16, 4, 1]
    return stats.chisquare([(codes == code).sum() for code in ORDERS @ [64, 16, 4, 1]]).pvalue


def test_all_orders_are_equally_frequent():
    orders = draws(**STRENGTHS)[1]
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(range(4), (DRAWS, 4)))
    assert order_p_value(orders) > LEVEL


def test_a_careless_shuffle_is_rejected():
    """The control: exchanging each entry with any other gives 4^4 outcomes, no multiple of 4!."""
    generator = np.random.default_rng(0)
    orders = np.tile(np.arange(4), (DRAWS, 1))
    everyone = np.arange(DRAWS)
    for place in range(4):
        other = generator.integers(0, 4, DRAWS)
        orders[everyone, place], orders[everyone, other] = (
            orders[everyone, other],
            orders[everyone, place].copy(),
        )
    assert order_p_value(orders) < LEVEL / 100


def test_factors_and_order_are_independent():
    factors, orders = draws(**STRENGTHS)
    columns = np.column_stack([factors, np.argsort(orders, axis=1)[:, :3]])
    correlations = np.corrcoef(columns.T)
    between = abs(correlations[:4]) - np.eye(4, 7)
    assert between.max() < 5 / np.sqrt(DRAWS)


@pytest.mark.parametrize(
    ("augmentation", "probability"),
    [
        (colors.color_jitter(probability=0.8), 0.8),
        (colors.grayscale(0.2), 0.2),
        (blurring.gaussian_blur(3, probability=0.5), 0.5),
    ],
    ids=["jitter", "grayscale", "blur"],
)
def test_changes_are_as_frequent_as_told(augmentation, probability):
    image = jnp.asarray(image_of())
    keys = jax.random.split(jax.random.key(2), 5000)
    found = jax.jit(jax.vmap(augmentation, in_axes=(0, None)))(keys, image)
    changed = int((found != image).any(axis=(1, 2, 3)).sum())
    assert stats.binomtest(changed, 5000, probability).pvalue > LEVEL
    assert stats.binomtest(changed, 5000, probability + 0.05).pvalue < LEVEL


def test_grayscale_has_torchvisions_weights():
    image = image_of()
    found = colors.grayscale(1.0)(jax.random.key(0), jnp.asarray(image))
    np.testing.assert_allclose(found, naive.gray(image), atol=1e-6)
    one = image_of(1)
    np.testing.assert_array_equal(colors.to_grayscale(jnp.asarray(one)), one)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 11])
@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_torchvisions(kernel_size, sigma):
    image = image_of()
    found = blurring.blur(jnp.asarray(image), jnp.float32(sigma), kernel_size)
    np.testing.assert_allclose(found, naive.blur(image, sigma, kernel_size), atol=1e-5)


def test_the_width_of_the_blur_is_uniform():
    """Read off the image of one white pixel: the middle weight of the kernel tells sigma."""
    image = jnp.zeros((11, 11, 1)).at[5, 5].set(1.0)
    keys = jax.random.split(jax.random.key(8), 4000)
    augmentation = blurring.gaussian_blur(11, sigma=(0.5, 2.0))
    found = np.asarray(jax.jit(jax.vmap(augmentation, in_axes=(0, None)))(keys, image))
    ratio = found[:, 5, 6, 0] / found[:, 5, 5, 0]  # exp(-1 / (2 sigma^2))
    sigma = np.sqrt(-1 / (2 * np.log(ratio.astype(np.float64))))
    assert stats.kstest(sigma, stats.uniform(0.5, 1.5).cdf).pvalue > LEVEL
    assert stats.kstest(sigma, stats.uniform(0.45, 1.5).cdf).pvalue < LEVEL


ERRORS = {
    "brightness must not be negative, got -0.1": lambda: colors.color_jitter(-0.1),
    "contrast must not be negative": lambda: colors.color_jitter(contrast=-1.0),
    "saturation must not be negative": lambda: colors.color_jitter(saturation=-1.0),
    "hue must lie between 0 and 0.5 turns, got 0.6": lambda: colors.color_jitter(hue=0.6),
    "probability must lie between 0 and 1, got 2": lambda: colors.color_jitter(probability=2.0),
    "1 or 3 channels here, got shape": lambda: colors.grayscale()(
        jax.random.key(0), jnp.ones((4, 4, 2))
    ),
    r"1 or 3 channels here, got shape \(4, 4, 4\)": lambda: colors.color_jitter()(
        jax.random.key(0), jnp.ones((4, 4, 4))
    ),
    "kernel_size must be odd, got 4": lambda: blurring.gaussian_blur(4),
    "kernel_size must be at least 1": lambda: blurring.gaussian_blur(0),
    r"sigma must be \(low, high\) with 0 < low <= high": lambda: blurring.gaussian_blur(
        3, sigma=(0.0, 1.0)
    ),
    "needs an image of at least 3 x 3, got shape": lambda: blurring.blur(
        jnp.ones((2, 9, 1)), jnp.float32(1.0), 5
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()
