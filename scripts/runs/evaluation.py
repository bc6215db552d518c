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
from scripts.experiments.datasets import training_split
from scripts.experiments.experiment import Experiment
from scripts.runs.run_files import CLASS_NAMES

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
        class_names: one name for each, where there are names.
    """

    trained: PlacedSplit
    train: PlacedSplit
    test: PlacedSplit
    num_classes: int
    class_names: tuple[str, ...]


class EmbeddedSplit(NamedTuple):
    """Embeddings of a split, and where probes need them features, on the host's first device."""

    embeddings: Float[Array, "seed n dim"]
    features: Float[Array, "seed n feature"] | None


class EmbeddedSplits(NamedTuple):
    """The splits that are evaluated."""

    train: EmbeddedSplit
    test: EmbeddedSplit


class Evaluation(NamedTuple):
    """What was measured after an epoch.

    Attributes:
        embedded: the embeddings that were measured.
        class_means: class means of the training set.
        records: what is known of every seed, ready for JSON.
    """

    embedded: EmbeddedSplits
    class_means: Float[np.ndarray, "seed classes dim"]
    records: list[dict[str, Any]]


def place_dataset(dataset: Dataset | ImageSet, runner: Runner, budget_bytes: int) -> PlacedDataset:
    """Puts the splits of a data set on the devices, each if it is within the budget."""

    def place(split: Split) -> PlacedSplit:
        return place_split(split, budget_bytes=budget_bytes, put=runner.replicate)

    seen = training_split(dataset)
    train, test = place(dataset.train), place(dataset.test)
    trained = train if seen is dataset.train else place(seen)
    return PlacedDataset(trained, train, test, dataset.num_classes, dataset.class_names)


def embed_splits(
    runner: Runner, states: TrainState, data: PlacedDataset, *, probes: bool
) -> EmbeddedSplits:
    """Embeds the splits that are evaluated, with features if there are probes."""
    return EmbeddedSplits(
        *(_embedded(runner, states, split, probes) for split in (data.train, data.test))
    )


def evaluate(
    experiment: Experiment,
    runner: Runner,
    states: TrainState,
    data: PlacedDataset,
    embedded: EmbeddedSplits,
    *,
    epoch: int,
    losses: Float[np.ndarray, " seed"] | None,
) -> Evaluation:
    """Measures the representations of all seeds.

    The embeddings are those of the states, after this epoch; the losses are its means, None before
    the first epoch. Where features were kept, probes are measured too.
    """
    train, test = (split.embeddings for split in embedded)
    means, measured, accuracies = _measure(train, test, *_labels(data), data.num_classes)
    numbers = jax.tree.map(np.asarray, measured._asdict() | accuracies)
    numbers |= _probes(embedded, data)
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
            "dim": train.shape[2],
        }
        records.append(record | {name: value[i].tolist() for name, value in numbers.items()})
    return Evaluation(embedded, np.asarray(means), records)


def final_arrays(evaluation: Evaluation, data: PlacedDataset) -> dict[str, np.ndarray]:
    """Embeddings of both splits and class means, with the seeds along the leading axis; labels and
    the names of classes, where there are names."""
    train_labels, test_labels = _labels(data)
    named = {CLASS_NAMES: np.array(data.class_names)} if data.class_names else {}
    return {
        "train_embeddings": np.asarray(evaluation.embedded.train.embeddings),
        "test_embeddings": np.asarray(evaluation.embedded.test.embeddings),
        "class_means": evaluation.class_means,
        "train_labels": np.asarray(train_labels),
        "test_labels": np.asarray(test_labels),
        **named,
    }


def _labels(data: PlacedDataset) -> tuple[Int[Array, " n"], Int[Array, " m"]]:
    return jnp.asarray(data.train.host.labels), jnp.asarray(data.test.host.labels)


def _embedded(
    runner: Runner, states: TrainState, split: PlacedSplit, with_features: bool
) -> EmbeddedSplit:
    """What `runner.embed` makes of a split; of a streamed one part by part."""

    def of(images: Any) -> EmbeddedSplit:
        features, embeddings = runner.embed(states, images)
        kept = (embeddings, features if with_features else None)
        return EmbeddedSplit(*runner.fetch(kept))

    if split.resident is not None:
        return of(split.resident.images)
    images, size = split.host.images, EMBEDDED_AT_ONCE
    parts = (images[i : i + size] for i in range(0, len(images), size))
    outputs = [jax.tree.map(np.asarray, of(runner.replicate(part))) for part in parts]
    return jax.tree.map(lambda *rows: jnp.asarray(np.concatenate(rows, axis=1)), *outputs)


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


def _probes(embedded: EmbeddedSplits, data: PlacedDataset) -> dict[str, Float[np.ndarray, " seed"]]:
    """Uniformity, nearest neighbours and a linear probe; nothing where no features were kept."""
    train, test = embedded
    if train.features is None or test.features is None:
        return {}
    train_labels, test_labels = _labels(data)
    k = min(NEIGHBOURS, len(train_labels))
    knn = [
        evaluation.knn_accuracy(seen, train_labels, held_out, test_labels, k=k)
        for seen, held_out in zip(train.embeddings, test.embeddings, strict=True)
    ]
    linear = [
        evaluation.linear_probe_accuracy(seen, train_labels, held_out, test_labels)
        for seen, held_out in zip(train.features, test.features, strict=True)
    ]
    uniformity = [geometry.uniformity(one) for one in train.embeddings]
    return {
        "uniformity": np.array(uniformity),
        "knn": np.array(knn),
        "linear_probe": np.array(linear),
    }
