"""The optimum of SCL under unequal priors, and minority collapse, against independent code."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from flint import arb, ctx

from hcl_jax import scl
from hcl_jax.geometry import collapsed_scl, minority_collapse_threshold, scl_optimum
from hcl_jax.geometry._gram_programme import Weights, duality_gap
from theory.model.psi_kinds import InfoNCE
from theory.priors.limit import limit_ratio, limit_ratio_of_one
from theory.priors.minority import MinorityProblem, excess, slopes
from theory.priors.programme import CollapsedSCL, bracket, loss_and_slopes, shares

SIZES = [5.0, 3.0, 3.0, 1.0, 1.0]


def loss_by_loops(gram, sizes, *, temperature, beta, alpha, q, average):
    """The definition, written out."""
    total = weights = 0.0
    for c, size in enumerate(sizes):
        mean = normaliser = 0.0
        for other, negatives in enumerate(sizes):
            if other != c:
                weight = negatives * math.exp(beta * gram[c][other])
                mean += weight * math.exp((gram[c][other] - gram[c][c]) / temperature)
                normaliser += weight
        anchor = size**2 if average == "pairs" else size
        total += anchor * math.log(alpha + q * mean / normaliser)
        weights += anchor
    return total / weights


def descended(sizes, temperature, average):
    """The least loss over unit vectors that L-BFGS finds with numerical gradients."""
    count = len(sizes)

    def loss(flat):
        rows = flat.reshape(count, count)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return loss_by_loops(
            rows @ rows.T, sizes, temperature=temperature, beta=0, alpha=1, q=1, average=average
        )

    start = np.random.default_rng(0).normal(size=count * count)
    return scipy.optimize.minimize(loss, start, method="L-BFGS-B", options={"maxfun": 10**5}).fun


@pytest.mark.parametrize("average", ["pairs", "anchors"])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_optimum_is_what_descent_finds(temperature, average):
    found = scl_optimum(SIZES, temperature, average=average)
    least = descended(SIZES, temperature, average)
    assert found.loss - found.gap <= least <= found.loss + 1e-6
    assert found.gap < 1e-9
    np.testing.assert_array_equal(np.diag(found.gram), 1)
    assert np.linalg.eigvalsh(found.gram)[0] > -1e-12
    assert np.linalg.matrix_rank(found.gram, tol=1e-5) <= len(SIZES) - 1


@pytest.mark.parametrize("average", ["pairs", "anchors"])
def test_the_loss_lies_in_the_certified_bracket(average):
    sizes = [Fraction(5), Fraction(3), Fraction(3), Fraction(1), Fraction(1)]
    found = scl_optimum(SIZES, 0.5, alpha=0.25, q=2.0, average=average)
    anchors = shares([size**2 for size in sizes]) if average == "pairs" else None
    psi = InfoNCE(Fraction(1, 4), Fraction(2), Fraction(1, 2))
    with ctx.workprec(150):
        problem = CollapsedSCL(shares(sizes), psi, None, anchors)
        low, high = map(float, bracket(problem, found.gram))
    assert high - low < 1e-9
    assert low - 1e-10 <= found.loss <= high + 1e-10


@pytest.mark.parametrize("count", [2, 3, 6])
def test_equal_priors_are_neural_collapse(count):
    found = scl_optimum([7] * count, 0.5)
    apart = found.gram[~np.eye(count, dtype=bool)]
    np.testing.assert_allclose(apart, -1 / (count - 1), atol=1e-5)
    least = math.log1p(math.exp(-2 * count / (count - 1)))
    np.testing.assert_allclose(found.loss, least, atol=found.gap + 1e-15)


def test_only_ratios_and_not_the_order_matter():
    found = scl_optimum(SIZES, 1.0)
    turned = scl_optimum(np.array(SIZES)[::-1] / 1000, 1.0)
    np.testing.assert_allclose(found.gram, turned.gram[::-1, ::-1], atol=1e-8)
    np.testing.assert_allclose(found.loss, turned.loss, rtol=1e-10)


def test_many_different_priors_and_extreme_ones():
    tail = scl_optimum(100.0 ** -(np.arange(10) / 9), 0.5)
    assert tail.gap < 1e-9
    cold = scl_optimum([4, 3, 2, 1], 0.01)  # losses of e^-133
    assert 0 < cold.gap < 1e-9 * cold.loss
    rare = scl_optimum([1.0, 1.0, 1e-9], 1.0, average="anchors")
    assert rare.gap < 1e-9
    np.testing.assert_allclose(rare.loss, scl_optimum([1, 1], 1.0).loss, atol=1e-6)


@pytest.mark.parametrize("sizes", [[3, 2, 1], [1, 1, 1, 1], [5, 1, 2, 5, 1, 1]])
def test_the_gap_is_that_of_the_eigenvalues_of_all_classes(sizes):
    priors = np.array(sizes) / sum(sizes)
    between = np.random.default_rng(2).uniform(-0.5, 0.5, (6, 6))
    gram = (between + between.T)[np.ix_(sizes, sizes)]
    np.fill_diagonal(gram, 1)
    slopes = gram - 1.2
    np.fill_diagonal(slopes, 0)
    matrix, root = slopes - np.diag(np.sum(slopes * gram, axis=1)), np.diag(priors**-0.5)
    plain = np.linalg.eigvalsh(matrix)[0] * len(sizes)
    weighted = np.linalg.eigvalsh(root @ matrix @ root)[0]
    found = duality_gap(gram, slopes, Weights(priors, priors, 1.0, 1.0, 1.0))
    np.testing.assert_allclose(found, -max(plain, weighted), rtol=1e-12)
    assert found > 0.1


def test_numbers_of_images_may_be_large():
    sizes = [3 * 10**12, 2 * 10**12, 10**12]
    found = collapsed_scl(np.eye(3, dtype=np.float32), sizes, temperature=1.0, average="anchors")
    of_array = collapsed_scl(np.eye(3), np.array(sizes), temperature=1.0, average="anchors")
    expected = loss_by_loops(
        np.eye(3), [3, 2, 1], temperature=1, beta=0, alpha=1, q=1, average="anchors"
    )
    np.testing.assert_allclose([found, of_array], expected, rtol=1e-6)


@pytest.mark.parametrize("average", ["pairs", "anchors"])
def test_collapsed_scl_is_the_definition(x64, average):
    gram = jnp.array(np.random.default_rng(1).uniform(-1, 1, (5, 5)))
    numbers = {"temperature": 0.4, "beta": 1.5, "alpha": 0.5, "q": 2.0, "average": average}
    compiled = jax.jit(collapsed_scl, static_argnames="average")
    found = compiled(gram, jnp.array(SIZES), **numbers)
    np.testing.assert_allclose(found, loss_by_loops(gram, SIZES, **numbers), rtol=1e-13)
    linear = compiled(gram, jnp.array(SIZES), **{**numbers, "alpha": 0.0})
    expected = loss_by_loops(gram, SIZES, **{**numbers, "alpha": 0.0})
    np.testing.assert_allclose(linear, expected, rtol=1e-13)


def test_collapsed_scl_is_the_shipped_loss_of_a_batch(x64):
    sizes = jnp.array([4, 3, 2])
    labels = jnp.array([0, 0, 0, 0, 1, 1, 1, 2, 2])

    @jax.jit
    def shipped_and_collapsed(points):
        options = {"temperature": 0.5, "average": "anchors"}
        collapsed = collapsed_scl(points @ points.T, sizes, **options)
        return scl(points[labels], labels, **options), collapsed

    points = jnp.array([[1.0, 0.0], [-0.6, 0.8], [0.0, -1.0]])
    shipped, found = shipped_and_collapsed(points)
    np.testing.assert_allclose(found, shipped, rtol=1e-13)


def test_the_derivatives_of_the_least_loss_are_those_at_its_gram_matrix(x64):
    step, gram = 1e-4, jnp.array(scl_optimum(SIZES, 1.0).gram)

    def least(sizes, temperature):
        return scl_optimum(sizes, temperature).loss

    slopes = jax.jit(jax.grad(lambda p, t: collapsed_scl(gram, p, temperature=t), (0, 1)))
    of_priors, of_temperature = slopes(jnp.array(SIZES), 1.0)
    numerical = (least(SIZES, 1 + step) - least(SIZES, 1 - step)) / (2 * step)
    np.testing.assert_allclose(of_temperature, numerical, atol=1e-7)
    more, fewer = ([5.0 + sign * step, *SIZES[1:]] for sign in (1, -1))
    numerical = (least(more, 1.0) - least(fewer, 1.0)) / (2 * step)
    np.testing.assert_allclose(of_priors[0], numerical, atol=1e-7)


@pytest.mark.parametrize("average", ["pairs", "anchors"])
@pytest.mark.parametrize(("majority", "minority"), [(1, 2), (2, 3)])
def test_minorities_meet_at_the_optimum_from_the_threshold_on(majority, minority, average):
    threshold = minority_collapse_threshold(majority, minority, 1.0, average=average)
    for factor, meet in ((0.98, False), (1.02, True)):
        sizes = [factor * threshold] * majority + [1.0] * minority
        similarity = scl_optimum(sizes, 1.0, average=average).gram[-1, -2]
        assert (similarity > 1 - 1e-5) == meet


@pytest.mark.parametrize(
    ("k", "beta", "detached", "average"),
    [
        (None, 0.0, True, "anchors"),
        (None, 1.5, False, "pairs"),
        (5, 0.5, True, "anchors"),
        (3, 1.0, False, "anchors"),
    ],
)
def test_thresholds_are_where_the_balls_change_sign(k, beta, detached, average):
    found = minority_collapse_threshold(
        2,
        4,
        0.75,
        alpha=0.5,
        q=3.0,
        num_negatives=k,
        beta=beta,
        stop_gradient_hardening=detached,
        average=average,
    )
    psi = InfoNCE(Fraction(1, 2), Fraction(3), Fraction(3, 4))
    pairs = average == "pairs"
    problem = MinorityProblem(2, 4, psi, k, Fraction(beta), detached, pairs)
    with ctx.workprec(120):
        low, high = (arb(found) * (1 + sign * arb("1e-10")) for sign in (-1, 1))
        assert excess(problem, 1 / low) < 0 < excess(problem, 1 / high)


def test_infinitely_many_negatives_are_the_limit():
    many, limit = (
        minority_collapse_threshold(2, 2, 1.0, num_negatives=k, average="anchors")
        for k in (64, None)
    )
    assert 0 < limit - many < 0.6


@pytest.mark.parametrize(("k", "ratio"), [(None, limit_ratio), (1, limit_ratio_of_one)])
@pytest.mark.parametrize("majority", [2, 3, 10])
def test_the_ratio_without_bound_is_that_of_the_slopes(majority, k, ratio):
    with ctx.workprec(120):
        psi = InfoNCE(Fraction(1, 3), Fraction(2), Fraction(1, 2))
        at = slopes(MinorityProblem(majority, 4, psi, k), arb(0), arb(0))
        found = float(at.between**2 / (at.majority * at.minority))
        expected = float(ratio(majority, psi))
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_minorities_part_again_at_a_larger_imbalance():
    similarities = [
        scl_optimum([size] * 3 + [1.0] * 3, 0.1, alpha=0.0, average="anchors").gram[-1, -2]
        for size in (40.0, 100.0, 1e4)
    ]
    assert [similarity > 1 - 1e-5 for similarity in similarities] == [False, True, False]


def test_a_window_of_stability_between_powers_of_two_is_found():
    found = minority_collapse_threshold(
        3, 2, 0.5, beta=9.96, stop_gradient_hardening=False, average="anchors"
    )
    assert 1300 < found < 1400


@pytest.mark.parametrize("k", [None, 1, 3])
def test_slopes_of_the_programme_are_convex_and_its_derivatives(k):
    rng = np.random.default_rng(2)
    with ctx.workprec(150):
        here, there = (
            [[arb(x) for x in row] for row in (g + g.T).tolist()]
            for g in rng.uniform(-1, 0, (2, 3, 3))
        )
        problem = CollapsedSCL(shares([3, 2, 1]), InfoNCE(), k)
        loss, derivative = loss_and_slopes(problem, here)
        change = sum(
            (derivative[a][b] * (there[a][b] - here[a][b]) for a in range(3) for b in range(3)),
            arb(0),
        )
        assert loss_and_slopes(problem, there)[0] > loss + change
        step = arb("1e-15")
        moved = [
            [a + step * (b - a) for a, b in zip(xs, ys, strict=True)]
            for xs, ys in zip(here, there, strict=True)
        ]
        assert abs(loss_and_slopes(problem, moved)[0] - loss - step * change) < arb("1e-27")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"priors": [1.0]}, ValueError, "priors must be at least two numbers"),
        ({"priors": [[1.0, 2.0]]}, (ValueError, TypeError), "priors must be"),
        ({"priors": np.ones((2, 2))}, ValueError, r"priors must be at least two.*\(2, 2\)"),
        ({"priors": [1.0, 0.0]}, ValueError, "priors must be positive"),
        ({"priors": [1.0, math.nan]}, ValueError, "priors must be finite"),
        ({"priors": ["a", "b"]}, TypeError, "priors must be"),
        ({"priors": np.arange(1.0, 102.0)}, ValueError, "at most 100 different values, got 101"),
        ({"temperature": 0.0}, ValueError, "temperature must be positive"),
        ({"temperature": 0.003}, ValueError, "temperature must be at least 0.004 here"),
        ({"alpha": -1.0}, ValueError, "alpha must not be negative"),
        ({"q": 0.0}, ValueError, "q must be positive"),
        ({"average": "classes"}, ValueError, "average must be one of"),
    ],
)
def test_bad_optima_are_refused(unchecked, arguments, error, message):
    good = {"priors": [2.0, 1.0], "temperature": 1.0}
    with pytest.raises(error, match=message):
        scl_optimum(**{**good, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"majority": 0}, ValueError, "majority must be at least 1"),
        ({"majority": 10**400}, ValueError, "at most 9007199254740992 classes"),
        ({"minority": 1}, ValueError, "minority must be at least 2"),
        ({"minority": 2.0}, TypeError, "minority must be an integer"),
        ({"temperature": -1.0}, ValueError, "temperature must be positive"),
        ({"num_negatives": 0}, ValueError, "num_negatives must be at least 1"),
        ({"num_negatives": 257}, ValueError, "num_negatives must be at most 256"),
        ({"beta": -1.0}, ValueError, "beta must not be negative"),
        ({"average": "all"}, ValueError, "average must be one of"),
    ],
)
def test_bad_thresholds_are_refused(unchecked, arguments, error, message):
    good = {"majority": 2, "minority": 2, "temperature": 1.0}
    with pytest.raises(error, match=message):
        minority_collapse_threshold(**{**good, **arguments})


def test_traced_numbers_are_refused_where_python_computes(unchecked):
    with pytest.raises(TypeError, match="temperature must be a number that is known"):
        jax.jit(lambda t: scl_optimum([1.0, 2.0], t).loss)(1.0)
    with pytest.raises(TypeError, match="priors must be numbers that are known"):
        jax.jit(lambda p: scl_optimum(p, 1.0).loss)(jnp.ones(2))
    with pytest.raises(ValueError, match="gram must be finite"):
        collapsed_scl(jnp.full((2, 2), jnp.nan), jnp.ones(2), temperature=1.0)
    with pytest.raises(ValueError, match=r"gram must have shape \(3, 3\)"):
        collapsed_scl(jnp.eye(2), jnp.ones(3), temperature=1.0)
