"""The networks and batches that `scripts.benchmark_training` times, each called a case."""

import re
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray, UInt8

from hcl_jax.data import CIFAR100, FASHION_MNIST, ChannelStatistics
from scripts.runs.exit_status import RefusedError

Network = Literal["mlp", "convnet", "resnet18", "resnet50"]
Images = Float[np.ndarray, "n dim"] | UInt8[np.ndarray, "n height width channel"]

SMALL_STEPS = 10
"""Steps of an epoch of a small network."""


class Recipe(NamedTuple):
    """What every contender of a case trains.

    Attributes:
        network: encoder: that of the synthetic classes, that of small gray images, or a residual
            network with the stem for small images and the paper's head.
        batch: images in a step.
        image_shape: shape of an image, or the length of a vector.
        classes: number of classes, one more than the embeddings have dimensions.
        steps: steps of an epoch.
        width: channels of the stem of a residual network.
        beta: hardness.
        draws: K of the sampled estimator.
        key: key that draws the weights.
    """

    network: Network
    batch: int
    image_shape: tuple[int, ...]
    classes: int
    steps: int
    width: int
    beta: float
    draws: int
    key: PRNGKeyArray

    @property
    def name(self) -> str:
        """The name of the case, by which it is asked for."""
        return f"{self.network}-{self.batch}"

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return self.classes - 1

    @property
    def is_residual(self) -> bool:
        """Whether the network is a residual one, which has a dtype to compute in."""
        return self.network.startswith("resnet")

    @property
    def depth(self) -> Literal[18, 50]:
        """The depth of a residual network."""
        return 18 if self.network == "resnet18" else 50

    @property
    def statistics(self) -> ChannelStatistics | None:
        """What images are standardised with; None for vectors."""
        known = {"mlp": None, "convnet": FASHION_MNIST.spec.statistics}
        return known.get(self.network, CIFAR100.statistics)


def recipe_of(case: str, settings: Any) -> Recipe:
    """The recipe of a case by its name, as "resnet18-32": the network and the images in a step.

    The settings have `side`, `width`, `classes` and `steps` of residual networks, `beta`, `draws`.

    Raises:
        RefusedError: if there is no such network, or a step has fewer than two images.
    """
    found = re.fullmatch(r"(\w+)-(\d{1,6})", case)
    networks = get_args(Network)
    if found is None or found[1] not in networks or int(found[2]) < 2:
        raise RefusedError(
            f"a case is one of {', '.join(networks)} and the images in a step, at least 2, as "
            f"resnet18-32, got {case!r}"
        )
    shape, classes, steps = {
        "mlp": ((64,), 20, SMALL_STEPS),
        "convnet": ((28, 28, 1), 10, SMALL_STEPS),
    }.get(found[1], ((settings.side, settings.side, 3), settings.classes, settings.steps))
    key = jax.random.key(0)
    return Recipe(
        found[1],  # pyright: ignore[reportArgumentType]
        int(found[2]),
        shape,
        classes,
        steps,
        settings.width,
        settings.beta,
        settings.draws,
        key,
    )


def epoch_of(recipe: Recipe) -> tuple[Images, Int[np.ndarray, " n"]]:
    """An epoch of random images, in batches of the same labels, each at least twice if it can be.

    Vectors are normal, and images bytes.
    """
    generator = np.random.default_rng(0)
    shape = (recipe.steps * recipe.batch, *recipe.image_shape)
    if recipe.statistics is None:
        images = generator.normal(size=shape).astype(np.float32)
    else:
        images = generator.integers(0, 256, shape, np.uint8)
    labels = np.arange(recipe.batch) % min(recipe.classes, recipe.batch // 2)
    return images, np.tile(labels, recipe.steps).astype(np.int32)
