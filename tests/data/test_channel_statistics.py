"""Mean and standard deviation of channels against numpy, and the arrays that have none."""

import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax.data import channel_statistics

BYTES = np.random.default_rng(0).integers(0, 256, (300, 5, 4, 3)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 2])
@pytest.mark.parametrize("place", [np.asarray, jnp.asarray])
def test_against_numpy(unchecked, channels, place):
    images = BYTES[..., :channels]
    found = channel_statistics(place(images))
    unit = images / 255.0
    assert len(found.mean) == len(found.std) == channels
    np.testing.assert_allclose(found.mean, unit.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, unit.std(axis=(0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(7, 28, 28), (28,), (), (0, 28, 28, 3), (7, 28, 28, 0)])
def test_other_shapes_are_refused(unchecked, shape):
    """Without the axis of channels the standard deviation was a complex number."""
    with pytest.raises(ValueError, match=r"images must have shape \(n, height, width, channel\)"):
        channel_statistics(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.uint16])
def test_other_dtypes_are_refused(unchecked, dtype):
    with pytest.raises(TypeError, match="images must be uint8, got dtype"):
        channel_statistics(np.zeros((2, 4, 4, 3), dtype))
    with pytest.raises(TypeError, match="images must be a NumPy or JAX array"):
        channel_statistics([[[[1, 2, 3]]]])
