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


def compiled(metric):
    """A metric of embeddings, labels and a number of classes, as one program."""
    return jax.jit(metric, static_argnums=2)


measure = compiled(geometry.measure)


def test_against_loops(x64):
    @jax.jit
    def measured(embeddings, labels):
        means = geometry.class_means(embeddings, labels, NUM_CLASSES)
        metrics = (geometry.zero_sum, geometry.unit_norm, geometry.equal_inner_product)
        within = geometry.within_class(embeddings, labels, NUM_CLASSES)
        return means, *[metric(means) for metric in metrics], within

    means, zero_sum, unit_norm, equal_inner_product, within_class = measured(EMBEDDINGS, LABELS)
    np.testing.assert_allclose(means, MEANS, rtol=1e-12)
    np.testing.assert_allclose(zero_sum, math.dist(MEANS.mean(axis=0), [0] * DIM), rtol=1e-12)
    norms = [math.hypot(*mean) for mean in MEANS]
    expected = np.mean([abs(norm - 1) for norm in norms])
    np.testing.assert_allclose(unit_norm, expected, rtol=1e-12)
    errors = [
        abs(MEANS[j] @ MEANS[k] / norms[j] / norms[k] + 1 / 3)
        for j, k in itertools.permutations(range(NUM_CLASSES), 2)
    ]
    np.testing.assert_allclose(equal_inner_product, np.mean(errors), rtol=1e-12)
    distances = [
        np.mean([math.dist(z, MEANS[c]) for z in EMBEDDINGS[LABELS == c]])
        for c in range(NUM_CLASSES)
    ]
    np.testing.assert_allclose(within_class, np.mean(distances), rtol=1e-12)


def test_spectrum_is_that_of_the_covariance(x64):
    expected = scipy.linalg.svdvals(np.cov(MEANS.T))
    found = geometry.singular_values(jnp.asarray(MEANS))
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert geometry.directions(found) == 3
    shares = expected / expected.sum()
    entropy = -sum(p * math.log(p) for p in shares if p > 1e-15)
    np.testing.assert_allclose(geometry.effective_rank(found), math.exp(entropy), rtol=1e-10)


@pytest.mark.parametrize("largest", [1.0, 1.5, 0.75, 1.9e-30, 1.1e30])
def test_directions_are_those_above_a_thousandth_of_the_largest(largest):
    spectrum = largest * jnp.array([1.0, 1.001e-3, 0.999e-3, 0.0])
    assert geometry.directions(spectrum) == 2


def test_nc1_and_nc2_against_their_definitions(x64):
    deviations = EMBEDDINGS - MEANS[LABELS]
    within = sum(np.outer(d, d) for d in deviations) / len(deviations)
    centred = MEANS - MEANS.mean(axis=0)
    between = sum(np.outer(m, m) for m in centred) / NUM_CLASSES
    expected = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / NUM_CLASSES
    found = compiled(geometry.nc1)(EMBEDDINGS, LABELS, NUM_CLASSES)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    norms = np.linalg.norm(centred, axis=1)
    unit = centred / norms[:, None]
    cosines = [unit[j] @ unit[k] for j, k in itertools.permutations(range(NUM_CLASSES), 2)]
    parts = jax.jit(geometry.nc2)(MEANS)
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
    found = compiled(geometry.alignment)(embeddings, labels, NUM_CLASSES)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_alignment_without_a_positive_is_zero():
    assert geometry.alignment(jnp.ones((2, 3)), jnp.arange(2), 2) == 0


@pytest.mark.parametrize("pairs", [1, 30, 44, 2**21])
def test_uniformity_against_loops(x64, monkeypatch, pairs):
    """However many rows a block has: 1, 5, 6 or all of the 11; odd and even numbers of blocks."""
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
    labels = np.tile(np.arange(num_classes), 3)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(num_classes - 1,) * 2))

    @jax.jit
    def of_a_turned_frame(rotation, labels):
        frame = geometry.simplex_etf(num_classes, num_classes - 1) @ rotation
        measured = geometry.measure(frame[labels], labels, num_classes)
        return measured, geometry.uniformity(frame[labels]), geometry.nc2(frame)

    measured, uniformity, nc2 = of_a_turned_frame(rotation, labels)
    for name in ("zero_sum", "unit_norm", "equal_inner_product", "within_class", "nc1"):
        np.testing.assert_allclose(getattr(measured, name), 0, atol=1e-12, err_msg=name)
    for name in ("nc2_equinorm", "nc2_equiangular", "nc2_maximal_angle", "etf_distance"):
        np.testing.assert_allclose(getattr(measured, name), 0, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(measured.alignment, 0, atol=1e-12)
    # Two others of an embedding are of its class, the rest at squared distance 2 C / (C - 1).
    size, distance = 3 * num_classes, 2 * num_classes / (num_classes - 1)
    mean = (2 + (size - 3) * math.exp(-2 * distance)) / (size - 1)
    np.testing.assert_allclose(uniformity, math.log(mean), rtol=1e-10)
    assert measured.directions == num_classes - 1
    np.testing.assert_allclose(measured.effective_rank, num_classes - 1, rtol=1e-10)
    np.testing.assert_allclose(max(nc2), 0, atol=1e-12)


def test_a_shifted_and_shrunk_frame_is_not_neural_collapse(x64):
    @jax.jit
    def measured():
        shrunk = 0.5 * geometry.simplex_etf(4, 4) + jnp.array([0, 0, 0, 0.3])
        return geometry.nc2(shrunk), geometry.zero_sum(shrunk), geometry.unit_norm(shrunk)

    nc2, zero_sum, unit_norm = measured()
    assert max(nc2) < 1e-12
    np.testing.assert_allclose(zero_sum, 0.3, rtol=1e-12)
    np.testing.assert_allclose(unit_norm, 1 - math.hypot(0.5, 0.3), rtol=1e-12)


def test_etf_distance_is_the_procrustes_distance_of_scipy(x64):
    frame = np.asarray(geometry.simplex_etf(NUM_CLASSES, DIM))
    rotation, _ = scipy.linalg.orthogonal_procrustes(frame, MEANS)
    expected = np.linalg.norm(MEANS - frame @ rotation) / np.linalg.norm(frame)
    np.testing.assert_allclose(geometry.etf_distance(jnp.asarray(MEANS)), expected, rtol=1e-10)


def test_invariances(x64):
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(DIM, DIM)))
    order = np.random.default_rng(3).permutation(len(LABELS))
    plain = measure(EMBEDDINGS, LABELS, NUM_CLASSES)
    other = measure(EMBEDDINGS[order] @ rotation, (LABELS[order] + 1) % 4, NUM_CLASSES)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), plain, other)


def test_collapse_to_a_point_is_finite():
    labels = jnp.array([0, 1, 2])
    for point in (jnp.zeros((3, 2)), jnp.ones((3, 2))):
        measured = measure(point, labels, 3)
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


SCALED = np.random.default_rng(5).normal(size=(12, 6)).astype(np.float32)
IN_TURN = np.arange(12, dtype=np.int32) % 4
DEGREES = {
    "zero_sum": 1,
    "within_class": 1,
    "equal_inner_product": 0,
    "directions": 0,
    "effective_rank": 0,
    "nc1": 0,
    "nc2_equinorm": 0,
    "nc2_equiangular": 0,
    "nc2_maximal_angle": 0,
    "alignment": 2,
    "spectrum": 2,
}


@pytest.mark.parametrize("exponent", [-80, -50, 50, 100])
def test_no_metric_depends_on_the_unit_of_length(exponent):
    """Powers of two change no digit, so that what is homogeneous is so to the last bit."""
    plain = measure(SCALED, IN_TURN, 4)
    scaled = measure(SCALED * np.float32(2.0**exponent), IN_TURN, 4)
    for name, degree in DEGREES.items():
        expected = np.asarray(getattr(plain, name), np.float64) * 2.0 ** (exponent * degree)
        with np.errstate(over="ignore", under="ignore"):
            expected = expected.astype(np.float32)
        np.testing.assert_array_equal(getattr(scaled, name), expected, err_msg=name)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_distances_from_unit_length_at_any_length(size):
    means = jnp.asarray(SCALED[:4] * np.float32(size))
    wide = np.asarray(means, np.float64)
    norms = np.linalg.norm(wide, axis=1)
    np.testing.assert_allclose(geometry.unit_norm(means), abs(norms - 1).mean(), rtol=1e-6)
    frame = np.asarray(geometry.simplex_etf(4, 6), np.float64)
    rotation, _ = scipy.linalg.orthogonal_procrustes(frame, wide / size)
    expected = np.linalg.norm(wide - frame @ rotation) / np.linalg.norm(frame)
    np.testing.assert_allclose(geometry.etf_distance(means), expected, rtol=1e-5)


def log_mean_potential(embeddings, scale=2.0):
    wide = np.asarray(embeddings, np.float64)
    squares = np.square(wide[:, None] - wide[None]).sum(-1)[~np.eye(len(wide), dtype=bool)]
    return math.log(np.exp(-scale * squares).mean())


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_narrow_embeddings_are_measured_in_float32(dtype):
    unit = SCALED / np.linalg.norm(SCALED, axis=1, keepdims=True)
    z = jnp.asarray(unit, dtype)
    found = geometry.uniformity(z)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, log_mean_potential(z), rtol=1e-6)
    exact = geometry.measure(z.astype(jnp.float32), jnp.asarray(IN_TURN), 4)
    for one, other in zip(geometry.measure(z, jnp.asarray(IN_TURN), 4), exact, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("length", [1.0, 300.0, 1e4])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_uniformity_of_one_point_is_zero_wherever_it_is(dtype, length):
    row = SCALED[0] / np.linalg.norm(SCALED[0]) * length
    z = jnp.asarray(np.broadcast_to(row, (300, 6)), dtype)
    np.testing.assert_allclose(geometry.uniformity(z), 0, atol=1e-6)


def test_uniformity_of_what_is_no_number_is_nan_where_it_is_traced():
    z = jax.random.normal(jax.random.key(0), (64, 8))
    uniformity = jax.jit(geometry.uniformity)
    assert jnp.isfinite(uniformity(z))
    assert jnp.isnan(uniformity(z.at[3].set(jnp.nan)))


def test_uniformity_beyond_the_range_is_minus_infinity_not_nan():
    z = jnp.asarray([[1e30, 0.0], [-1e30, 0.0], [0.0, 1e-30]])
    assert geometry.uniformity(z) == -jnp.inf
    assert jnp.isfinite(jax.grad(geometry.uniformity)(1e-15 * z)).all()


def test_alignment_of_long_float16_rows():
    unit = SCALED / np.linalg.norm(SCALED, axis=1, keepdims=True)
    z = jnp.asarray(300 * unit, jnp.float16)
    wide = np.asarray(z, np.float64)
    expected = np.mean(
        [
            np.square(wide[i] - wide[j]).sum()
            for i, j in itertools.permutations(range(12), 2)
            if IN_TURN[i] == IN_TURN[j]
        ]
    )
    assert expected > np.finfo(np.float16).max
    found = geometry.alignment(z, jnp.asarray(IN_TURN), 4)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def nearly_flat(dim):
    """Four classes of three members whose means span three directions, the weakest 0.03 long."""
    rng = np.random.default_rng(7)
    directions = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]).T * [0.5, 0.5, 0.015]
    z = directions[IN_TURN] + 0.003 * rng.normal(size=(12, 3))
    return np.pad(z, ((0, 0), (0, dim - 3)))


@pytest.mark.parametrize("dim", [3, 128, 512, 2048])
def test_nc1_does_not_depend_on_coordinates_that_are_zero(dim):
    z = nearly_flat(3)
    means = np.array([z[IN_TURN == c].mean(axis=0) for c in range(4)])
    around, centred = z - means[IN_TURN], means - means.mean(axis=0)
    inverse = np.linalg.inv(centred.T @ centred / 4)
    expected = np.trace(around.T @ around / 12 @ inverse) / 4
    np.testing.assert_allclose(np.linalg.svd(centred)[1][2], 0.03, rtol=0.1)
    found = compiled(geometry.nc1)(np.float32(nearly_flat(dim)), IN_TURN, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize(("num_classes", "dim"), [(5, 12), (30, 12)])
def test_nc1_leaves_out_what_is_rounding(num_classes, dim, offset):
    """Class means in two directions, seen from all sides: the other ten are not divided by."""
    rng = np.random.default_rng(8)
    labels = np.arange(4 * num_classes) % num_classes
    plane = rng.normal(size=(num_classes, 2))[labels] + 0.1 * rng.normal(size=(len(labels), 2))
    turned, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    z = np.pad(plane, ((0, 0), (0, dim - 2))) @ turned + offset

    def nc1_of(z):
        means = np.array([z[labels == c].mean(axis=0) for c in range(num_classes)])
        around, centred = z - means[labels], means - means.mean(axis=0)
        inverse = np.linalg.pinv(centred.T @ centred / num_classes, rcond=1e-9)
        return np.trace(around.T @ around / len(z) @ inverse) / num_classes

    found = compiled(geometry.nc1)(np.float32(z), labels, num_classes)
    np.testing.assert_allclose(found, nc1_of(plane), rtol=2e-3)


def test_means_of_many_rows_are_exact_to_rounding():
    """A running sum in float32 is wrong by 1 %."""
    z = jnp.full((2**20, 1), 0.1)
    labels = jnp.zeros(2**20, jnp.int32).at[0].set(1)
    np.testing.assert_allclose(geometry.class_means(z, labels, 2), z[:2], rtol=1e-6)
    assert geometry.within_class(z, labels, 2) < 1e-7


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint32])
def test_labels_of_any_integers(unchecked, dtype):
    labels = IN_TURN.astype(dtype)
    plain = geometry.measure(jnp.asarray(SCALED), jnp.asarray(IN_TURN), 4)
    found = geometry.measure(SCALED, labels, 4)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_more_classes_than_a_label_of_one_byte_counts(unchecked):
    """200 classes, of labels up to 199 in uint8, beside a class size that int8 does not hold."""
    labels = np.arange(400).astype(np.uint8) % 200
    z = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    found = geometry.class_means(jnp.asarray(z), jnp.asarray(labels), 200)
    expected = [z[labels == c].mean(axis=0) for c in range(200)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_spectrum_is_floating_point_and_not_negative(unchecked):
    for metric in (geometry.directions, geometry.effective_rank):
        with pytest.raises(ValueError, match="the spectrum must not be negative"):
            metric(jnp.asarray([1.0, -0.5]))
        with pytest.raises(TypeError, match="the spectrum must be floating point, got dtype int32"):
            metric(jnp.arange(3))
        for size in (1e-36, 1e38):
            found = metric(jnp.asarray([1.0, 1.0, 1e-5, 0.0]) * size)
            np.testing.assert_allclose(found, 2, rtol=1e-3)


@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_rows_without_a_label_are_to_be_left_out(unchecked, name):
    labels = jnp.asarray(IN_TURN).at[3].set(-1)
    with pytest.raises(
        ValueError, match=r"^labels must not be negative, got -1 at position 3 .*leave rows without"
    ):
        getattr(geometry, name)(jnp.asarray(SCALED), labels, 4)


def test_numbers_that_float32_does_not_hold_are_refused(unchecked):
    z = SCALED.astype(np.float64)
    z[2, 1] = 1e300
    with pytest.raises(
        ValueError, match=r"finite in float32, but 1 of 12 rows are not, the first is row 2"
    ):
        geometry.measure(z, IN_TURN, 4)
