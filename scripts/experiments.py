"""Experiments as values: what is trained, on what, for how long."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import optax

from hcl_jax import augmentation, data, models, normalization
from hcl_jax.augmentation import Augmentation
from hcl_jax.data import Dataset
from hcl_jax.models import Model
from hcl_jax.normalization import Normalization
from hcl_jax.training import Corner, Program, corner
from hcl_jax.validation import check_choice, check_count, check_non_negative, check_positive

Objective = Literal["SCL", "HSCL", "UCL", "HUCL"]
DataName = Literal["grouped", "digits", "triangle"]
NormalizationName = Literal["unit_ball", "unit_sphere", "none"]

NORMALIZATIONS: Mapping[str, Normalization] = {
    "unit_ball": normalization.unit_ball,
    "unit_sphere": normalization.unit_sphere,
    "none": normalization.unnormalized,
}


class Setting(NamedTuple):
    """What goes with a data set: the network, the views, and how embeddings are sized."""

    load: Callable[[], Dataset]
    model: Callable[[], Model]
    augmentation: Augmentation
    dim: int
    batch_size: int


SETTINGS: Mapping[str, Setting] = {
    # 20 Gaussian classes in 4 superclasses; six hidden layers of 256.
    "grouped": Setting(
        load=lambda: data.gaussian_classes(jax.random.key(0)),
        model=lambda: models.mlp(64, 19, depth=6, width=256),
        augmentation=augmentation.gaussian_noise(0.01),
        dim=19,
        batch_size=256,
    ),
    # 1797 real handwritten digits; three convolutions.
    "digits": Setting(
        load=data.digits,
        model=lambda: models.convnet((8, 8, 1), 9, channels=(8, 16, 32)),
        augmentation=augmentation.compose(
            augmentation.random_shift(1), augmentation.gaussian_noise(0.01)
        ),
        dim=9,
        batch_size=128,
    ),
    # Three Gaussian classes in 3072 dimensions, embedded in the plane.
    "triangle": Setting(
        load=lambda: data.three_gaussians(jax.random.key(0)),
        model=lambda: models.mlp(3072, 2, depth=2, width=128),
        augmentation=augmentation.gaussian_noise(0.01),
        dim=2,
        batch_size=150,
    ),
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One objective on one data set, with one or more seeds that train side by side.

    Attributes:
        data: "grouped" (synthetic), "digits" (real) or "triangle" (three classes in the plane).
        objective: which of the four.
        beta: the hardness of HSCL and HUCL; 0 for SCL and UCL.
        normalization: of the projections.
        positives: share the class ("class"), or are views of one image ("views").
        epochs: passes over the training set.
        evaluations: how often the representation is measured, spread over the epochs.
        learning_rate: of Adam.
        seeds: of the initialisation and the order of the batches.
        num_negatives: K of the samples estimator; none for the weights estimator.
        reference_conventions: anchors among their own positives and negatives, as in the authors'
            code.
    """

    data: DataName = "grouped"
    objective: Objective = "HSCL"
    beta: float = 5.0
    normalization: NormalizationName = "unit_ball"
    positives: Literal["class", "views"] = "class"
    epochs: int = 80
    evaluations: int = 10
    learning_rate: float = 1e-3
    seeds: tuple[int, ...] = (0,)
    num_negatives: int | None = None
    reference_conventions: bool = False

    def __post_init__(self):
        check_choice("data", self.data, tuple(SETTINGS))
        check_choice("objective", self.objective, ("SCL", "HSCL", "UCL", "HUCL"))
        check_choice("normalization", self.normalization, tuple(NORMALIZATIONS))
        check_choice("positives", self.positives, ("class", "views"))
        check_non_negative("beta", self.beta)
        if self.objective in ("SCL", "UCL") and self.beta != 0:
            raise ValueError(
                f"{self.objective} has no hard negatives, so beta must be 0, got {self.beta}; "
                f"use H{self.objective}"
            )
        check_count("epochs", self.epochs)
        check_count("evaluations", self.evaluations)
        check_positive("learning_rate", self.learning_rate)
        if self.num_negatives is not None:
            check_count("num_negatives", self.num_negatives)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be different and at least one, got {self.seeds}")

    @property
    def method(self) -> str:
        """The objective and its hardness, as "HSCL 5"."""
        return (
            f"{self.objective} {self.beta:g}" if self.objective.startswith("H") else self.objective
        )

    @property
    def name(self) -> str:
        """A name for the run directory."""
        words = [self.data, self.normalization, *self.method.lower().split()]
        return "-".join([*words, "views"] if self.positives == "views" else words)


def corner_of(experiment: Experiment) -> Corner:
    """The objective of an experiment, as data for the compiled program."""
    return corner(supervised="SCL" in experiment.objective, beta=experiment.beta)


def program_of(experiment: Experiment) -> Program:
    """What is compiled for an experiment; one and the same for all objectives."""
    return _program(
        experiment.data,
        experiment.normalization,
        experiment.positives,
        experiment.learning_rate,
        experiment.num_negatives,
        experiment.reference_conventions,
    )


@functools.cache
def dataset_of(name: str) -> Dataset:
    """The data set of this name, loaded once."""
    return SETTINGS[name].load()


@functools.cache
def _program(name, normalization_name, positives, learning_rate, num_negatives, reference):
    setting = SETTINGS[name]
    return Program(
        model=_model(name),
        optimizer=_adam(learning_rate),
        batch_size=setting.batch_size,
        normalization=NORMALIZATIONS[normalization_name],
        augmentation=setting.augmentation if positives == "views" else augmentation.identity,
        positives=positives,
        self_positives=reference,
        self_negatives=reference,
        num_negatives=num_negatives,
    )


@functools.cache
def _model(name):
    return SETTINGS[name].model()


@functools.cache
def _adam(learning_rate):
    return optax.adam(learning_rate)
