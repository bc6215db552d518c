"""Evaluations: the geometry of the training set, and accuracies on the test set."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax import evaluation, geometry
from hcl_jax.data import Dataset, ImageSet, PlacedSplit, Split, place_split
from hcl_jax.training import Runner, TrainState
from scripts.experiments.datasets import training_split
from scripts.experiments.experiment import Experiment

EMBEDDED_AT_ONCE = 4096
"""Images of a streamed split that are embedded at once."""

NEIGHBOURS = 20
"""Nearest neighbours that vote."""


class PlacedDataset(NamedTuple):
    """The splits of a data set, on the devices where they are small enough.

    Attributes:
        trained: the split that training sees; images without labels, where those are trained on.
        train: the labelled training split, over which class means are taken.
        test: the split that accuracies are measured on.
        num_classes: number of classes.
    """

    trained: PlacedSplit
    train: PlacedSplit
    test: PlacedSplit
    num_classes: int


class SplitEmbeddings(NamedTuple):
    """Embeddings of the splits that are evaluated, on the first device of the host."""

    train: Float[Array, "seed n dim"]
    test: Float[Array, "seed m dim"]


class Evaluation(NamedTuple):
    """What was measured after an epoch.

    Attributes:
        embeddings: the embeddings that were measured.
        class_means: class means of the training set.
        records: what is known of every seed, ready for JSON.
    """

    embeddings: SplitEmbeddings
    class_means: Float[np.ndarray, "seed classes dim"]
    records: list[dict[str, Any]]


def place_dataset(dataset: Dataset | ImageSet, runner: Runner, budget_bytes: int) -> PlacedDataset:
    """Puts the splits of a data set on the devices, each if it is within the budget."""

    def place(split: Split) -> PlacedSplit:
        return place_split(split, budget_bytes=budget_bytes, put=runner.replicate)

    seen = training_split(dataset)
    train, test = place(dataset.train), place(dataset.test)
    trained = train if seen is dataset.train else place(seen)
    return PlacedDataset(trained, train, test, dataset.num_classes)


def embed_splits(runner: Runner, states: TrainState, data: PlacedDataset) -> SplitEmbeddings:
    """Embeds the splits that are evaluated."""
    return SplitEmbeddings(
        *(_outputs(runner.embed, runner, states, split) for split in (data.train, data.test))
    )


def evaluate(
    experiment: Experiment,
    runner: Runner,
    states: TrainState,
    data: PlacedDataset,
    embeddings: SplitEmbeddings,
    *,
    epoch: int,
    losses: Float[np.ndarray, " seed"] | None,
) -> Evaluation:
    """Measures the representations of all seeds.

    The embeddings are those of the states, after this epoch; the losses are its means, None before
    the first epoch.
    """
    means, measured, accuracies = _measure(*embeddings, *_labels(data), data.num_classes)
    numbers = jax.tree.map(np.asarray, measured._asdict() | accuracies)
    if experiment.probes:
        numbers |= _probes(runner, states, data, embeddings)
    steps = np.asarray(runner.fetch(states.step))
    records = []
    for i, seed in enumerate(experiment.seeds):
        record = {
            "data": experiment.data,
            "objective": experiment.objective,
            "beta": experiment.beta,
            "temperature": experiment.temperature,
            "hardening": experiment.hardening,
            "normalization": experiment.normalization,
            "initialization": experiment.initialization,
            "positives": experiment.positives,
            "seed": seed,
            "epoch": epoch,
            "step": int(steps[i]),
            "loss": None if losses is None else float(losses[i]),
            "dim": embeddings.train.shape[2],
        }
        records.append(record | {name: value[i].tolist() for name, value in numbers.items()})
    return Evaluation(embeddings, np.asarray(means), records)


def final_arrays(evaluation: Evaluation, data: PlacedDataset) -> dict[str, np.ndarray]:
    """Embeddings of both splits and class means, with the seeds along the leading axis."""
    train_labels, test_labels = _labels(data)
    return {
        "train_embeddings": np.asarray(evaluation.embeddings.train),
        "test_embeddings": np.asarray(evaluation.embeddings.test),
        "class_means": evaluation.class_means,
        "train_labels": np.asarray(train_labels),
        "test_labels": np.asarray(test_labels),
    }


def _labels(data: PlacedDataset) -> tuple[Int[Array, " n"], Int[Array, " m"]]:
    return jnp.asarray(data.train.host.labels), jnp.asarray(data.test.host.labels)


def _outputs(
    run: Callable[[TrainState, Any], Array], runner: Runner, states: TrainState, split: PlacedSplit
) -> Float[Array, "seed n outputs"]:
    """What `runner.embed` or `runner.features` makes of a split; streamed ones part by part."""
    if split.resident is not None:
        return runner.fetch(run(states, split.resident.images))
    images, size = split.host.images, EMBEDDED_AT_ONCE
    parts = (images[i : i + size] for i in range(0, len(images), size))
    outputs = [np.asarray(runner.fetch(run(states, runner.replicate(part)))) for part in parts]
    return jnp.asarray(np.concatenate(outputs, axis=1))


@functools.partial(jax.jit, static_argnames="num_classes")
def _measure(
    train: Float[Array, "seed n dim"],
    test: Float[Array, "seed m dim"],
    train_labels: Int[Array, " n"],
    test_labels: Int[Array, " m"],
    num_classes: int,
) -> tuple[Float[Array, "seed classes dim"], geometry.Geometry, dict[str, Float[Array, " seed"]]]:
    """Class means and geometry of the training set, and accuracies of the means, of every seed."""

    def measure_one(
        embeddings: Float[Array, "n dim"], held_out: Float[Array, "m dim"]
    ) -> tuple[Float[Array, "classes dim"], geometry.Geometry, dict[str, Float[Array, ""]]]:
        means = geometry.class_means(embeddings, train_labels, num_classes)
        scores = evaluation.class_mean_scores(held_out, means)
        accuracies = {
            f"top{k}": evaluation.top_k_accuracy(scores, test_labels, min(k, num_classes))
            for k in (1, 5)
        }
        nearest = evaluation.nearest_mean_scores(held_out, means)
        accuracies["nearest_mean"] = evaluation.top_k_accuracy(nearest, test_labels)
        return means, geometry.measure(embeddings, train_labels, num_classes), accuracies

    return jax.vmap(measure_one)(train, test)


def _probes(
    runner: Runner, states: TrainState, data: PlacedDataset, embeddings: SplitEmbeddings
) -> dict[str, Float[np.ndarray, " seed"]]:
    """What is measured on request: uniformity, nearest neighbours and a linear probe."""
    train_labels, test_labels = _labels(data)
    splits = data.train, data.test
    features = [_outputs(runner.features, runner, states, split) for split in splits]
    k = min(NEIGHBOURS, len(train_labels))
    knn = [
        evaluation.knn_accuracy(train, train_labels, test, test_labels, k=k)
        for train, test in zip(*embeddings, strict=True)
    ]
    linear = [
        evaluation.linear_probe_accuracy(train, train_labels, test, test_labels)
        for train, test in zip(*features, strict=True)
    ]
    uniformity = [geometry.uniformity(one) for one in embeddings.train]
    return {
        "uniformity": np.array(uniformity),
        "knn": np.array(knn),
        "linear_probe": np.array(linear),
    }
