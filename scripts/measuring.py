"""Evaluations: the geometry of the training set, and accuracies on the test set."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax import evaluation, geometry
from hcl_jax.data import Dataset, Split
from hcl_jax.image_sets import ImageSet
from hcl_jax.launching import Launcher
from hcl_jax.streaming import fits
from hcl_jax.training import TrainState
from scripts.experiments import Experiment

CHUNK = 4096
"""Images of a streamed set that are embedded at once."""

PROBED = 20
"""Neighbours that vote."""


class Placed(NamedTuple):
    """A data set as training uses it.

    Attributes:
        train: on the device, or None where it streams from the host.
        test: likewise.
        host: the splits as they were loaded.
        num_classes: how many classes there are.
    """

    train: Split | None
    test: Split | None
    host: Dataset | ImageSet
    num_classes: int


def place(dataset: Dataset | ImageSet, launcher: Launcher, budget_bytes: int) -> Placed:
    """Puts the splits of a data set on the devices, if they are small enough."""
    train, test = (
        launcher.place(split) if fits(split, budget_bytes=budget_bytes) else None
        for split in (dataset.train, dataset.test)
    )
    return Placed(train, test, dataset, dataset.num_classes)


def evaluate(
    experiment: Experiment,
    launcher: Launcher,
    states: TrainState,
    data: Placed,
    *,
    epoch: int,
    losses: np.ndarray | None,
) -> list[dict[str, Any]]:
    """Measures the representations of all seeds.

    Args:
        experiment: what is trained.
        launcher: runs the network.
        states: of the seeds, placed.
        data: what is embedded.
        epoch: the number of the epoch that has ended.
        losses: the mean losses of that epoch, one for each seed; None before the first.

    Returns:
        One record for each seed.
    """
    train, test = (embeddings_of(name, launcher, states, data) for name in ("train", "test"))
    labels = jnp.asarray(data.host.train.labels), jnp.asarray(data.host.test.labels)
    measured, accuracies = _measure(train, test, *labels, data.num_classes)
    numbers = jax.tree.map(np.asarray, measured._asdict() | accuracies)
    if experiment.probes:
        numbers |= _probes(launcher, states, data, train, test)
    steps = np.asarray(launcher.fetch(states.step))
    records = []
    for i, seed in enumerate(experiment.seeds):
        record = {
            "data": experiment.data,
            "objective": experiment.objective,
            "beta": experiment.beta,
            "hardening": experiment.hardening,
            "normalization": experiment.normalization,
            "initialization": experiment.initialization,
            "positives": experiment.positives,
            "seed": seed,
            "epoch": epoch,
            "step": int(steps[i]),
            "loss": None if losses is None else float(losses[i]),
            "dim": train.shape[2],
        }
        records.append(record | {name: value[i].tolist() for name, value in numbers.items()})
    return records


def final_arrays(launcher: Launcher, states: TrainState, data: Placed) -> dict[str, np.ndarray]:
    """Embeddings of both splits and class means, with the seeds along the leading axis."""
    train, test = (embeddings_of(name, launcher, states, data) for name in ("train", "test"))
    labels = jnp.asarray(data.host.train.labels)
    means = [geometry.class_means(one, labels, data.num_classes) for one in train]
    return {
        "train_embeddings": np.asarray(train),
        "test_embeddings": np.asarray(test),
        "class_means": np.stack([np.asarray(mean) for mean in means]),
        "train_labels": np.asarray(labels),
        "test_labels": np.asarray(data.host.test.labels),
    }


def embeddings_of(
    name: str, launcher: Launcher, states: TrainState, data: Placed, *, features: bool = False
) -> Float[Array, "seed n dim"]:
    """Embeddings, or encoder features, of a split; of a streamed set chunk by chunk."""
    run = launcher.features if features else launcher.embed
    resident = getattr(data, name)
    if resident is not None:
        return launcher.fetch(run(states, resident.images))
    images = getattr(data.host, name).images
    chunks = (images[i : i + CHUNK] for i in range(0, len(images), CHUNK))
    found = [np.asarray(launcher.fetch(run(states, launcher.place(chunk)))) for chunk in chunks]
    return jnp.asarray(np.concatenate(found, axis=1))


@functools.partial(jax.jit, static_argnames="num_classes")
def _measure(
    train: Float[Array, "seed n dim"],
    test: Float[Array, "seed m dim"],
    train_labels: Int[Array, " n"],
    test_labels: Int[Array, " m"],
    num_classes: int,
) -> tuple[geometry.Geometry, dict[str, Float[Array, " seed"]]]:
    def measure_one(embeddings, held_out):
        means = geometry.class_means(embeddings, train_labels, num_classes)
        scores = evaluation.class_mean_scores(held_out, means)
        accuracies = {
            f"top{k}": evaluation.top_k_accuracy(scores, test_labels, min(k, num_classes))
            for k in (1, 5)
        }
        return geometry.measure(embeddings, train_labels, num_classes), accuracies

    return jax.vmap(measure_one)(train, test)


def _probes(launcher, states, data, train, test):
    """Accuracies of nearest neighbours in embeddings, and of a linear probe of features."""
    labels = jnp.asarray(data.host.train.labels), jnp.asarray(data.host.test.labels)
    features = [
        embeddings_of(name, launcher, states, data, features=True) for name in ("train", "test")
    ]
    neighbours = min(PROBED, len(labels[0]))
    seeds = range(len(train))
    return {
        "knn": np.array(
            [
                evaluation.knn_accuracy(train[i], labels[0], test[i], labels[1], k=neighbours)
                for i in seeds
            ]
        ),
        "linear_probe": np.array(
            [
                evaluation.linear_probe_accuracy(
                    features[0][i], labels[0], features[1][i], labels[1]
                )
                for i in seeds
            ]
        ),
    }
