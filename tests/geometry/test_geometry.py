"""Metrics against loops, at neural collapse, and against independent code."""

import itertools
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from hcl_jax import geometry
from hcl_jax.geometry import hypersphere

NUM_CLASSES, DIM = 4, 5
LABELS = np.array([0, 1, 2, 3, 0, 0, 1, 3, 3, 2, 1])
EMBEDDINGS = np.random.default_rng(0).normal(size=(len(LABELS), DIM))
MEANS = np.array([EMBEDDINGS[LABELS == c].mean(axis=0) for c in range(NUM_CLASSES)])


def test_against_loops(x64):
    means = geometry.class_means(jnp.asarray(EMBEDDINGS), jnp.asarray(LABELS), NUM_CLASSES)
    np.testing.assert_allclose(means, MEANS, rtol=1e-12)
    np.testing.assert_allclose(
        geometry.zero_sum(means), math.dist(MEANS.mean(axis=0), [0] * DIM), rtol=1e-12
    )
    norms = [math.hypot(*mean) for mean in MEANS]
    unit_norm = np.mean([abs(norm - 1) for norm in norms])
    np.testing.assert_allclose(geometry.unit_norm(means), unit_norm, rtol=1e-12)
    errors = [
        abs(MEANS[j] @ MEANS[k] / norms[j] / norms[k] + 1 / 3)
        for j, k in itertools.permutations(range(NUM_CLASSES), 2)
    ]
    found = geometry.equal_inner_product(means)
    np.testing.assert_allclose(found, np.mean(errors), rtol=1e-12)
    distances = [
        np.mean([math.dist(z, MEANS[c]) for z in EMBEDDINGS[LABELS == c]])
        for c in range(NUM_CLASSES)
    ]
    found = geometry.within_class(jnp.asarray(EMBEDDINGS), jnp.asarray(LABELS), NUM_CLASSES)
    np.testing.assert_allclose(found, np.mean(distances), rtol=1e-12)


def test_spectrum_is_that_of_the_covariance(x64):
    expected = scipy.linalg.svdvals(np.cov(MEANS.T))
    found = geometry.singular_values(jnp.asarray(MEANS))
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert geometry.directions(found) == 3
    shares = expected / expected.sum()
    entropy = -sum(p * math.log(p) for p in shares if p > 1e-15)
    np.testing.assert_allclose(geometry.effective_rank(found), math.exp(entropy), rtol=1e-10)


def test_nc1_and_nc2_against_their_definitions(x64):
    deviations = EMBEDDINGS - MEANS[LABELS]
    within = sum(np.outer(d, d) for d in deviations) / len(deviations)
    centred = MEANS - MEANS.mean(axis=0)
    between = sum(np.outer(m, m) for m in centred) / NUM_CLASSES
    expected = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / NUM_CLASSES
    found = geometry.nc1(jnp.asarray(EMBEDDINGS), jnp.asarray(LABELS), NUM_CLASSES)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    norms = np.linalg.norm(centred, axis=1)
    unit = centred / norms[:, None]
    cosines = [unit[j] @ unit[k] for j, k in itertools.permutations(range(NUM_CLASSES), 2)]
    parts = geometry.nc2(jnp.asarray(MEANS))
    np.testing.assert_allclose(parts.equinorm, norms.std() / norms.mean(), rtol=1e-10)
    np.testing.assert_allclose(parts.equiangular, np.std(cosines), rtol=1e-10)
    expected = np.mean(np.abs(np.array(cosines) + 1 / 3))
    np.testing.assert_allclose(parts.maximal_angle, expected, rtol=1e-10)


@pytest.mark.parametrize("size", [11, 9, 5])
def test_alignment_against_loops(x64, size):
    """With 9 rows class 2 has one member, with 5 only class 0 has more."""
    embeddings, labels = EMBEDDINGS[:size], LABELS[:size]
    to_positives = [
        [math.dist(z, embeddings[j]) ** 2 for j in range(size) if j != i and labels[j] == labels[i]]
        for i, z in enumerate(embeddings)
    ]
    expected = np.mean([np.mean(squares) for squares in to_positives if squares])
    found = geometry.alignment(jnp.asarray(embeddings), jnp.asarray(labels), NUM_CLASSES)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_alignment_without_a_positive_is_zero():
    assert geometry.alignment(jnp.ones((2, 3)), jnp.arange(2), 2) == 0


@pytest.mark.parametrize("pairs", [1, 30, 44, 2**21])
def test_uniformity_against_loops(x64, monkeypatch, pairs):
    """However many rows are computed at once: 1, 2, 4 or all of the 11."""
    monkeypatch.setattr(hypersphere, "PAIRS", pairs)
    distances = np.array([math.dist(*z) ** 2 for z in itertools.permutations(EMBEDDINGS, 2)])
    for scale in (2.0, 0.1):
        found = geometry.uniformity(jnp.asarray(EMBEDDINGS), scale=scale)
        expected = math.log(np.mean(np.exp(-scale * distances)))
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_uniformity_of_a_large_training_set_takes_linear_memory():
    """CIFAR-100 in the paper's dimension: 50 000 rows, whose distances would take 9.3 GiB."""
    embeddings = jax.ShapeDtypeStruct((50_000, 99), jnp.float32)
    for function in (geometry.uniformity, jax.grad(geometry.uniformity)):
        memory = jax.jit(function).lower(embeddings).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 2**28


@pytest.mark.parametrize("num_classes", [2, 3, 10, 100])
@pytest.mark.parametrize("extra", [0, 3])
def test_simplex_etf(x64, num_classes, extra):
    frame = geometry.simplex_etf(num_classes, num_classes - 1 + extra)
    gram = np.full((num_classes, num_classes), -1 / (num_classes - 1))
    np.fill_diagonal(gram, 1)
    np.testing.assert_allclose(frame @ frame.T, gram, atol=1e-14)
    np.testing.assert_allclose(frame.sum(axis=0), 0, atol=1e-13)


@pytest.mark.parametrize("num_classes", [2, 5, 20])
def test_neural_collapse_is_zero_in_every_metric(x64, num_classes):
    labels = jnp.tile(jnp.arange(num_classes), 3)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(num_classes - 1,) * 2))
    frame = geometry.simplex_etf(num_classes, num_classes - 1) @ rotation
    measured = geometry.measure(frame[labels], labels, num_classes)
    for name in ("zero_sum", "unit_norm", "equal_inner_product", "within_class", "nc1"):
        np.testing.assert_allclose(getattr(measured, name), 0, atol=1e-12, err_msg=name)
    for name in ("nc2_equinorm", "nc2_equiangular", "nc2_maximal_angle", "etf_distance"):
        np.testing.assert_allclose(getattr(measured, name), 0, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(measured.alignment, 0, atol=1e-12)
    # Two others of an embedding are of its class, the rest at squared distance 2 C / (C - 1).
    size, distance = 3 * num_classes, 2 * num_classes / (num_classes - 1)
    mean = (2 + (size - 3) * math.exp(-2 * distance)) / (size - 1)
    np.testing.assert_allclose(geometry.uniformity(frame[labels]), math.log(mean), rtol=1e-10)
    assert measured.directions == num_classes - 1
    np.testing.assert_allclose(measured.effective_rank, num_classes - 1, rtol=1e-10)
    np.testing.assert_allclose(max(geometry.nc2(frame)), 0, atol=1e-12)


def test_a_shifted_and_shrunk_frame_is_not_neural_collapse(x64):
    shrunk = 0.5 * geometry.simplex_etf(4, 4) + jnp.array([0, 0, 0, 0.3])
    assert max(geometry.nc2(shrunk)) < 1e-12
    np.testing.assert_allclose(geometry.zero_sum(shrunk), 0.3, rtol=1e-12)
    np.testing.assert_allclose(geometry.unit_norm(shrunk), 1 - math.hypot(0.5, 0.3), rtol=1e-12)


def test_etf_distance_is_the_procrustes_distance_of_scipy(x64):
    frame = np.asarray(geometry.simplex_etf(NUM_CLASSES, DIM))
    rotation, _ = scipy.linalg.orthogonal_procrustes(frame, MEANS)
    expected = np.linalg.norm(MEANS - frame @ rotation) / np.linalg.norm(frame)
    np.testing.assert_allclose(geometry.etf_distance(jnp.asarray(MEANS)), expected, rtol=1e-10)


def test_invariances(x64):
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(DIM, DIM)))
    order = np.random.default_rng(3).permutation(len(LABELS))
    plain = geometry.measure(jnp.asarray(EMBEDDINGS), jnp.asarray(LABELS), NUM_CLASSES)
    other = geometry.measure(
        jnp.asarray(EMBEDDINGS[order] @ rotation), jnp.asarray((LABELS[order] + 1) % 4), NUM_CLASSES
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), plain, other)


def test_collapse_to_a_point_is_finite():
    labels = jnp.array([0, 1, 2])
    for point in (jnp.zeros((3, 2)), jnp.ones((3, 2))):
        measured = jax.jit(geometry.measure, static_argnums=2)(point, labels, 3)
        assert all(jnp.isfinite(value).all() for value in measured)
        assert measured.directions == 0
        assert measured.effective_rank == 0


ERRORS = {
    "labels must lie in 0..3, got 4 at position 1": lambda: geometry.class_means(
        jnp.ones((2, 1)), jnp.array([0, 4]), 4
    ),
    "2 of 4 classes have none, the first is class 1": lambda: geometry.class_means(
        jnp.ones((2, 1)), jnp.array([0, 3]), 4
    ),
    "num_classes must be at least 1, got 0": lambda: geometry.class_means(
        jnp.ones((2, 1)), jnp.array([0, 0]), 0
    ),
    "needs at least 2, got 1": lambda: geometry.singular_values(jnp.ones((1, 3))),
    "a simplex ETF of 4 classes needs dim >= 3, got 2": lambda: geometry.simplex_etf(4, 2),
    "at least two embeddings": lambda: geometry.uniformity(jnp.ones((1, 3))),
    "scale must be positive": lambda: geometry.uniformity(jnp.ones((2, 3)), scale=0.0),
    "embeddings must be finite": lambda: geometry.uniformity(jnp.full((2, 1), jnp.inf)),
    "the spectrum must be a vector": lambda: geometry.directions(jnp.ones((2, 2))),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(unchecked, message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


OF_MEANS = ("zero_sum", "unit_norm", "equal_inner_product", "singular_values", "nc2")
OF_MEANS += ("etf_distance", "directions", "effective_rank")
OF_EMBEDDINGS = ("class_means", "within_class", "nc1", "alignment", "measure")


@pytest.mark.parametrize("name", OF_MEANS)
def test_means_that_are_not_finite_or_not_an_array_are_refused(unchecked, name):
    metric, of_spectrum = getattr(geometry, name), name in ("directions", "effective_rank")
    what, shape = ("the spectrum", (2,)) if of_spectrum else ("means", (2, 2))
    with pytest.raises(ValueError, match=f"^{what} must be finite"):
        metric(jnp.full(shape, jnp.nan))
    with pytest.raises(TypeError, match=f"^{what} must be a NumPy or JAX array .*, got a list"):
        metric(np.eye(2)[0].tolist() if of_spectrum else np.eye(2).tolist())


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_embeddings_and_labels_that_are_not_arrays_are_refused(unchecked, name):
    metric = getattr(geometry, name)
    with pytest.raises(TypeError, match=r"^embeddings must be a NumPy or JAX array .*, got a list"):
        metric([[1.0], [2.0]], jnp.arange(2), 2)
    with pytest.raises(TypeError, match=r"^labels must be a NumPy or JAX array .*, got a list"):
        metric(jnp.ones((2, 1)), [0, 1], 2)
    with pytest.raises(ValueError, match=r"^embeddings must be finite"):
        metric(jnp.full((2, 1), jnp.nan), jnp.arange(2), 2)


NUMPY_CALLER = """
import numpy as np
from hcl_jax import geometry
embeddings = np.random.default_rng(0).normal(size=(9, 3))
labels = np.arange(9) % 3
means = np.stack([embeddings[labels == c].mean(axis=0) for c in range(3)])
np.testing.assert_allclose(geometry.class_means(embeddings, labels, 3), means, atol=1e-6)
distances = np.linalg.norm(embeddings - means[labels], axis=1).mean()
np.testing.assert_allclose(geometry.within_class(embeddings, labels, 3), distances, rtol=1e-5)
geometry.measure(embeddings, labels, 3)
"""


def test_numpy_in_double_precision_is_taken_without_a_warning():
    """In a process of its own, where the signatures are not checked, as for a user."""
    command = [sys.executable, "-W", "error", "-c", NUMPY_CALLER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_half_precision_means_have_a_spectrum():
    means = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.bfloat16)
    spectrum = geometry.singular_values(means)
    exact = np.linalg.eigvalsh(np.cov(np.asarray(means, dtype=float).T))[::-1]
    assert spectrum.dtype == jnp.float32
    np.testing.assert_allclose(spectrum, exact, atol=1e-5)
