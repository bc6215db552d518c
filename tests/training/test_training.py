"""Updates: every objective in two steps, one trace, same key same bits, seeds in vmap."""

import dataclasses
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hcl_jax
from hcl_jax import augmentation, data, hardening, networks, normalization, training
from hcl_jax.psi import infonce
from hcl_jax.training import Program, embedding

DATA = data.gaussian_classes(
    jax.random.key(0), num_classes=4, dim=8, train_per_class=12, test_per_class=3
)
MODEL = networks.mlp(8, 3, depth=2, width=16)
ADAM = optax.adam(1e-2)
NOISE = augmentation.gaussian_noise(0.01)


@functools.cache
def program(**changes):
    return Program(**{"model": MODEL, "optimizer": ADAM, "batch_size": 16, **changes})


train_step = jax.jit(training.train_step, static_argnums=3)


@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("positives", ["class", "views"])
@pytest.mark.parametrize("beta", [0.0, 5.0])
@pytest.mark.parametrize("normalize", ["unit_ball", "unit_sphere", "unnormalized"])
def test_every_corner_in_two_steps(supervised, positives, beta, normalize):
    chosen = program(
        positives=positives,
        normalization=getattr(normalization, normalize),
        augmentation=NOISE,
    )
    state = training.init_state(jax.random.key(0), chosen)
    before = jax.tree.map(np.asarray, state.variables.params)
    split = data.Split(DATA.train.images[:32], DATA.train.labels[:32])
    objective = training.traced_objective(supervised=supervised, beta=beta)
    state, infos = training.train_epoch(state, split, objective, chosen)
    assert state.step == 2
    assert jnp.isfinite(infos.loss).all()
    assert (infos.gradient_norm > 0).all()
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, state.variables.params)
    assert min(jax.tree.leaves(moved)) > 0


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_a_step_is_the_objective_and_the_optimizer(temperature):
    """One step of plain gradient descent, against the public objective."""
    chosen = program(optimizer=optax.sgd(0.1))
    state = training.init_state(jax.random.key(0), chosen)
    batch = data.Split(DATA.train.images[::3], DATA.train.labels[::3])

    def loss(params):
        outputs, _ = MODEL.apply(networks.Variables(params, {}), batch.images, training=True)
        embeddings = normalization.unit_ball(outputs.projections)
        return hcl_jax.hucl(
            embeddings, batch.labels, beta=3.0, psi=infonce(temperature=temperature)
        )

    value, gradient = jax.jit(jax.value_and_grad(loss))(state.variables.params)
    objective = training.traced_objective(supervised=False, beta=3.0, temperature=temperature)
    after, info = train_step(state, batch, objective, chosen)
    np.testing.assert_allclose(info.loss, value, rtol=1e-6)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.variables.params, gradient)
    chex.assert_trees_all_close(after.variables.params, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(info.gradient_norm, optax.tree.norm(gradient), rtol=1e-5)


@pytest.mark.parametrize("temperatures", [[1.0], [0.5, 0.1]])
def test_one_program_trains_every_objective(temperatures):
    """And one all temperatures other than 1."""
    chosen = program()
    chex.clear_trace_counter()
    traced = chex.assert_max_traces(training.train_step, n=1)
    step = jax.jit(traced, static_argnums=3)
    batch = data.Split(DATA.train.images[:16], DATA.train.labels[:16])
    state = training.init_state(jax.random.key(0), chosen)
    losses = []
    for supervised, beta, t in itertools.product((True, False), (0.0, 5.0, 30.0), temperatures):
        objective = training.traced_objective(supervised=supervised, beta=beta, temperature=t)
        losses.append(float(step(state, batch, objective, chosen)[1].loss))
    assert len(set(losses)) == 6 * len(temperatures)


def test_same_key_same_bits_and_other_key_other_bits():
    chosen = program()

    def train(seed):
        state = training.init_state(jax.random.key(seed), chosen)
        objective = training.traced_objective(supervised=True, beta=2.0)
        for _ in range(3):
            state, infos = training.train_epoch(state, DATA.train, objective, chosen)
        return state.variables, infos.loss

    first, again, other = train(0), train(0), train(1)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first[1] != other[1]).any()


def test_seeds_side_by_side_are_the_seeds_alone():
    chosen = program()
    objective = training.traced_objective(supervised=True, beta=2.0)
    keys = jax.random.split(jax.random.key(0), 3)
    states = jax.vmap(lambda key: training.init_state(key, chosen))(keys)
    _, together = training.train_epoch_of_seeds(states, DATA.train, objective, chosen)
    for i, key in enumerate(keys):
        state = training.init_state(key, chosen)
        _, alone = training.train_epoch(state, DATA.train, objective, chosen)
        np.testing.assert_allclose(together.loss[i], alone.loss, rtol=1e-4)


def test_an_epoch_visits_every_image_once_in_a_new_order():
    state = training.init_state(jax.random.key(0), program())
    first = training.epoch_batches(state, DATA.train.labels, program())
    second = training.epoch_batches(state._replace(step=jnp.int32(3)), DATA.train.labels, program())
    for batches in (first, second):
        np.testing.assert_array_equal(np.sort(batches.ravel()), np.arange(48))
    assert (first != second).any()


def test_no_transfer_inside_an_epoch():
    chosen = program()
    state = training.init_state(jax.random.key(0), chosen)
    objective = training.traced_objective(supervised=True, beta=2.0)
    with jax.transfer_guard("disallow"):
        state, infos = training.train_epoch(state, DATA.train, objective, chosen)
        jax.block_until_ready((state, infos))
    assert state.step == 3


def test_hard_training_reaches_neural_collapse():
    flat = data.gaussian_classes(
        jax.random.key(0), num_classes=4, classes_per_group=1, dim=8, train_per_class=12
    )
    chosen = program(batch_size=48, optimizer=optax.adam(3e-3))
    state = training.init_state(jax.random.key(0), chosen)
    objective = training.traced_objective(supervised=True, beta=5.0)
    for _ in range(400):
        state, infos = training.train_epoch(state, flat.train, objective, chosen)
    _, embeddings = embedding.embed(state.variables, flat.train.images, chosen)
    measure = jax.jit(hcl_jax.geometry.measure, static_argnums=2)
    measured = measure(embeddings, flat.train.labels, 4)
    assert measured.etf_distance < 0.02
    bound = np.log1p(np.exp(-4 / 3))
    assert bound * (1 - 1e-6) <= float(infos.loss[-1]) < bound + 1e-3


@pytest.mark.parametrize("num_negatives", [None, 32])
def test_reference_conventions_and_samples_train(num_negatives):
    reference = hcl_jax.REFERENCE_CONVENTIONS
    chosen = program(conventions=dataclasses.replace(reference, num_negatives=num_negatives))
    state = training.init_state(jax.random.key(0), chosen)
    objective = training.traced_objective(supervised=False, beta=2.0)
    state, infos = training.train_epoch(state, DATA.train, objective, chosen)
    assert jnp.isfinite(infos.loss).all()
    assert (infos.undefined == 0).all()


def test_undefined_anchors_are_counted():
    chosen = program()
    state = training.init_state(jax.random.key(0), chosen)
    batch = data.Split(DATA.train.images[:3], jnp.array([0, 0, 1]))
    _, info = train_step(state, batch, training.traced_objective(supervised=True), chosen)
    assert info.undefined == 1


def test_any_hardening_trains():
    chosen = program()
    state = training.init_state(jax.random.key(0), chosen)
    objective = hcl_jax.Objective(jnp.asarray(True), hardening.relu_power(1.0, 3.0))
    _, infos = training.train_epoch(state, DATA.train, objective, chosen)
    assert jnp.isfinite(infos.loss).all()


def test_embedding_in_batches_is_embedding_at_once():
    variables = MODEL.init(jax.random.key(0))
    images = DATA.train.images
    small = embedding.embed(variables, images, program(), batch_size=7)
    large = embedding.embed(variables, images, program())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), small, large)


ERRORS = {
    "batch_size must be at most the 48 training images, got 49": {"batch_size": 49},
    "batch_size must be at least 2, got 1": {"batch_size": 1},
    "positives must be one of 'class', 'views', got 'both'": {"positives": "both"},
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(unchecked, message):
    chosen = program(**ERRORS[message])
    state = training.init_state(jax.random.key(0), chosen)
    with pytest.raises(ValueError, match=message):
        training.train_epoch(state, DATA.train, training.traced_objective(supervised=True), chosen)


@pytest.mark.parametrize(
    "strict",
    [lambda: jax.numpy_rank_promotion("raise"), lambda: jax.numpy_dtype_promotion("strict")],
)
def test_an_epoch_promotes_nothing_by_itself(strict):
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 2, 4)
    chosen = program(optimizer=optax.adamw(schedule))
    for target in (
        training.traced_objective(supervised=True, beta=5.0),
        training.simplex_targets(4, 3),
    ):
        with strict():
            state = training.init_state(jax.random.key(1), chosen)
            _, infos = training.train_epoch(state, DATA.train, target, chosen)
        assert np.isfinite(infos.loss).all()
