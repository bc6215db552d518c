"""What the theory predicts of the training loss of an experiment."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from hcl_jax.geometry import hucl_optimum, hucl_threshold
from scripts.experiments.experiment import Experiment

GRADIENT = {
    True: "The weights of negatives are detached here, which leads to neural collapse instead.",
    False: "The full gradient, which is followed here, leads near the least.",
}
"""Where training leads, by whether weights are constants to differentiation."""

UNEQUAL = 1.2
"""Classes whose sizes differ by more than this factor are not what the theorems speak of."""


class Prediction(NamedTuple):
    """Levels of the loss, and a sentence on what they are or why there are none.

    Attributes:
        levels: a loss by what has it.
        words: the sentence.
    """

    levels: dict[str, float]
    words: str


def predict(experiment: Experiment, sizes: Sequence[int]) -> Prediction:
    """The least loss in the unit ball by theorem, and that of neural collapse where it is another.

    The loss is that of the experiments: InfoNCE with alpha = q = 1.

    Example:
        >>> scl = Experiment(data="digits", objective="SCL", beta=0.0)
        >>> {name: round(value, 4) for name, value in predict(scl, [100] * 10).levels.items()}
        {'least': 0.2846}
    """
    reason = _why_none(experiment, sizes)
    if reason is not None:
        return Prediction({}, f"No bound is drawn into the loss: {reason}.")
    classes = experiment.defaults.num_classes
    if experiment.is_supervised:
        least = math.log1p(math.exp(-classes / (classes - 1) / experiment.temperature))
        return Prediction({"least": least}, "The least loss is that of neural collapse, Theorem 2.")
    members = None if experiment.reference_conventions else _members(experiment)
    optimum = hucl_optimum(classes, experiment.beta, experiment.temperature, per_class=members)
    batch = "a population" if members is None else f"balanced batches, {members} images of a class"
    if not experiment.is_hard:
        return Prediction(
            {"least": optimum.loss},
            f"The least loss is that of neural collapse in {batch}, Theorem 3; batches drawn at "
            f"random differ a little.",
        )
    threshold = hucl_threshold(classes, experiment.temperature, per_class=members)
    return Prediction(
        {"least": optimum.loss, "neural collapse": _at_collapse(experiment, members)},
        f"The least HUCL of {batch} (docs/hucl_optimum.md) has class means of norm "
        f"{optimum.norm:.3f}; neural collapse is optimal up to a hardness of {threshold:.3f}. "
        f"{GRADIENT[experiment.stop_gradient_hardening]} Batches drawn at random differ.",
    )


def _why_none(experiment: Experiment, sizes: Sequence[int]) -> str | None:
    """Which hypothesis of the theorems an experiment does not have."""
    if experiment.normalization not in ("unit_ball", "unit_sphere"):
        return "embeddings are normalised neither in the unit ball nor on the unit sphere"
    if experiment.defaults.unlabelled or min(sizes) == 0:
        return "there are images without a class"
    if experiment.imbalance > 1 or max(sizes) > UNEQUAL * min(sizes):
        return "the classes are not of equal size"
    if experiment.is_supervised:
        return None
    if experiment.positives == "views":
        return "two views of one image depend on each other, and the bound of UCL is of classes"
    if experiment.num_negatives is not None:
        return "the samples estimator lies below the weights estimator on average"
    if experiment.is_hard and experiment.hardening != "exponential":
        return "the optimum is known for exponential tilting only"
    if not experiment.reference_conventions and _members(experiment) < 2:
        return "a batch has about one image of a class"
    return None


def _members(experiment: Experiment) -> int:
    """Images of a class in a batch, on average."""
    if experiment.per_class is not None:
        return experiment.per_class
    return round(experiment.images_per_step / experiment.defaults.num_classes)


def _at_collapse(experiment: Experiment, members: int | None) -> float:
    """HUCL at neural collapse: the profile at the gap C / (C - 1)."""
    classes = experiment.defaults.num_classes
    others = classes - 1 if members is None else members * (classes - 1) / (members - 1)
    gap = classes / (classes - 1)
    weight = others * math.exp(-experiment.beta * gap)
    return math.log1p((1 + weight * math.exp(-gap / experiment.temperature)) / (1 + weight))
