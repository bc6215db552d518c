"""Batches with an axis of views, ``(batch, views, dim)``, as rows, all of an image in turn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hcl_jax.validation.arrays import check_array
from hcl_jax.validation.concrete import is_concrete


def without_views_axis(
    embeddings: Float[Array, "n *views dim"], **of_images: Any
) -> tuple[Float[Array, "rows dim"], dict[str, Any]]:
    """One embedding a row, and what is known of images, once for each view; None stays None.

    Embeddings that are rows already are returned as they are, and so is what is known of them.
    """
    check_array("embeddings", embeddings)
    shape = jnp.shape(embeddings)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            "embeddings must have shape (n, dim), or (n, views, dim) for the views of each image, "
            f"with n, views, dim >= 1, got shape {shape}"
        )
    if len(shape) == 2:
        return embeddings, of_images
    batch, views, dim = shape
    repeated = {name: _repeated(name, value, batch, views) for name, value in of_images.items()}
    return jnp.asarray(embeddings).reshape(batch * views, dim), repeated


def _repeated(name: str, value: Any, batch: int, views: int) -> Any:
    """A number of each image, `views` times; concrete numbers stay concrete."""
    if isinstance(value, (dict, tuple)):  # keys of a pair rule
        return jax.tree.map(lambda key: _repeated(name, key, batch, views), value)
    if value is None:
        return None
    check_array(name, value)
    of_several_classes = name == "labels" and jnp.ndim(value) == 2
    if jnp.shape(value)[:1] != (batch,) or (jnp.ndim(value) != 1 and not of_several_classes):
        raise ValueError(
            f"{name} must have shape ({batch},), one for each image of embeddings "
            f"(batch, views, dim), got shape {jnp.shape(value)}"
        )
    if isinstance(value, np.ndarray):  # which may hold integers that JAX does not
        return np.repeat(value, views, axis=0)
    if not is_concrete(value):
        return jnp.repeat(value, views, axis=0)
    with jax.ensure_compile_time_eval():
        return jnp.repeat(value, views, axis=0)
