"""Evaluations: the geometry of the training set, and accuracies on the test set."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax import evaluation, geometry
from hcl_jax.data import Dataset, ImageSet, PlacedSplit, Split, place_split
from hcl_jax.training import Runner, TrainState
from scripts.experiments.datasets import trained_on
from scripts.experiments.experiment import Experiment

CHUNK = 4096
"""Images of a streamed set that are embedded at once."""

PROBED = 20
"""Neighbours that vote."""


class Placed(NamedTuple):
    """A data set as it is trained on and evaluated.

    Attributes:
        trained: what training sees; images without labels, where they are trained on.
        train: the labelled training split, over which class means are taken.
        test: the split that accuracies are measured on.
        num_classes: how many classes there are.
    """

    trained: PlacedSplit
    train: PlacedSplit
    test: PlacedSplit
    num_classes: int


class Embedded(NamedTuple):
    """Embeddings of the splits that are evaluated, on the host's first device."""

    train: Float[Array, "seed n dim"]
    test: Float[Array, "seed m dim"]


def place(dataset: Dataset | ImageSet, runner: Runner, budget_bytes: int) -> Placed:
    """Puts the splits of a data set on the devices, if they are small enough."""

    def placed(split: Split) -> PlacedSplit:
        return place_split(split, budget_bytes=budget_bytes, put=runner.replicate)

    seen = trained_on(dataset)
    train, test = placed(dataset.train), placed(dataset.test)
    trained = train if seen is dataset.train else placed(seen)
    return Placed(trained, train, test, dataset.num_classes)


def embed(runner: Runner, states: TrainState, data: Placed) -> Embedded:
    """Embeds the splits that are evaluated."""
    splits = data.train, data.test
    return Embedded(*(_outputs(runner.embed, runner, states, split) for split in splits))


def evaluate(
    experiment: Experiment,
    runner: Runner,
    states: TrainState,
    data: Placed,
    embedded: Embedded,
    *,
    epoch: int,
    losses: np.ndarray | None,
) -> list[dict[str, Any]]:
    """Measures the representations of all seeds.

    Args:
        experiment: what is trained.
        runner: runs the network.
        states: of the seeds, placed.
        data: what is evaluated.
        embedded: by these states.
        epoch: the number of the epoch that has ended.
        losses: the mean losses of that epoch, one for each seed; None before the first.

    Returns:
        One record for each seed.
    """
    measured, accuracies = _measure(*embedded, *_labels(data), data.num_classes)
    numbers = jax.tree.map(np.asarray, measured._asdict() | accuracies)
    if experiment.probes:
        numbers |= _probes(runner, states, data, embedded)
    steps = np.asarray(runner.fetch(states.step))
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
            "dim": embedded.train.shape[2],
        }
        records.append(record | {name: value[i].tolist() for name, value in numbers.items()})
    return records


def final_arrays(embedded: Embedded, data: Placed) -> dict[str, np.ndarray]:
    """Embeddings of both splits and class means, with the seeds along the leading axis."""
    train_labels, test_labels = _labels(data)
    means = [geometry.class_means(one, train_labels, data.num_classes) for one in embedded.train]
    return {
        "train_embeddings": np.asarray(embedded.train),
        "test_embeddings": np.asarray(embedded.test),
        "class_means": np.stack([np.asarray(mean) for mean in means]),
        "train_labels": np.asarray(train_labels),
        "test_labels": np.asarray(test_labels),
    }


def _labels(data: Placed) -> tuple[Int[Array, " n"], Int[Array, " m"]]:
    return jnp.asarray(data.train.host.labels), jnp.asarray(data.test.host.labels)


def _outputs(run, runner, states, split):
    """What `runner.embed` or `.features` makes of a split; of a streamed one chunk by chunk."""
    if split.resident is not None:
        return runner.fetch(run(states, split.resident.images))
    images = split.host.images
    chunks = (images[i : i + CHUNK] for i in range(0, len(images), CHUNK))
    found = [np.asarray(runner.fetch(run(states, runner.replicate(chunk)))) for chunk in chunks]
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
        nearest = evaluation.nearest_mean_scores(held_out, means)
        accuracies["nearest_mean"] = evaluation.top_k_accuracy(nearest, test_labels)
        return geometry.measure(embeddings, train_labels, num_classes), accuracies

    return jax.vmap(measure_one)(train, test)


def _probes(runner, states, data, embedded):
    """What is measured on request: uniformity, nearest neighbours and a linear probe."""
    labels, (train, test) = _labels(data), embedded
    features = [
        _outputs(runner.features, runner, states, split) for split in (data.train, data.test)
    ]
    neighbours = min(PROBED, len(labels[0]))
    seeds = range(len(train))
    return {
        "uniformity": np.array([geometry.uniformity(train[i]) for i in seeds]),
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
