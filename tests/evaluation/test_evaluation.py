"""Accuracies against loops and at the edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax import evaluation
from hcl_jax.evaluation import neighbours

RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(4, 3))
LABELS = RNG.integers(0, 4, size=60)
POINTS = (MEANS[LABELS] + 0.7 * RNG.normal(size=(60, 3))).astype(np.float32)


def test_class_mean_classifier_against_loops():
    scores = evaluation.class_mean_scores(jnp.asarray(POINTS), jnp.asarray(MEANS, jnp.float32))
    for k in (1, 2, 4):
        hits = [
            LABELS[i] in sorted(range(4), key=lambda c, z=z: -(z @ MEANS[c]))[:k]
            for i, z in enumerate(POINTS)
        ]
        found = evaluation.top_k_accuracy(scores, jnp.asarray(LABELS), k)
        np.testing.assert_allclose(found, np.mean(hits), rtol=1e-6)


def test_nearest_mean_against_loops():
    scores = evaluation.nearest_mean_scores(jnp.asarray(POINTS), jnp.asarray(MEANS, jnp.float32))
    nearest = [min(range(4), key=lambda c: np.linalg.norm(z - MEANS[c])) for z in POINTS]
    np.testing.assert_array_equal(scores.argmax(axis=1), nearest)


def test_inner_product_and_distance_disagree_where_norms_differ():
    means = jnp.array([[1.0, 0.0], [9.0, 0.0]])
    point = jnp.array([[2.0, 0.0]])
    assert evaluation.class_mean_scores(point, means).argmax() == 1
    assert evaluation.nearest_mean_scores(point, means).argmax() == 0


def test_ties_do_not_make_a_guess_of_everything():
    scores = jnp.zeros((8, 4))
    labels = jnp.arange(8) % 4
    assert evaluation.top_k_accuracy(scores, labels, 1) == 0.25


def test_knn_against_loops():
    train, test = slice(0, 40), slice(40, 60)
    unit = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
    hits = []
    for z, label in zip(unit[test], LABELS[test], strict=True):
        nearest = np.argsort(-unit[train] @ z)[:5]
        hits.append(np.bincount(LABELS[train][nearest], minlength=4).argmax() == label)
    found = evaluation.knn_accuracy(
        jnp.asarray(POINTS[train]),
        jnp.asarray(LABELS[train]),
        jnp.asarray(POINTS[test]),
        jnp.asarray(LABELS[test]),
        k=5,
    )
    np.testing.assert_allclose(found, np.mean(hits))


@pytest.mark.parametrize("similarities", [1, 700, 2**25])
def test_knn_against_scikit_learn(monkeypatch, similarities):
    """Whatever part of the matrix of similarities exists at once."""
    from sklearn.neighbors import KNeighborsClassifier

    monkeypatch.setattr(neighbours, "SIMILARITIES", similarities)
    neighbours._votes.clear_cache()
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, 333)
    points = rng.normal(size=(7, 5))[labels] + rng.normal(size=(333, 5))
    points *= rng.uniform(0.1, 10, (333, 1))
    train, test = slice(0, 200), slice(200, 333)
    for k in (1, 8, 200):
        # The same rule for ties: of the vote, the first class.
        theirs = KNeighborsClassifier(k, metric="cosine").fit(points[train], labels[train])
        parts = (
            jnp.asarray(values)
            for part in (train, test)
            for values in (points[part].astype(np.float32), labels[part])
        )
        found = evaluation.knn_accuracy(*parts, k=k)
        assert found == pytest.approx(theirs.score(points[test], labels[test]), abs=1e-12)


@pytest.mark.parametrize("columns", [1, 40, 61, 400])
def test_largest_scores_in_groups(monkeypatch, columns):
    """The same columns as without groups, and in the same order, with many equal scores."""
    monkeypatch.setattr(neighbours, "GROUP", 4)
    scores = np.random.default_rng(0).integers(-4, 3, (50, columns)).astype(np.float32)
    scores[0] = -np.inf
    for k in {1, min(10, columns)}:
        found = neighbours._largest(jnp.asarray(scores), k)
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(found, expected)


def test_knn_of_zeros_and_of_ties():
    zeros, labels = jnp.zeros((4, 2)), jnp.array([1, 0, 0, 1])
    assert evaluation.knn_accuracy(zeros, labels, zeros, labels, k=1) == 0.5
    assert evaluation.knn_accuracy(zeros, labels, zeros, jnp.zeros(4, int), k=4) == 1.0


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_linear_probe_separates_what_is_separable_and_only_that(kind):
    directions = jnp.asarray(np.eye(4)[LABELS] + 0.01 * RNG.normal(size=(60, 4)), jnp.float32)
    labels = jnp.asarray(LABELS)
    train, test = slice(0, 40), slice(40, 60)
    parts = directions[train], labels[train], directions[test], labels[test]
    assert evaluation.linear_probe_accuracy(*parts, kind=kind) == 1.0
    shuffled = parts[0], jnp.asarray(RNG.permutation(LABELS[train])), *parts[2:]
    assert evaluation.linear_probe_accuracy(*shuffled, kind=kind) < 0.8


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("regularization", [1.0, 100.0])
def test_ridge_probe_against_scikit_learn(classes, regularization):
    """Of correlated features of different size, one constant, and a class that is only tested."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(2)
    labels = rng.integers(0, classes, 4000)
    points = rng.normal(size=(classes, 12))[labels] + 2 * rng.normal(size=(4000, 12))
    points = (points @ rng.normal(size=(12, 30)) * rng.uniform(0.01, 100, 30)) + rng.normal(size=30)
    points[:, 3] = 0.1
    train, test = slice(0, 1000), slice(1000, 4000)
    labels[-5:] = classes
    points = points.astype(np.float32)
    theirs = make_pipeline(StandardScaler(), RidgeClassifier(alpha=regularization))
    theirs.fit(points[train].astype(float), labels[train])
    expected = theirs.score(points[test].astype(float), labels[test])
    assert 0.3 < expected < 0.95, "neither chance nor certainty"
    found = evaluation.linear_probe_accuracy(
        *map(jnp.asarray, (points[train], labels[train], points[test], labels[test])),
        regularization=regularization,
    )
    assert found == pytest.approx(expected, abs=1.5 / 3000), "at most one image otherwise"


def test_ridge_probe_of_collapsed_features():
    """Every class one point up to rounding, with features that are constant up to rounding."""
    rng = np.random.default_rng(3)
    labels = jnp.asarray(rng.integers(0, 5, 500))
    means = np.concatenate([rng.normal(size=(5, 4)), np.full((5, 3), 1 / 3)], axis=1)
    points = means[labels] * (1 + 1e-7 * rng.normal(size=(500, 7)))
    points = jnp.asarray(points, jnp.float32)
    assert evaluation.linear_probe_accuracy(points, labels, points, labels) == 1.0


ERRORS = {
    "k must be at most the 4 classes, got 5": lambda z, y: evaluation.top_k_accuracy(
        jnp.ones((60, 4)), y, 5
    ),
    "k must be at most the 60 training images": lambda z, y: evaluation.knn_accuracy(
        z, y, z, y, k=61
    ),
    r"training labels must not be negative, got -1 at position 3 \(1 negative\).*: leave rows": (
        lambda z, y: evaluation.knn_accuracy(z, y.at[3].set(-1), z, y)
    ),
    "the test labels must not be negative, got -1 at position 4": (
        lambda z, y: evaluation.knn_accuracy(z, y, z, y.at[4].set(-1))
    ),
    "the training labels must not be negative, got -7": lambda z, y: (
        evaluation.linear_probe_accuracy(z, y.at[3].set(-7), z, y)
    ),
    "the test labels must not be negative": lambda z, y: evaluation.linear_probe_accuracy(
        z, y, z, y.at[3].set(-1), kind="logistic"
    ),
    "^labels must not be negative, got -1 .*leave rows without a label out": lambda z, y: (
        evaluation.top_k_accuracy(jnp.ones((60, 4)), y.at[3].set(-1))
    ),
    "call this outside jax.jit": lambda z, y: jax.jit(evaluation.knn_accuracy)(z, y, z, y),
    "embeddings must be floating point, got dtype int32": lambda z, y: evaluation.knn_accuracy(
        z.astype(int), y, z.astype(int), y
    ),
    "embeddings must be floating point of at least 16 bits, got dtype float8": lambda z, y: (
        evaluation.class_mean_scores(z.astype(jnp.float8_e4m3fn), z)
    ),
    "kind must be one of": lambda z, y: evaluation.linear_probe_accuracy(z, y, z, y, kind="svm"),
    "regularization must be positive": lambda z, y: evaluation.linear_probe_accuracy(
        z, y, z, y, regularization=0
    ),
    "one dimension, got 3 and 2": lambda z, y: evaluation.class_mean_scores(z, jnp.ones((4, 2))),
    "scores must be a NumPy or JAX array of numbers, got a list": lambda z, y: (
        evaluation.top_k_accuracy(z.tolist(), y)
    ),
    "embeddings must be a NumPy or JAX array of numbers, got a list": lambda z, y: (
        evaluation.knn_accuracy(z, y, z.tolist(), y)
    ),
    "labels must lie in 0..1": lambda z, y: evaluation.top_k_accuracy(jnp.ones((60, 2)), y),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(unchecked, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ERRORS[message](jnp.asarray(POINTS), jnp.asarray(LABELS))


def clusters(rows, classes, dim, *, length, spread=0.1):
    """Well separated directions of a length, in turn, and their labels."""
    rng = np.random.default_rng(4)
    means, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    labels = np.arange(rows) % classes
    points = means[labels] + spread * rng.normal(size=(rows, dim))
    return length * points / np.linalg.norm(points, axis=1, keepdims=True), labels


@pytest.mark.parametrize(
    ("dtype", "length"),
    [("float16", 274), ("float16", 6e4), ("bfloat16", 1e30), ("float32", 1e30), ("float32", 1e-30)],
)
@pytest.mark.parametrize("kind", ["knn", "ridge", "logistic", "class mean", "nearest mean"])
def test_accuracy_depends_on_neither_dtype_nor_scale(kind, dtype, length):
    points, labels = clusters(200, 10, 12, length=length)
    points, labels = jnp.asarray(points, dtype), jnp.asarray(labels)
    if kind == "knn":
        found = evaluation.knn_accuracy(points, labels, points, labels, k=5)
    elif kind in ("ridge", "logistic"):
        found = evaluation.linear_probe_accuracy(points, labels, points, labels, kind=kind)
    else:
        means = jnp.stack([points[labels == c].astype(jnp.float32).mean(0) for c in range(10)])
        of_means = evaluation.class_mean_scores, evaluation.nearest_mean_scores
        scores = of_means[kind == "nearest mean"](points, means.astype(dtype))
        assert scores.dtype == jnp.float32
        found = evaluation.top_k_accuracy(scores, labels)
    assert found == 1.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_ridge_probe_of_many_narrow_rows(dtype):
    points, labels = clusters(70_000, 10, 12, length=1, spread=0.25)
    points, labels = jnp.asarray(points, dtype), jnp.asarray(labels)
    parts = points, labels, points[:5000], labels[:5000]
    exact = (part.astype(jnp.float32) if part.ndim == 2 else part for part in parts)
    found = evaluation.linear_probe_accuracy(*parts)
    assert found == evaluation.linear_probe_accuracy(*exact)
    assert 0.9 < found < 1


@pytest.mark.parametrize("power", [-540, -480, 0, 480, 540])
def test_scores_beyond_the_range_keep_their_order(x64, power):
    """They are exact where squares are in the range, and else divided by a power of two."""
    z, means = (jnp.asarray(rows, jnp.float64) for rows in (POINTS, MEANS))
    inside = abs(power) < 500
    for scores in (evaluation.class_mean_scores, evaluation.nearest_mean_scores):
        found, plain = scores(2.0**power * z, 2.0**power * means), scores(z, means)
        unit = 2.0 ** (2 * power) if inside else found[0, 0] / plain[0, 0]
        np.testing.assert_allclose(found, unit * plain, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "offset"), [("float32", 1e4), ("float64", 1e10)])
def test_the_nearest_mean_far_from_the_origin(unchecked, dtype, offset):
    """Products are 10^8 and 10^20 there, and classes are a part in 10^8 and 10^20 of that apart."""
    points, labels = clusters(200, 10, 12, length=1)
    with jax.enable_x64(dtype == "float64"):
        rows = jnp.asarray(points + offset, dtype)
        means = jnp.stack([rows[labels == c].mean(0) for c in range(10)])
        nearest = evaluation.nearest_mean_scores(rows, means).argmax(axis=1)
    np.testing.assert_array_equal(nearest, labels)


@pytest.mark.parametrize("kind", ["knn", "ridge", "logistic"])
def test_the_largest_label_is_not_the_number_of_classes(kind):
    """One number for each label up to the largest would be gigabytes."""
    points, ranks = clusters(1000, 4, 6, length=1)
    labels = jnp.asarray(np.array([3, 900, 4_532_105, 2**31 - 1])[ranks], jnp.int32)
    points = jnp.asarray(points, jnp.float32)
    split = points, labels, points[:50], labels[:50].at[0].set(17)
    if kind == "knn":
        assert evaluation.knn_accuracy(*split) == 49 / 50, "label 17 is in no training image"
    else:
        assert evaluation.linear_probe_accuracy(*split, kind=kind) == 49 / 50


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_probe_of_one_class_predicts_it(kind):
    z, labels = jnp.asarray(POINTS), jnp.asarray(LABELS)
    found = evaluation.linear_probe_accuracy(z, jnp.full(60, 2), z, labels, kind=kind)
    assert found == np.mean(LABELS == 2)


def test_numpy_in_double_precision_is_taken_without_a_warning(unchecked):
    """Warnings are errors here."""
    points = POINTS.astype(np.float64)
    scores = evaluation.nearest_mean_scores(points, MEANS)
    found = evaluation.top_k_accuracy(scores, LABELS.astype(np.int64))
    assert found.dtype == np.float32
    assert evaluation.top_k_accuracy(np.eye(4), np.arange(4)) == 1
    assert evaluation.linear_probe_accuracy(points, LABELS, points, LABELS) > 0.5
    assert evaluation.knn_accuracy(points, LABELS.astype(np.uint64), points, LABELS) > 0.5


def test_double_precision_stays_double(x64):
    scores = evaluation.class_mean_scores(jnp.asarray(POINTS, jnp.float64), jnp.asarray(MEANS))
    assert scores.dtype == jnp.float64
    assert evaluation.top_k_accuracy(scores, jnp.asarray(LABELS)).dtype == jnp.float64
