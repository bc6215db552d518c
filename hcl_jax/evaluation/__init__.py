"""Accuracy of a representation: class-mean classifiers, nearest neighbours, linear probes."""

from hcl_jax.evaluation.class_mean import (
    class_mean_scores,
    nearest_mean_scores,
    top_k_accuracy,
)
from hcl_jax.evaluation.linear_probe import linear_probe_accuracy
from hcl_jax.evaluation.neighbours import knn_accuracy

__all__ = [
    "class_mean_scores",
    "knn_accuracy",
    "linear_probe_accuracy",
    "nearest_mean_scores",
    "top_k_accuracy",
]


def __dir__() -> list[str]:
    return __all__
