"""Experiments as values: what is trained, on what, for how long."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Literal

import jax
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

from hcl_jax import hardening, normalization
from hcl_jax.conventions import Conventions, Objective
from hcl_jax.networks import Model
from hcl_jax.normalization import Normalization
from hcl_jax.training import Program, traced_objective
from hcl_jax.validation import check_choice, check_count, check_non_negative, check_positive
from scripts.experiments import datasets
from scripts.experiments.datasets import (
    SETTINGS,
    DataName,
    HeadName,
    NetworkName,
    Setting,
    ViewsName,
)

ObjectiveName = Literal["SCL", "HSCL", "UCL", "HUCL"]
NormalizationName = Literal["unit_ball", "unit_sphere", "none"]
HardeningName = Literal["exponential", "relu_power", "threshold", "sigmoid"]

NORMALIZATIONS: Mapping[str, Normalization] = {
    "unit_ball": normalization.unit_ball,
    "unit_sphere": normalization.unit_sphere,
    "none": normalization.unnormalized,
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One objective on one data set, with one or more seeds that train side by side.

    Where a field is none, it is what `scripts.experiments.datasets` has for the data set.

    Attributes:
        data: "grouped" and "triangle" (synthetic), "digits" (real, bundled), or an image data set;
            "stl10_unlabelled" trains on the images of STL-10 without labels.
        objective: which of the four.
        beta: the hardness of HSCL and HUCL; 0 for SCL and UCL. For other hardening functions than
            the exponential: the power, the level of the threshold, the steepness of the sigmoid.
        hardening: how hard negatives weigh.
        normalization: of the projections.
        initialization: "random", or "near_nc": first fitted to the simplex, class by class.
        fit_epochs: passes over the training set to fit it.
        positives: share the class ("class"), or are views of one image ("views").
        views: how views are made; with positives of the class the image is taken as it is.
        network: the encoder.
        head: makes projections of features.
        dim: of the projections; one less than there are classes if none.
        dtype: in which residual networks compute; parameters and loss are float32.
        synchronized: whether batch norm takes its statistics over all devices, not over each.
        epochs: passes over the training set.
        evaluations: how often the representation is measured, spread over the epochs.
        probes: whether uniformity, nearest neighbours and a linear probe are measured too.
        batch_size: images in a step, over all devices.
        parts: the network sees a batch in so many parts, to save memory; the loss is that of the
            whole batch.
        optimizer: "adam" with weight decay added to the gradient, "adamw", or "sgd" with momentum.
        learning_rate: of the optimizer.
        schedule: of the learning rate.
        warmup_epochs: in which the learning rate grows linearly.
        weight_decay: times the parameters.
        seeds: of the initialisation and the order of the batches.
        num_negatives: K of the samples estimator; none for the weights estimator.
        stop_gradient_hardening: whether weights of negatives are constants to differentiation.
        average: over pairs or over anchors.
        reference_conventions: anchors among their own positives and negatives, one set of channel
            statistics for every data set, and a head that starts from PyTorch's uniform law, as in
            the authors' code.
    """

    data: DataName = "grouped"
    objective: ObjectiveName = "HSCL"
    beta: float = 5.0
    hardening: HardeningName = "exponential"
    normalization: NormalizationName = "unit_ball"
    initialization: Literal["random", "near_nc"] = "random"
    fit_epochs: int = 20
    positives: Literal["class", "views"] = "class"
    views: ViewsName | None = None
    network: NetworkName | None = None
    head: HeadName | None = None
    dim: int | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    synchronized: bool = False
    epochs: int = 80
    evaluations: int = 10
    probes: bool = False
    batch_size: int | None = None
    parts: int = 1
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    seeds: tuple[int, ...] = (0,)
    num_negatives: int | None = None
    stop_gradient_hardening: bool = True
    average: Literal["pairs", "anchors"] = "pairs"
    reference_conventions: bool = False

    def __post_init__(self):
        check_choice("data", self.data, tuple(SETTINGS))
        check_choice("objective", self.objective, ("SCL", "HSCL", "UCL", "HUCL"))
        check_choice("normalization", self.normalization, tuple(NORMALIZATIONS))
        check_choice("positives", self.positives, ("class", "views"))
        if self.hardening != "threshold":
            check_non_negative("beta", self.beta)
        if self.objective in ("SCL", "UCL") and self.beta != 0:
            raise ValueError(
                f"{self.objective} has no hard negatives, so beta must be 0, got {self.beta}; "
                f"use H{self.objective}"
            )
        for name in ("epochs", "evaluations", "fit_epochs", "parts"):
            check_count(name, getattr(self, name))
        for name in ("num_negatives", "dim", "batch_size"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_count("warmup_epochs", self.warmup_epochs, minimum=0)
        check_positive("learning_rate", self.learning_rate)
        check_non_negative("weight_decay", self.weight_decay)
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs must be below the {self.epochs} epochs, got {self.warmup_epochs}"
            )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be different and at least one, got {self.seeds}")
        if self.setting.unlabelled:
            self._check_no_label_is_needed()

    def _check_no_label_is_needed(self):
        for name, fitting in (
            ("objective", ("UCL", "HUCL")),
            ("positives", ("views",)),
            ("initialization", ("random",)),
        ):
            check_choice(f"{name} on {self.data}", getattr(self, name), fitting)

    @property
    def setting(self) -> Setting:
        """What goes with the data set."""
        return SETTINGS[self.data]

    @property
    def images_per_step(self) -> int:
        """The batch size."""
        return self.batch_size or self.setting.batch_size

    @property
    def embedding_dim(self) -> int:
        """The dimension of the embeddings."""
        return self.dim or self.setting.num_classes - 1

    @property
    def method(self) -> str:
        """The objective and its hardness, as "HSCL 5" or "HSCL relu_power 5"."""
        if not self.objective.startswith("H"):
            return self.objective
        kind = "" if self.hardening == "exponential" else f"{self.hardening} "
        return f"{self.objective} {kind}{self.beta:g}"

    @property
    def name(self) -> str:
        """A name for the run directory."""
        words = [self.data, self.normalization, *self.method.lower().split()]
        words += ["views"] if self.positives == "views" else []
        words += ["near_nc"] if self.initialization == "near_nc" else []
        return "-".join(words)


def keys_of(experiment: Experiment) -> PRNGKeyArray:
    """The keys (seed,) that its seeds start from."""
    return jax.vmap(jax.random.key)(np.asarray(experiment.seeds))


def objective_of(experiment: Experiment) -> Objective:
    """The objective of an experiment, as data for the compiled program."""
    supervised = "SCL" in experiment.objective
    if not experiment.objective.startswith("H") or experiment.hardening == "exponential":
        return traced_objective(supervised=supervised, beta=experiment.beta)
    functions = {
        "relu_power": lambda power: hardening.relu_power(1.0, power),
        "threshold": hardening.threshold,
        "sigmoid": hardening.sigmoid,
    }
    chosen = functions[experiment.hardening](experiment.beta)
    return traced_objective(supervised=supervised, hardening=chosen)


def program_of(
    experiment: Experiment, *, steps_per_epoch: int = 0, axis_name: str | None = None
) -> Program:
    """What is compiled for an experiment; one and the same for all objectives.

    Args:
        experiment: what is trained.
        steps_per_epoch: for schedules of the learning rate.
        axis_name: of the devices, for batch norm that is synchronised.

    Returns:
        The program.
    """
    if experiment.schedule == "constant" and not experiment.warmup_epochs:
        steps_per_epoch = 0
        experiment = dataclasses.replace(experiment, epochs=1)
    same_program = dataclasses.replace(
        experiment,
        objective="UCL",
        beta=0.0,
        hardening="exponential",
        initialization="random",
        fit_epochs=1,
        evaluations=1,
        probes=False,
        seeds=(0,),
    )
    return _program(same_program, steps_per_epoch, axis_name if experiment.synchronized else None)


@functools.cache
def _program(experiment: Experiment, steps_per_epoch: int, axis_name: str | None) -> Program:
    setting, reference = experiment.setting, experiment.reference_conventions
    two_views = experiment.positives == "views"
    return Program(
        model=model_of(experiment, axis_name),
        optimizer=_optimizer(experiment, steps_per_epoch),
        batch_size=experiment.images_per_step,
        normalization=NORMALIZATIONS[experiment.normalization],
        augmentation=datasets.views(
            setting, experiment.views or (setting.views if two_views else "identity")
        ),
        standardization=datasets.standardization(setting, reference=reference),
        positives=experiment.positives,
        conventions=Conventions(
            self_positives=reference,
            self_negatives=reference,
            stop_gradient_hardening=experiment.stop_gradient_hardening,
            average=experiment.average,
            num_negatives=experiment.num_negatives,
        ),
        parts=experiment.parts,
    )


def model_of(experiment: Experiment, axis_name: str | None = None) -> Model:
    """The network of an experiment."""
    setting = experiment.setting
    return datasets.network(
        setting,
        experiment.embedding_dim,
        name=experiment.network or setting.network,
        head=experiment.head or setting.head,
        reference=experiment.reference_conventions,
        dtype=experiment.dtype,
        axis_name=axis_name,
    )


def _optimizer(experiment: Experiment, steps_per_epoch: int) -> optax.GradientTransformation:
    rate = _learning_rate(experiment, steps_per_epoch)
    decay = experiment.weight_decay
    if experiment.optimizer == "adamw":
        return optax.adamw(rate, weight_decay=decay)
    added = [optax.add_decayed_weights(decay)] if decay else []
    plain = optax.adam(rate) if experiment.optimizer == "adam" else optax.sgd(rate, momentum=0.9)
    return optax.chain(*added, plain) if added else plain


def _learning_rate(experiment: Experiment, steps_per_epoch: int) -> optax.ScalarOrSchedule:
    peak = experiment.learning_rate
    warmup = experiment.warmup_epochs * steps_per_epoch
    total = experiment.epochs * steps_per_epoch
    if experiment.schedule == "cosine":
        start = 0.0 if warmup else peak
        return optax.warmup_cosine_decay_schedule(start, peak, warmup, total)
    if warmup:
        return optax.linear_schedule(0.0, peak, warmup)
    return peak
