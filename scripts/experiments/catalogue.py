"""Every experiment by name: those of the paper, and the small ones that run anywhere.

A name is the data set and the method, and what differs from the paper's main setting (unit ball,
random initialisation, batches of 512, all of them without views):

    cifar100-hscl5                  HSCL with hardness 5 on CIFAR-100
    cifar10-hucl30-unit_sphere      on the unit sphere; also `-none`
    cifar100-hscl5-near_nc          from a network fitted to the simplex; after the normalisation
    tiny_imagenet-scl-batch2048     in larger batches; also `-batch256`
    cifar100-hscl-relu_power5       another hardening function
    cifar100-hscl5-reference        as the authors' code: 256 draws, self-pairs, per-device norms
    cifar100-hucl5-simclr           two views of an image as positives
    stl10_unlabelled-ucl-simclr     trained on images without labels, evaluated on those with
    fashion_mnist-hscl5             on small gray photographs, with a small network
    fashion_mnist-scl-lr0.003       with another learning rate, or `-batch2048`
    fashion_mnist-scl-resnet18      with a residual network, for longer, on a GPU
    emnist_balanced-hscl5           on letters and digits; on house numbers `svhn-hscl5`
    digits-hucl10, grouped-scl      on bundled and synthetic data
    hscl5                           the method alone, for data that are named by an option

Hardening functions other than the exponential are those of this library; which ones the paper
studied is not known to us in detail. A new experiment is one more name in a study below, or one
more study in `STUDIES`.
"""

import dataclasses
import difflib
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hcl_jax.data import EMNIST
from scripts.experiments.datasets import DATA_DIR, DataName, load_dataset
from scripts.experiments.experiment import Experiment
from scripts.experiments.options import HardeningName, NormalizationName, ObjectiveName
from scripts.experiments.own_data import found_in
from scripts.experiments.paper import METHODS, PAPER_SETS, Method, paper_experiment

Named = Iterator[tuple[str, Experiment]]

COMPARED_NORMALIZATIONS: tuple[NormalizationName, ...] = ("unit_ball", "unit_sphere", "none")
"""Those under which every method is trained on the paper's data sets and on small gray images."""

SMALL_SETS: Mapping[DataName, Mapping[str, Any]] = {
    "grouped": {"epochs": 50},
    "grouped100": {"epochs": 80},
    "digits": {"epochs": 60, "learning_rate": 3e-3},
    "triangle": {"epochs": 100},
}
"""The data sets that need no preparation, and how long and with what rate they are trained."""

GRAY_SETS: Mapping[DataName, Mapping[str, Any]] = {
    data: {"epochs": 20, "evaluations": 20, "probes": True}
    for data in ("fashion_mnist", "mnist", "kmnist")
}
"""Small real images, with a network that two cores train, and how they are trained."""

EMNIST_SETS: Mapping[DataName, Mapping[str, Any]] = {
    f"emnist_{split}": {"epochs": 20, "evaluations": 20, "probes": True} for split in EMNIST
}
"""More of them, with more images and classes, on which the methods have names."""

LEARNING_RATES = (3e-4, 3e-3)
BATCH_SIZES = (256, 2048)
"""Beside 0.001 and 512."""

HARDENING_STUDY: Mapping[HardeningName, tuple[float, ...]] = {
    "relu_power": (2.0, 5.0, 10.0, 30.0),
    "threshold": (-0.5, 0.0, 0.5),
    "sigmoid": (5.0, 10.0, 30.0),
}


LONGEST_NAME = 200
"""Characters in the name of a run directory; file systems take up to 255."""


class UnknownExperimentError(ValueError):
    """A name that is not in the catalogue."""


@functools.cache
def catalogue() -> Mapping[str, Experiment]:
    """All named experiments, in order.

    Example:
        >>> catalogue()["cifar100-hscl5"].beta
        5.0
    """
    return dict(itertools.chain.from_iterable(study() for study in STUDIES))


METHODS_ALONE: Mapping[str, Experiment] = {
    method.word: Experiment(objective=method.objective, beta=method.beta) for method in METHODS
}
"""The methods with the settings that an experiment has where nothing is said."""


def find_experiment(name: str, *, with_data: bool = False) -> Experiment:
    """The experiment of a name; an unknown name is refused with names that are like it.

    Where data are given beside the name, most likely a method was meant.
    """
    known = {**catalogue(), **(METHODS_ALONE if with_data else {})}
    if name in METHODS_ALONE and not with_data:
        raise UnknownExperimentError(
            f"the method {name} needs --data, such as --data folder:flowers; experiments have the "
            f"data in their name, as grouped-{name}"
        )
    if name not in known and with_data:
        raise UnknownExperimentError(
            f"there is no method {name!r}, but {', '.join(METHODS_ALONE)}; of experiments "
            "`python -m scripts.train --list` shows the names"
        )
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise UnknownExperimentError(
            f"there is no experiment {name!r}; {hint}"
            f"`python -m scripts.train --list` lists all {len(known)}"
        )
    return known[name]


def described(experiment: Experiment, data_dir: Path = DATA_DIR) -> Experiment:
    """The experiment with what is found in data of one's own, which are loaded for it.

    Raises:
        DatasetError: if they cannot be loaded.
        ValueError: if the experiment does not fit them.
    """
    if not experiment.is_own:
        return experiment
    loaded = load_dataset(experiment.source, data_dir)
    largest = np.bincount(loaded.train.labels).max()
    if experiment.positives == "class" and largest < 2:
        raise ValueError(
            f"{experiment.data} has one training image of every class, so that no two are "
            f"positives; train with --positives views"
        )
    return dataclasses.replace(experiment, own=found_in(loaded))


def changed_name(name: str, named: Experiment, changed: Experiment) -> str:
    """A name for a variation of a named experiment, which says what differs.

    The number of epochs is in it only where the first epochs depend on it: otherwise a longer run
    is the continuation of a shorter one.

    Example:
        >>> named = catalogue()["digits-hucl2"]
        >>> changed_name("digits-hucl2", named, dataclasses.replace(named, learning_rate=0.01))
        'digits-hucl2-learning_rate=0.01'
    """
    ignored = ("own",) if changed.length_matters else ("own", "epochs")
    values = {
        field.name: _data_word(changed) if field.name == "data" else getattr(changed, field.name)
        for field in dataclasses.fields(Experiment)
        if field.name not in ignored and getattr(changed, field.name) != getattr(named, field.name)
    }
    words = [name, *(f"{field}={_word(value)}" for field, value in values.items())]
    whole = "-".join(words)
    if len(whole) <= LONGEST_NAME:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    return f"{whole[: LONGEST_NAME - 13]}-{digest}"


def _data_word(experiment: Experiment) -> str:
    """The data in the name of a directory; of one's own also what tells them from namesakes."""
    own = experiment.own
    return experiment.data_label if own is None else f"{experiment.data_label}-{own.digest[:8]}"


def _word(value: Any) -> str:
    """A value in the name of a directory."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def small_experiment(data: DataName, method: Method, **changes: Any) -> Experiment:
    """An experiment on a small data set, in its usual settings except for the changes."""
    settings = {**{**SMALL_SETS, **GRAY_SETS, **EMNIST_SETS}[data], **changes}
    return Experiment(data=data, objective=method.objective, beta=method.beta, **settings)


def usual_learning_rate(data: DataName) -> float:
    """The learning rate of the experiments on a data set whose names do not say another."""
    settings = {**SMALL_SETS, **GRAY_SETS, **EMNIST_SETS}.get(data, {})
    return settings.get("learning_rate", Experiment.learning_rate)


def _normalizations_and_initializations() -> Named:
    for data, normalization, initialization, method in itertools.product(
        (*PAPER_SETS, *GRAY_SETS), COMPARED_NORMALIZATIONS, ("random", "near_nc"), METHODS
    ):
        words = [data, method.word]
        words += [normalization] if normalization != "unit_ball" else []
        words += [initialization] if initialization != "random" else []
        changes = {"normalization": normalization, "initialization": initialization}
        make = small_experiment if data in GRAY_SETS else paper_experiment
        yield "-".join(words), make(data, method, **changes)


def _batch_sizes_conventions_and_views() -> Named:
    for data, method in itertools.product(PAPER_SETS, METHODS):
        name = f"{data}-{method.word}"
        for size in BATCH_SIZES:
            yield f"{name}-batch{size}", paper_experiment(data, method, batch_size=size)
        reference = {"num_negatives": 256, "reference_conventions": True}
        yield f"{name}-reference", paper_experiment(data, method, **reference)
        if "UCL" in method.objective:
            views = {"positives": "views", "views": "simclr"}
            yield f"{name}-simclr", paper_experiment(data, method, **views)


def _learning_rates_and_batch_sizes() -> Named:
    for method in METHODS:
        name = f"fashion_mnist-{method.word}"
        for rate in LEARNING_RATES:
            changed = small_experiment("fashion_mnist", method, learning_rate=rate)
            yield f"{name}-lr{rate:g}", changed
        for size in BATCH_SIZES:
            yield f"{name}-batch{size}", small_experiment("fashion_mnist", method, batch_size=size)


def _residual_networks() -> Named:
    changes = {"network": "resnet18", "dtype": "bfloat16", "epochs": 50, "evaluations": 10}
    for method in METHODS:
        name = f"fashion_mnist-{method.word}-resnet18"
        yield name, small_experiment("fashion_mnist", method, **changes)


def _further_images() -> Named:
    for data, method in itertools.product(EMNIST_SETS, METHODS):
        yield f"{data}-{method.word}", small_experiment(data, method)
    for data, method in itertools.product(("svhn", "svhn_extra"), METHODS):
        yield f"{data}-{method.word}", paper_experiment(data, method)


def _hardening_functions() -> Named:
    objectives: tuple[ObjectiveName, ...] = ("HSCL", "HUCL")
    for objective, (hardening, numbers) in itertools.product(objectives, HARDENING_STUDY.items()):
        for number in numbers:
            name = f"cifar100-{objective.lower()}-{hardening}{number:g}"
            method = Method(objective, number)
            yield name, paper_experiment("cifar100", method, hardening=hardening)


def _unlabelled_images() -> Named:
    for method in METHODS:
        yield f"stl10-{method.word}", paper_experiment("stl10", method)
        if "UCL" in method.objective:
            for data in ("stl10", "stl10_unlabelled"):
                name = f"{data}-{method.word}-simclr"
                yield name, paper_experiment(data, method, positives="views")


def _small_sets() -> Named:
    for data, method in itertools.product(SMALL_SETS, METHODS):
        name = f"{data}-{method.word}"
        small = small_experiment(data, method, probes=data == "digits")
        yield name, small
        yield f"{name}-near_nc", dataclasses.replace(small, initialization="near_nc")


STUDIES: tuple[Callable[[], Named], ...] = (
    _normalizations_and_initializations,
    _batch_sizes_conventions_and_views,
    _learning_rates_and_batch_sizes,
    _residual_networks,
    _further_images,
    _hardening_functions,
    _unlabelled_images,
    _small_sets,
)
