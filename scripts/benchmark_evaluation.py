"""Times nearest neighbours, linear probe and class means beside PyTorch and scikit-learn.

    python -m scripts.benchmark_evaluation [--train 60000] [--test 10000] [--dim 512]

needs ``pip install hcl-jax[benchmark]``. All classify the same random features of Gaussian classes
that overlap; accuracies must agree before anything is timed, and all take turns. Writes
``evaluation.json`` with every single time and ``evaluation.md`` with medians and quartiles.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hcl_jax import evaluation, geometry
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.benchmarking.contenders import DisagreementError, check_torch, take_turns, timed
from scripts.benchmarking.machine_load import cpu_times, share_of_others
from scripts.benchmarking.results import (
    MACHINE,
    Results,
    origin,
    origin_line,
    others_sentence,
    quartiles,
    run_benchmark,
)
from scripts.runs import markdown

ALLOWED = 0.002
"""How far accuracies may lie apart: neighbours at almost the same distance, and rounding."""


PAGE = Page(
    "python -m scripts.benchmark_evaluation",
    "[options]",
    "Times nearest neighbours, a linear probe and class means beside PyTorch and scikit-learn.",
    {
        "What is timed": ("train", "test", "dim", "classes", "neighbours"),
        "How long": ("rounds", "seconds"),
        "Where": ("machine", "out"),
    },
    "python -m scripts.benchmark_evaluation --train 6000 --test 1000 --out runs/benchmark",
)


@dataclasses.dataclass(frozen=True)
class EvaluationBenchmark:
    """Time what evaluates a representation.

    Attributes:
        train: training features.
        test: test features.
        dim: dimension of the features.
        classes: number of classes.
        neighbours: neighbours that vote.
        rounds: how often every contender takes its turn.
        seconds: after this long no new round begins (three are run at least).
        machine: how the results name the machine.
        out: the directory of the results.
    """

    train: int = 60000
    test: int = 10000
    dim: int = 512
    classes: int = 10
    neighbours: int = 20
    rounds: int = 7
    seconds: float = 120.0
    machine: str = MACHINE
    out: Path = Path("benchmarks")


class Features(NamedTuple):
    """Features and labels of both splits, as NumPy arrays."""

    train: Float[np.ndarray, "n dim"]
    train_labels: Int[np.ndarray, " n"]
    test: Float[np.ndarray, "m dim"]
    test_labels: Int[np.ndarray, " m"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    chosen = parsed(EvaluationBenchmark, PAGE, arguments)
    return run_benchmark("evaluation", chosen.out, lambda: measure(chosen), report)


def measure(chosen: EvaluationBenchmark) -> Results:
    """Settings, versions, accuracies and the raw times of all contenders, ready for JSON.

    Raises:
        DisagreementError: if contenders do not agree.
    """
    check_torch()
    import sklearn
    import torch

    results = origin(chosen)
    results["versions"] |= {"torch": torch.__version__, "scikit-learn": sklearn.__version__}
    features = _features(chosen)
    calls = {
        f"{what}: {who}": call
        for who, make in (("ours", _ours), ("torch", _of_torch), ("scikit-learn", _of_sklearn))
        for what, call in make(features, chosen).items()
    }
    accuracies = {name: float(call()) for name, call in calls.items()}
    check_agreement(accuracies)
    before = cpu_times()
    turns = {name: functools.partial(timed, call) for name, call in calls.items()}
    times = take_turns(turns, chosen.rounds, chosen.seconds)
    taken = share_of_others(before, cpu_times())
    return {**results, "others": taken, "accuracies": accuracies, "seconds": times}


def check_agreement(accuracies: dict[str, float]) -> None:
    """Compares the accuracies of the same classifier.

    Raises:
        DisagreementError: if one is not that of ours.
    """
    for name, accuracy in accuracies.items():
        ours = accuracies[f"{name.split(':')[0]}: ours"]
        if not abs(accuracy - ours) <= ALLOWED:
            raise DisagreementError(f"{name} has accuracy {accuracy:.4f}, ours {ours:.4f}")


def _features(chosen: EvaluationBenchmark) -> Features:
    """Gaussian classes whose means are about one standard deviation of the noise apart."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(chosen.classes, chosen.dim)) * 1.6 / np.sqrt(chosen.dim)

    def split(size: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.integers(0, chosen.classes, size).astype(np.int32)
        noise = generator.normal(size=(size, chosen.dim))
        return (means[labels] + noise).astype(np.float32), labels

    return Features(*split(chosen.train), *split(chosen.test))


def _ours(features: Features, chosen: EvaluationBenchmark) -> dict[str, Callable[[], Any]]:
    x, y, test, labels = map(jnp.asarray, features)

    def class_means() -> Any:
        means = geometry.class_means(x, y, chosen.classes)
        scores = evaluation.nearest_mean_scores(test, means)
        return float(evaluation.top_k_accuracy(scores, labels))

    return {
        "nearest neighbours": lambda: evaluation.knn_accuracy(
            x, y, test, labels, k=chosen.neighbours
        ),
        "linear probe": lambda: evaluation.linear_probe_accuracy(x, y, test, labels),
        "class means": class_means,
    }


def _of_torch(features: Features, chosen: EvaluationBenchmark) -> dict[str, Callable[[], Any]]:
    """The same with PyTorch's products of matrices, `topk` and solver, rows in parts."""
    import torch
    from torch.nn import functional

    x, y, test, labels = map(torch.tensor, features)
    y, labels, at_once = y.long(), labels.long(), 1000

    def neighbours() -> float:
        units, points, hits = functional.normalize(x), functional.normalize(test), 0
        for part, own in zip(points.split(at_once), labels.split(at_once), strict=True):
            nearest = (part @ units.T).topk(chosen.neighbours, 1).indices
            votes = functional.one_hot(y[nearest], chosen.classes).sum(1)
            hits += int((votes.argmax(1) == own).sum())
        return hits / len(labels)

    def probe() -> float:
        mean, deviation = x.mean(0), x.std(0, correction=0)
        scaled, targets = (x - mean) / deviation, functional.one_hot(y, chosen.classes).float()
        squares = (scaled.T @ scaled).double() + torch.eye(chosen.dim, dtype=torch.float64)
        weights = torch.linalg.solve(squares, (scaled.T @ targets).double()).float()
        scores = (test - mean) / deviation @ weights + targets.mean(0)
        return float((scores.argmax(1) == labels).float().mean())

    def class_means() -> float:
        targets = functional.one_hot(y, chosen.classes).float()
        means = targets.T @ x / targets.sum(0)[:, None]
        scores = test @ means.T - means.square().sum(1) / 2
        return float((scores.argmax(1) == labels).float().mean())

    return {"nearest neighbours": neighbours, "linear probe": probe, "class means": class_means}


def _of_sklearn(features: Features, chosen: EvaluationBenchmark) -> dict[str, Callable[[], Any]]:
    from sklearn.linear_model import RidgeClassifier
    from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    nearest = KNeighborsClassifier(chosen.neighbours, algorithm="brute", n_jobs=-1)
    classifiers = {
        "nearest neighbours": make_pipeline(Normalizer(), nearest),
        "linear probe": make_pipeline(StandardScaler(), RidgeClassifier(1.0, solver="cholesky")),
        "class means": NearestCentroid(),
    }

    def accuracy(classifier: Any) -> float:
        classifier.fit(features.train, features.train_labels)
        return classifier.score(features.test, features.test_labels)

    return {what: functools.partial(accuracy, one) for what, one in classifiers.items()}


def report(results: Results) -> str:
    """A Markdown page with the table."""
    settings = results["settings"]
    lines = [
        "# Evaluation beside PyTorch and scikit-learn",
        "",
        f"`python -m scripts.benchmark_evaluation`: {origin_line(results, device='cpu')}",
        f"{settings['train']} training and {settings['test']} test features of dimension "
        f"{settings['dim']}, {settings['classes']} classes, {settings['neighbours']} neighbours. "
        f"Median [quartiles].{others_sentence(results['others'])}",
        "",
    ]
    rows = []
    for name in sorted(results["seconds"], key=lambda name: name.split(":")[0]):
        seconds = results["seconds"][name]
        ratio = np.median(seconds) / np.median(results["seconds"][f"{name.split(':')[0]}: ours"])
        rows.append(
            [name, quartiles(seconds), f"{ratio:.3g}", f"{100 * results['accuracies'][name]:.2f}"]
        )
    return (
        "\n".join([*lines, *markdown.table(["", "ms", "times ours", "accuracy, %"], rows)]) + "\n"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
