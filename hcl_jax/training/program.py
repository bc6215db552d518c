"""The static configuration of training: what is fixed when a step is compiled."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hcl_jax.augmentation import Augmentation, identity, to_unit_floats
from hcl_jax.collectives import SINGLE, Collectives
from hcl_jax.conventions import Conventions
from hcl_jax.networks import Model
from hcl_jax.normalization import Normalization, unit_ball
from hcl_jax.validation.numbers import check_count


class ClassBalance(NamedTuple):
    """Batches with as many images of every class that is in them.

    Attributes:
        per_class: images of each of its classes in a batch, which divides the size of the batch.
        num_classes: number of classes C of the data set.
    """

    per_class: int
    num_classes: int


class Program(NamedTuple):
    """The network, and how it is trained.

    Attributes:
        model: the network.
        optimizer: gradient transformation that updates the parameters.
        batch_size: images in a step; the last, incomplete batch of an epoch is dropped.
        normalization: function from projections to embeddings.
        augmentation: makes views of images, whose values are in [0, 1] if they are uint8 at first.
        standardization: applied to images after augmentation, in training and in evaluation;
            None for no standardisation.
        positives: "class" for positives that share the latent class (one view of each image), or
            "views" for two views of each image that are each other's positives (SimCLR).
        conventions: how an objective is computed, see `hcl_jax.Conventions`.
        parts: the network sees a batch in so many parts, to save memory
            (`hcl_jax.training.microbatches`); the loss is that of the whole batch all the same.
        balance: batches are balanced over classes (`hcl_jax.data.class_balanced_batches`); None
            for batches of whatever classes come.
        collectives: one device, or one of several that share the batch, see
            `hcl_jax.collectives`.
    """

    model: Model
    optimizer: optax.GradientTransformation
    batch_size: int
    normalization: Normalization = unit_ball
    augmentation: Augmentation = identity
    standardization: Callable[[Array], Array] | None = None
    positives: Literal["class", "views"] = "class"
    conventions: Conventions = Conventions()
    parts: int = 1
    balance: ClassBalance | None = None
    collectives: Collectives = SINGLE

    def standardized(self, images: Float[Array, "n *image"]) -> Float[Array, "n *image"]:
        """Images (floats in [0, 1], where they are images) as the network takes them."""
        return images if self.standardization is None else self.standardization(images)

    def prepare(self, images: Array) -> Float[Array, "n *image"]:
        """Images of a data set as the network takes them in evaluation."""
        return self.standardized(to_unit_floats(images))


def check_batch(
    batch_size: int, *, num_images: int, num_devices: int, positives: str, parts: int, of: str = ""
) -> None:
    """Raises ValueError unless a batch is one of the images, and can be cut for devices and parts.

    `of` says whose images they are, as " of digits".
    """
    check_count("batch_size", batch_size, minimum=2)
    check_count("parts", parts)
    if batch_size > num_images:
        raise ValueError(f"a batch of {batch_size} is more than all training images{of}")
    if batch_size % num_devices:
        raise ValueError(
            f"a batch of {batch_size} cannot be spread evenly over {num_devices} devices; choose a "
            f"batch size that they divide, or fewer devices"
        )
    images = (2 if positives == "views" else 1) * batch_size // num_devices
    if images % parts:
        raise ValueError(
            f"the {images} images of a batch on one device cannot be cut into {parts} equal parts; "
            f"choose a number of parts that divides them"
        )


def check_pairs(
    labels: Int[np.ndarray, " n"], program: Program, *, supervised: bool, of: str = ""
) -> None:
    """Raises ValueError if no batch of the images could have an anchor to learn from.

    That is one with a positive and a negative that is not this positive: of two images of a class
    alone, the loss of UCL is a constant. `of` is as in `check_batch`.
    """
    sizes = np.unique(labels, return_counts=True)[1]
    if supervised and len(sizes) == 1:
        raise ValueError(f"all training images{of} are of one class, so that none has a negative")
    if program.positives == "views" or program.conventions.self_positives:
        return
    if max(sizes) == 1:
        raise ValueError(
            f"no two training images{of} are of one class, so that none has a positive"
        )
    if program.batch_size < 3:
        raise ValueError(
            f"a batch of {program.batch_size} images has no anchor with a positive of its class "
            f"and another image as a negative: batch_size must be at least 3"
        )
