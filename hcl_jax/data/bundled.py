"""Real images that come with a dependency: handwritten digits."""

import jax.numpy as jnp
import numpy as np

from hcl_jax.data.splits import Dataset, Split


def digits(*, test_fraction: float = 0.25, seed: int = 0) -> Dataset:
    """1797 real handwritten digits of 8 x 8 pixels, from scikit-learn (UCI optical recognition).

    Args:
        test_fraction: share of images held out, the same in every class.
        seed: seed of the random split into training and test images.

    Returns:
        Images (n, 8, 8, 1) in [0, 1], ten classes.

    Raises:
        ValueError: if `test_fraction` is not between 0 and 1.

    Example:
        >>> digits().train.images.shape
        (1347, 8, 8, 1)
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels.astype(np.int32), test_size=test_fraction, random_state=seed, stratify=labels
    )
    return Dataset(
        train=Split(jnp.asarray(train_images), jnp.asarray(train_labels)),
        test=Split(jnp.asarray(test_images), jnp.asarray(test_labels)),
        num_classes=10,
    )
