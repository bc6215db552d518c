"""The draws follow the law: chi-square tests, which reject samplers that are a little wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from references.loss_cases import batch
from scipy import stats

from hcl_jax import hardening, hscl, pairs, psi
from hcl_jax.losses import (
    _guide_tables,
    _sampled_pairs,
    contrastive_loss,
    sampled_contrastive_loss,
    sharded_sampled_contrastive_loss,
)
from hcl_jax.losses._guide_tables import random_bits

DRAWS = 200_000


@jax.jit
def draws(weights, begin):
    number = jnp.arange(DRAWS // 2, dtype=jnp.uint32)
    bits = jnp.concatenate(random_bits(jax.random.key(0), jnp.uint32(7), number))
    table = _guide_tables.build(weights[None], begin[None])
    return _guide_tables.sample(table, jnp.zeros(DRAWS, jnp.int32), bits)


def drawn(weights, begin=0):
    """How often each candidate is drawn."""
    return np.bincount(draws(np.float32(weights), np.int32(begin)), minlength=len(weights))


def p_value(counts, weights):
    live = np.asarray(weights) > 0
    assert counts[~live].sum() == 0
    law = np.asarray(weights, float)[live]
    return stats.chisquare(counts[live], counts.sum() * law / law.sum()).pvalue


GENERATOR = np.random.default_rng(0)
LAWS = {
    "uniform": np.ones(100),
    "tilted": np.exp(2 * GENERATOR.normal(size=300)),
    "one heavy": np.r_[np.ones(63), 200.0],
    "many light together": np.r_[300.0, np.full(500, 0.5), 300.0],
    "with zeros": np.tile([0.0, 1.0, 3.0], 40),
}


@pytest.mark.parametrize("name", LAWS)
def test_draws_follow_the_law(name):
    for begin in (0, len(LAWS[name]) // 3, len(LAWS[name]) - 1):
        assert p_value(drawn(LAWS[name], begin=begin), LAWS[name]) > 1e-3


def test_a_law_of_zeros_draws_within_bounds():
    assert drawn(np.zeros(5), begin=3).sum() == DRAWS


def test_zeros_where_counting_begins_fill_no_cell():
    """A long run of candidates that cannot be drawn, such as an anchor's own class."""
    weights = np.r_[np.ones(100), np.zeros(50), np.ones(100)].astype(np.float32)[None]
    build = jax.jit(_guide_tables.build)
    assert build(weights, np.array([100])).fullest <= 2
    assert build(weights, np.array([0])).fullest >= 50


def test_the_chi_square_rejects_wrong_samplers():
    weights = np.exp(np.random.default_rng(0).normal(size=300))
    counts = drawn(weights)
    assert p_value(counts, weights) > 1e-3
    assert p_value(np.roll(counts, 1), weights) < 1e-12  # off by one
    assert p_value(drawn(weights**1.1), weights) < 1e-12  # beta 10 % too large
    assert p_value(drawn(np.ones(300)), weights) < 1e-12  # not tilted
    nearly = weights.copy()
    nearly[:30] *= 1.25  # a tenth of the candidates a quarter too often
    assert p_value(drawn(nearly), weights) < 1e-6


def test_threefry_is_that_of_jax():
    generator = np.random.default_rng(1)
    keys, counters = generator.integers(0, 2**32, (2, 2, 1000), dtype=np.uint32)
    found = jax.vmap(_guide_tables.threefry)(tuple(keys), tuple(counters))
    wanted = jax.vmap(threefry_2x32)(tuple(keys), jnp.asarray(counters.T))
    np.testing.assert_array_equal(jnp.stack(found, axis=1), wanted)


def test_threefry_is_that_of_its_authors():
    """The first and the last of Random123's known answers for 20 rounds."""
    for key, counter, wanted in (
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ):
        words = [tuple(jnp.uint32(word) for word in pair) for pair in (key, counter)]
        assert tuple(int(word) for word in _guide_tables.threefry(*words)) == wanted


def test_tables_hold_the_inverse_of_the_cumulative_law():
    tables = jax.jit(_guide_tables.build)(jnp.array([[1.0, 0.0, 3.0, 0.0]]), jnp.array([0]))
    assert tables.first.tolist() == [[0, 2, 2, 2, 4]]
    bits = jnp.array([0, 2**30, 2**32 - 1], jnp.uint32)
    found = jax.jit(_guide_tables.sample)(tables, jnp.zeros(3, int), bits)
    assert found.tolist() == [0, 2, 2]


def test_bits_are_independent_across_counters():
    number = jnp.arange(50_000, dtype=jnp.uint32)
    one = random_bits(jax.random.key(1), jnp.uint32(0), number)
    other = random_bits(jax.random.key(1), jnp.uint32(1), number)
    words = np.stack([*one, *other]).astype(np.float64) / 2**32
    correlation = np.corrcoef(words) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(50_000)
    assert stats.kstest(words.ravel(), "uniform").pvalue > 1e-3


def problem():
    z = jax.random.normal(jax.random.key(0), (30, 4))
    z /= jnp.linalg.norm(z, axis=1, keepdims=True)
    labels = jax.random.randint(jax.random.key(1), (30,), 0, 4).at[0].set(9)
    return z, pairs.supervised(pairs.rows(labels))


def test_many_draws_tend_to_the_weights_estimator():
    from hcl_jax.losses import contrastive_loss

    z, keys = problem()
    chosen = hardening.exponential(4.0)

    def mean(parts):
        return parts.total.sum() / parts.positives.sum()

    exact, gradient = jax.jit(
        jax.value_and_grad(lambda z: mean(contrastive_loss(z, keys, hardening=chosen)))
    )(z)
    value, sampled = jax.jit(
        jax.value_and_grad(
            lambda z: mean(
                sampled_contrastive_loss(
                    jax.random.key(2), z, keys, num_negatives=8192, hardening=chosen
                )
            )
        )
    )(z)
    np.testing.assert_allclose(value, exact, rtol=2e-3)
    np.testing.assert_allclose(sampled, gradient, atol=0.02 * jnp.abs(gradient).max())


@pytest.mark.parametrize("function", [psi.infonce(temperature=0.5), psi.triplet_max()])
def test_gradient_of_fixed_draws_is_that_of_differences(function):
    """Central differences in float64, with the law of the draws constant (no hardening)."""
    with jax.enable_x64(True):
        z, keys = problem()
        z = jnp.asarray(z, jnp.float64)
        direction = jax.random.normal(jax.random.key(5), z.shape, jnp.float64)

        @jax.jit
        @jax.value_and_grad
        def loss(z):
            parts = sampled_contrastive_loss(
                jax.random.key(2), z, keys, num_negatives=5, psi=function
            )
            return parts.total.sum()

        step = 1e-6
        slope = (loss(z + step * direction)[0] - loss(z - step * direction)[0]) / (2 * step)
        np.testing.assert_allclose(jnp.vdot(loss(z)[1], direction), slope, rtol=1e-6)


@pytest.mark.slow
def test_draws_do_not_depend_on_portions(monkeypatch):
    z, keys = problem()

    def run():
        return jax.value_and_grad(
            lambda z: sampled_contrastive_loss(
                jax.random.key(3), z, keys, num_negatives=7, hardening=hardening.exponential(2.0)
            ).total.sum()
        )(z)

    whole = run()
    monkeypatch.setattr(_sampled_pairs, "ENTRIES", 30 * 4)
    monkeypatch.setattr(_sampled_pairs, "DRAWS", 7 * 3)
    parts = run()
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-5)
    np.testing.assert_allclose(parts[1], whole[1], atol=1e-4)


def test_what_samples_cannot_do_is_refused():
    z, keys = problem()

    def loss(z):
        return sampled_contrastive_loss(jax.random.key(0), z, keys, num_negatives=2).total.sum()

    with pytest.raises(NotImplementedError, match="differentiated once, in reverse mode"):
        jax.eval_shape(jax.grad(lambda z: jnp.sum(jax.grad(loss)(z) ** 2)), z)
    with pytest.raises(NotImplementedError, match="differentiated once, in reverse mode"):
        jax.eval_shape(lambda z: jax.jvp(jax.grad(loss), (z,), (z,)), z)


@pytest.mark.usefixtures("x64")
def test_numbers_of_psi_have_the_gradient_of_the_loss_of_the_draws():
    z, keys = problem()
    z = jnp.float64(z)

    @jax.jit
    def gradient(numbers):
        def loss(numbers):
            alpha, q, temperature = numbers
            parts = sampled_contrastive_loss(
                jax.random.key(2),
                z,
                keys,
                num_negatives=5,
                psi=psi.infonce(alpha=alpha, q=q, temperature=temperature),
                hardening=hardening.exponential(2.0),
            )
            return parts.total.sum()

        return jax.value_and_grad(loss)(numbers)

    at, step = jnp.array([0.7, 2.0, 0.3]), 1e-6
    _, found = gradient(at)
    for place in range(3):
        moved = [gradient(at.at[place].add(sign * step))[0] for sign in (1, -1)]
        np.testing.assert_allclose(found[place], (moved[0] - moved[1]) / (2 * step), rtol=1e-7)


def of_keys(loss, count):
    """The mean of a gradient over many keys, and its standard error."""
    many = jax.jit(jax.vmap(loss))(jax.random.split(jax.random.key(4), count))
    return many.mean(axis=0), many.std(axis=0) / np.sqrt(count)


NUMBERS = jnp.array([8.0, 0.3])


def test_numbers_of_hardening_have_an_unbiased_gradient():
    """One draw has the expected loss of the weights estimator of a separable psi, exactly."""
    z, keys = problem()
    common = {"psi": psi.logistic_sum()}

    def exact(numbers):
        eta = hardening.sigmoid(numbers[0], numbers[1])
        return contrastive_loss(z, keys, hardening=eta, **common).total.sum()

    def estimate(key):
        def loss(numbers):
            eta = hardening.sigmoid(numbers[0], numbers[1])
            parts = sampled_contrastive_loss(key, z, keys, num_negatives=1, hardening=eta, **common)
            return parts.total.sum()

        return jax.grad(loss)(NUMBERS)

    mean, error = of_keys(estimate, 1500)
    wanted = jax.jit(jax.grad(exact))(NUMBERS)
    assert (jnp.abs(wanted) > 10 * error).any()  # the control: zero would fail
    assert (jnp.abs(mean - wanted) < 4 * error).all()


@pytest.mark.slow
def test_parts_of_devices_add_up_to_an_unbiased_gradient():
    """As above, over two devices, of which each draws for its own anchors."""
    z, keys = problem()
    shards = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), (z, keys))

    def exact(beta):
        eta = hardening.exponential(beta)
        return contrastive_loss(z, keys, psi=psi.logistic_sum(), hardening=eta).total.sum()

    def estimate(key):
        def of_one(z, keys):
            def loss(beta):
                parts = sharded_sampled_contrastive_loss(
                    key,
                    z,
                    keys,
                    axis_name="devices",
                    num_negatives=1,
                    psi=psi.logistic_sum(),
                    hardening=hardening.exponential(beta),
                )
                return parts.total.sum()

            return jax.lax.psum(jax.grad(loss)(4.0), "devices")

        return jax.vmap(of_one, axis_name="devices")(*shards)[0]

    mean, error = of_keys(estimate, 1500)
    wanted = jax.grad(exact)(4.0)
    assert abs(wanted) > 10 * error
    assert abs(mean - wanted) < 4 * error


def test_undefined_anchors_and_thresholds():
    z, keys = problem()
    for level in (0.3, 2.0):
        with jax.debug_nans(True):
            parts = jax.jit(
                lambda z, level=level: sampled_contrastive_loss(
                    jax.random.key(0),
                    z,
                    keys,
                    num_negatives=4,
                    hardening=hardening.threshold(level),
                )
            )(z)
        assert jnp.all(jnp.isfinite(parts.total))
        assert jnp.all((parts.total == 0) | parts.defined)
    assert not parts.defined.any()


@pytest.mark.slow
def test_the_score_function_is_unbiased():
    """Over many keys, the mean gradient is that of the expected loss (k = 1: a weighted sum)."""
    z, keys = problem()
    chosen = hardening.exponential(2.0)
    exact = jax.grad(
        lambda z: contrastive_loss(
            z, keys, psi=psi.logistic_sum(), hardening=chosen, stop_gradient_hardening=False
        ).total.sum()
    )(z)

    @jax.jit
    def gradient(key, z):
        def loss(z):
            return sampled_contrastive_loss(
                key,
                z,
                keys,
                num_negatives=1,
                psi=psi.logistic_sum(),
                hardening=chosen,
                stop_gradient_hardening=False,
            ).total.sum()

        return jax.grad(loss)(z)

    many = jnp.stack([gradient(jax.random.key(seed), z) for seed in range(1500)])
    error = (many.mean(0) - exact) / (many.std(0) / np.sqrt(len(many)) + 1e-6)
    assert jnp.abs(error).max() < 5


def test_what_is_no_key_is_refused(unchecked):
    z, labels, _ = batch(8)
    for key in (0, None, jnp.zeros(2), jax.random.split(jax.random.key(0), 3)):
        with pytest.raises((TypeError, ValueError), match="key"):
            hscl(z, labels, beta=1.0, num_negatives=3, key=key)


def test_more_draws_than_counters_are_refused():
    """Bits are made from 32-bit counters of an anchor's draws, which must not begin anew."""
    z, labels, _ = batch(8)
    with pytest.raises(ValueError, match=r"num_negatives=1073741825 with 8 candidates.*1073741824"):
        hscl(z, labels, beta=1.0, num_negatives=2**30 + 1, key=jax.random.key(0))
