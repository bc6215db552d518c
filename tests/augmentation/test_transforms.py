"""Shifts, noise, composition and views: the laws that they claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax import augmentation


def test_shift_moves_every_way_equally_often():
    image = jnp.zeros((5, 5, 1)).at[2, 2, 0].set(1.0)
    keys = jax.random.split(jax.random.key(0), 900)
    shifted = jax.vmap(augmentation.random_shift(1), in_axes=(0, None))(keys, image)
    counts = np.asarray(shifted.sum(axis=0))[..., 0]
    assert counts.sum() == 900
    expected = 100.0
    chi_square = ((counts[1:4, 1:4] - expected) ** 2 / expected).sum()
    assert chi_square < 26.1  # the 99.9 % quantile of chi-square with 8 degrees of freedom


def test_views_are_independent_and_of_the_stated_variance():
    images = jnp.zeros((500, 40))
    first, second = augmentation.views(
        jax.random.key(0), images, augmentation.gaussian_noise(0.01), 2
    )
    np.testing.assert_allclose(first.var(), 0.01, rtol=5 * np.sqrt(2 / 20000))
    correlation = np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]
    assert abs(correlation) < 5 / np.sqrt(20000)


def test_compose_gives_each_its_own_key():
    noise = augmentation.gaussian_noise(1.0)
    twice = augmentation.compose(noise, noise)(jax.random.key(0), jnp.zeros(20000))
    np.testing.assert_allclose(twice.var(), 2.0, rtol=5 * np.sqrt(2 / 20000))
    np.testing.assert_array_equal(augmentation.compose()(jax.random.key(0), jnp.ones(2)), 1)


ERRORS = {
    "variance must not be negative": lambda: augmentation.gaussian_noise(-0.1),
    "max_pixels must be at least 1": lambda: augmentation.random_shift(0),
    "num_views must be at least 1": lambda: augmentation.views(
        jax.random.key(0), jnp.ones((2, 3)), augmentation.identity, 0
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()
