"""What is fixed when training is compiled."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import optax
from jaxtyping import Array, Float

from hcl_jax.augmentation import Augmentation, identity, to_unit_floats
from hcl_jax.losses import Average
from hcl_jax.networks import Model
from hcl_jax.normalization import Normalization, unit_ball
from hcl_jax.parallel import ALONE, Placement
from hcl_jax.psi import Psi


class Program(NamedTuple):
    """The network, and how it is trained.

    Attributes:
        model: the network.
        optimizer: of the parameters.
        batch_size: images in a step; the last, incomplete batch of an epoch is dropped.
        normalization: of the projections.
        augmentation: makes views of images, whose values are in [0, 1] if they are uint8 at first.
        standardization: of images, after augmentation, in training and evaluation; None is none.
        positives: "class" for positives that share the latent class (one view of each image), or
            "views" for two views of each image that are each other's positives (SimCLR).
        self_positives: as in `hcl_jax.objectives.Options`.
        self_negatives: likewise.
        stop_gradient_hardening: likewise.
        average: likewise.
        psi: likewise; None is InfoNCE.
        num_negatives: likewise; None is the weights estimator.
        parts: the network sees a batch in so many parts, to save memory
            (`hcl_jax.training.microbatches`); the loss is that of the whole batch all the same.
        placement: one device, or one of several that share the batch (`hcl_jax.parallel.across`).
    """

    model: Model
    optimizer: optax.GradientTransformation
    batch_size: int
    normalization: Normalization = unit_ball
    augmentation: Augmentation = identity
    standardization: Callable[[Array], Array] | None = None
    positives: Literal["class", "views"] = "class"
    self_positives: bool = False
    self_negatives: bool = False
    stop_gradient_hardening: bool = True
    average: Average = "pairs"
    psi: Psi | None = None
    num_negatives: int | None = None
    parts: int = 1
    placement: Placement = ALONE

    def standardized(self, images: Float[Array, "n *image"]) -> Float[Array, "n *image"]:
        """Images (floats in [0, 1], where they are images) as the network takes them."""
        return images if self.standardization is None else self.standardization(images)

    def prepare(self, images: Array) -> Float[Array, "n *image"]:
        """Images of a data set as the network takes them in evaluation."""
        return self.standardized(to_unit_floats(images))
