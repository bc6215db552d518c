"""What the library is given to train an experiment: program, objective and keys."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from hcl_jax.conventions import Conventions, Objective
from hcl_jax.networks import Model
from hcl_jax.training import ClassBalance, Program, traced_objective
from scripts.experiments.datasets import standardization
from scripts.experiments.experiment import Experiment
from scripts.experiments.networks import HEADS, NETWORKS, NetworkInputs
from scripts.experiments.options import HARDENINGS, NORMALIZATIONS, OPTIMIZERS, SCHEDULES, VIEWS
from scripts.experiments.used import views_of


def keys_of(experiment: Experiment) -> Key[Array, " seed"]:
    """The keys that its seeds start from."""
    return jax.vmap(jax.random.key)(np.asarray(experiment.seeds))


def objective_of(experiment: Experiment) -> Objective:
    """The objective of an experiment, as data for the compiled program.

    SCL and UCL are HSCL and HUCL with beta = 0, so that one program trains all of them; another
    one trains all whose temperature is not 1.
    """
    family = HARDENINGS[experiment.hardening if experiment.is_hard else "exponential"]
    numbers = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), family.make(experiment.beta))
    return traced_objective(
        supervised=experiment.is_supervised,
        hardening=numbers,
        temperature=experiment.temperature,
    )


def program_of(
    experiment: Experiment, *, steps_per_epoch: int = 0, axis_name: str | None = None
) -> Program:
    """What is compiled for an experiment; one and the same for all objectives.

    The learning rate's schedule needs `steps_per_epoch`, and batch norm that is synchronised over
    devices the `axis_name` of the devices.
    """
    if experiment.schedule == "constant" and not experiment.warmup_epochs:
        steps_per_epoch = 0
        experiment = dataclasses.replace(experiment, epochs=1)
    same_program = dataclasses.replace(
        experiment,
        objective="HUCL",
        beta=0.0,
        temperature=1.0,
        hardening="exponential",
        initialization="random",
        fit_epochs=Experiment.fit_epochs,
        evaluations=1,
        probes=False,
        seeds=(0,),
    )
    return _program(same_program, steps_per_epoch, axis_name if experiment.synchronized else None)


@functools.cache
def _program(experiment: Experiment, steps_per_epoch: int, axis_name: str | None) -> Program:
    defaults, reference = experiment.defaults, experiment.reference_conventions
    return Program(
        model=_network(experiment, axis_name),
        optimizer=_optimizer(experiment, steps_per_epoch),
        batch_size=experiment.images_per_step,
        normalization=NORMALIZATIONS[experiment.normalization],
        augmentation=VIEWS[views_of(experiment)](defaults.image_shape),
        standardization=standardization(defaults, reference=reference),
        positives=experiment.positives,
        conventions=Conventions(
            self_positives=reference,
            self_negatives=reference,
            stop_gradient_hardening=experiment.stop_gradient_hardening,
            average=experiment.average,
            num_negatives=experiment.num_negatives,
        ),
        parts=experiment.parts,
        balance=_balance(experiment),
    )


def _balance(experiment: Experiment) -> ClassBalance | None:
    if experiment.per_class is None:
        return None
    return ClassBalance(experiment.per_class, experiment.defaults.num_classes)


def _network(experiment: Experiment, axis_name: str | None) -> Model:
    defaults = experiment.defaults
    head = HEADS[experiment.head or defaults.head]
    if head is not None and experiment.reference_conventions:
        head = head._replace(init="uniform")  # PyTorch's
    return NETWORKS[experiment.network or defaults.network](
        NetworkInputs(
            defaults.image_shape,
            defaults.num_classes,
            experiment.embedding_dim,
            head,
            experiment.dtype,
            axis_name,
        )
    )


def _optimizer(experiment: Experiment, steps_per_epoch: int) -> optax.GradientTransformation:
    learning_rate = SCHEDULES[experiment.schedule](
        experiment.learning_rate,
        experiment.warmup_epochs * steps_per_epoch,
        experiment.epochs * steps_per_epoch,
    )
    return OPTIMIZERS[experiment.optimizer](learning_rate, experiment.weight_decay)
