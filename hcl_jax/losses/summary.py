"""The statistics of a batch, from those of its anchors."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.pair_statistics import LossStatistics, Moments, SimilarityStatistics


def loss_statistics(losses: AnchorLosses, *, axis_name: str | None = None) -> LossStatistics:
    """The statistics of a batch, from losses that were computed with them.

    Args:
        losses: those of the anchors; on several devices, of those of this device.
        axis_name: name of the axis of the devices that share the batch; None for a single device.

    Returns:
        The statistics of the whole batch, the same on every device.

    Raises:
        ValueError: if the losses were computed without statistics.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax import pairs
        >>> from hcl_jax.losses import contrastive_loss
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> everyone = pairs.supervised(pairs.rows(jnp.array([0, 0, 1, 1])))
        >>> found = loss_statistics(contrastive_loss(embeddings, everyone, statistics=True))
        >>> float(found.positives.mean), float(found.negatives.mean), int(found.negatives.pairs)
        (1.0, -1.0, 8)
    """
    if losses.statistics is None:
        raise ValueError("these losses have no statistics; compute them with statistics=True")

    def summed(value: Array) -> Array:
        return value if axis_name is None else lax.psum(value, axis_name)

    def of_batch(part: Moments) -> SimilarityStatistics:
        pairs = summed(part.number)
        least = jnp.maximum(pairs, 1)
        mean = summed(part.number * part.mean) / least
        own = part.deviations + part.number * jnp.square(part.mean - mean)
        return SimilarityStatistics(pairs, mean, summed(own) / least, summed(part.histogram))

    defined = summed(jnp.sum(losses.defined, dtype=jnp.int32))
    effective = summed(jnp.sum(losses.statistics.effective))
    return LossStatistics(
        positives=of_batch(losses.statistics.positives),
        negatives=of_batch(losses.statistics.negatives),
        effective_negatives=effective / jnp.maximum(defined, 1).astype(effective.dtype),
        defined=defined,
        undefined=summed(jnp.sum(~losses.defined, dtype=jnp.int32)),
    )
