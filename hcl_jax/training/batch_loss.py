"""Views and pairs of a batch before the network, losses after it."""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax import pairs as pairing
from hcl_jax.augmentation import to_unit_floats, views
from hcl_jax.data import Split
from hcl_jax.dispatch import batch_losses
from hcl_jax.losses import AnchorLosses
from hcl_jax.pairs import Rows
from hcl_jax.training.program import Program
from hcl_jax.training.targets import ClassTargets, Target, class_target_losses
from hcl_jax.validation.options import check_choice


def rows_of_views(
    key: PRNGKeyArray, batch: Split, program: Program
) -> tuple[Float[Array, "n *image"], Rows]:
    """The views of a batch as the network takes them, and what tells pairs among them.

    Args:
        key: randomness of the views.
        batch: images and labels; on several devices, those of this device.
        program: supplies the augmentation, the standardisation and the kind of positives.

    Returns:
        Images, and a row for each; views of one image are a batch apart.

    Raises:
        ValueError: if the program has another kind of positives, or conventions for rows without
            a label, of which there are none.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> model = mlp(4, 2, depth=1, width=8)
        >>> program = Program(model, optax.adam(1e-3), batch_size=2, positives="views")
        >>> batch = Split(jax.numpy.ones((2, 4)), jax.numpy.array([3, 5]))
        >>> images, rows = rows_of_views(jax.random.key(0), batch, program)
        >>> images.shape, rows.label.tolist(), rows.group.tolist()
        ((4, 4), [3, 5, 3, 5], [0, 1, 0, 1])
    """
    check_choice("positives", program.positives, ("class", "views"))
    if program.conventions.ignored_negatives:
        raise ValueError(
            "ignored_negatives=True is about rows without a label, and every image in training has "
            "one"
        )
    size = len(batch.labels)
    first = program.collectives.index() * size
    num_views = 2 if program.positives == "views" else 1
    images = views(key, to_unit_floats(batch.images), program.augmentation, num_views, first=first)
    images = program.standardized(images.reshape(-1, *images.shape[2:]))
    labels = jnp.tile(batch.labels, num_views)
    indices = jnp.tile(jnp.arange(size, dtype=jnp.int32) + first, num_views)
    groups = indices if program.positives == "views" else None
    return images, pairing.rows(labels, groups=groups, first=num_views * first)


def target_losses(
    key: PRNGKeyArray,
    embeddings: Float[Array, "n dim"],
    rows: Rows,
    target: Target,
    program: Program,
) -> AnchorLosses:
    """The losses of a batch, before they are averaged.

    Args:
        key: randomness of the negatives, where the conventions ask for samples.
        embeddings: embeddings of the views; on several devices, of those of this device.
        rows: what pairs the views, see `rows_of_views`.
        target: what is minimised.
        program: supplies the conventions.

    Returns:
        A loss for each view.

    Example:
        >>> import jax, optax
        >>> from hcl_jax import hucl, pairs
        >>> from hcl_jax.losses import average_loss
        >>> from hcl_jax.networks import mlp
        >>> from hcl_jax.training.targets import traced_objective
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=4)
        >>> z, labels = jax.numpy.eye(4), jax.numpy.array([0, 0, 1, 1])
        >>> target, key = traced_objective(supervised=False, beta=2.0), jax.random.key(0)
        >>> losses = target_losses(key, z, pairs.rows(labels), target, program)
        >>> bool(jax.numpy.allclose(average_loss(losses), hucl(z, labels, beta=2.0)))
        True
    """
    if isinstance(target, ClassTargets):
        return class_target_losses(embeddings, rows.label, target)
    conventions = program.conventions
    return batch_losses(
        embeddings,
        rows,
        target,
        conventions,
        key=None if conventions.num_negatives is None else key,
        collectives=program.collectives,
    )
