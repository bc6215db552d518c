"""Runners: one device and many keep the same states, and a program is compiled once."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hcl_jax import networks, training
from hcl_jax.data import Split, gaussian_classes
from hcl_jax.training import DataParallel, Program, SingleDevice, runner

DATA = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=8)
KEYS = jax.random.split(jax.random.key(1), 2)
PROGRAM = Program(networks.mlp(64, 3, depth=1, width=8), optax.sgd(0.1), batch_size=16)
TARGET = training.traced_objective(supervised=True, beta=2.0)
RUNNERS = {
    "one": lambda program: SingleDevice(program),
    "two": lambda program: DataParallel(program, devices=jax.devices()[:2]),
    "all": lambda program: DataParallel(program),
}


@pytest.mark.parametrize("name", RUNNERS)
def test_states_are_restored_from_what_is_saved(name):
    runner = RUNNERS[name](PROGRAM)
    states = runner.init(KEYS)
    saved = runner.as_global_arrays(states)
    expected = jax.vmap(lambda key: training.init_state(key, PROGRAM))(KEYS)
    chex.assert_trees_all_close(saved.variables, expected.variables, rtol=1e-6)
    abstract = runner.abstract_states(KEYS)
    chex.assert_trees_all_equal_shapes_and_dtypes(saved, abstract)
    if name != "one":
        for leaf, like in zip(jax.tree.leaves(saved), jax.tree.leaves(abstract), strict=True):
            assert leaf.sharding.is_equivalent_to(like.sharding, leaf.ndim)
    again = runner.fetch(runner.replicate(saved))
    chex.assert_trees_all_equal(again.variables, runner.fetch(states).variables)


@pytest.mark.parametrize("name", RUNNERS)
def test_all_train_and_embed_alike(name):
    one, runner = SingleDevice(PROGRAM), RUNNERS[name](PROGRAM)
    split, images = runner.replicate(DATA.train), runner.replicate(DATA.test.images)
    states, infos = runner.train_epoch(runner.init(KEYS), split, TARGET)
    expected, their_infos = one.train_epoch(one.init(KEYS), DATA.train, TARGET)
    np.testing.assert_allclose(runner.fetch(infos).loss, their_infos.loss, rtol=1e-5)
    found = runner.fetch(runner.embed(states, images))
    for part, wanted in zip(found, one.embed(expected, DATA.test.images), strict=True):
        np.testing.assert_allclose(part, wanted, atol=1e-5)
    restarted = runner.fetch(runner.restart(states))
    assert restarted.step.tolist() == [0, 0]
    chex.assert_trees_all_equal(restarted.variables, runner.fetch(states).variables)


@pytest.mark.parametrize("name", RUNNERS)
def test_given_batches_are_split_over_the_devices(name):
    one, runner = SingleDevice(PROGRAM), RUNNERS[name](PROGRAM)
    images = np.asarray(DATA.train.images).reshape(2, 16, 64)
    batches = Split(images, np.asarray(DATA.train.labels).reshape(2, 16))
    placed = runner.split_batches(batches)
    _, infos = runner.train_batches(runner.init(KEYS[:1]), placed, TARGET)
    _, expected = one.train_batches(one.init(KEYS[:1]), one.split_batches(batches), TARGET)
    np.testing.assert_allclose(runner.fetch(infos).loss, expected.loss, rtol=1e-5)


@pytest.mark.parametrize("name", RUNNERS)
def test_a_program_is_compiled_once_for_all_its_runners(name, caplog):
    def train():
        runner = RUNNERS[name](PROGRAM._replace())
        split, images = runner.replicate(DATA.train), runner.replicate(DATA.test.images)
        states, _ = runner.train_epoch(runner.init(KEYS), split, TARGET)
        runner.fetch(runner.embed(states, images))

    train()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        jax.jit(lambda x: x + 41.5)(jnp.float32(1.0))
        train()
    compiled = [m for m in caplog.messages if m.startswith("Compiling ")]
    assert len(compiled) == 1, compiled


def parameters_drawn(flags, monkeypatch):
    """The first parameters, in a process whose programs are compiled with these flags."""
    monkeypatch.setenv("XLA_FLAGS", flags)
    runner._init_jit.cache_clear()
    try:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(SingleDevice(DRAWN).init(KEYS)[0])]
    finally:
        runner._init_jit.cache_clear()


DRAWN = PROGRAM._replace(
    model=networks.convnet((8, 8, 1), 3, channels=(8, 16), head=networks.PAPER)
)


@pytest.mark.slow
def test_parameters_drawn_with_few_optimizations_are_those_of_all(monkeypatch):
    """Whatever this process is compiled with by default: the option says so for the program."""
    few = parameters_drawn("", monkeypatch)
    jitted = jax.jit(
        runner._init,
        static_argnums=0,
        compiler_options={"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True},
    )
    fully = [np.asarray(leaf) for leaf in jax.tree.leaves(jitted(DRAWN, KEYS)[0])]
    chex.assert_trees_all_equal(few, fully)
